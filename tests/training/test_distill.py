"""Distillation: repeatable views, teachers that are the files, and a run that resumes as if unbroken."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path
from time import monotonic

import cv2
import msgspec
import numpy as np
import openvino
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from facegate.evaluation.cameras import CAMERA_KINDS
from facegate.evaluation.degrade import degrade_half
from facegate.recognition.embedders import DlibEmbedder, load_embedder
from facegate.scoring.engine import load_scorer
from facegate.scoring.network.vit import FaceViT
from facegate.training.batches import Facts, load_facts, pool_facts
from facegate.training.distill import Trainer, train
from facegate.training.export import agrees_in_bf16, export_model
from facegate.training.inherit import inherit
from facegate.training.occlude import COVERS
from facegate.training.pool import Labels, kept_out, labels
from facegate.training.provenance import TEACHERS, may_be_used_for_anything, pool_ingredients
from facegate.training.recipe import Recipe, student_architecture
from facegate.training.rounding import Rounding, rounded
from facegate.training.teachers.dlib_resnet import dlib_weights
from facegate.training.teachers.openvino_ir import IrNetwork
from facegate.training.teachers.recognizers import EMBEDDING, MAP, DlibTeacher, Teacher
from facegate.training.views import BLEND, NO_FACE, ViewSettings, make_batch

WHOLE = ((64, 128, 64, 4), (64, 256, 128, 6), (128, 512, 128, 2))
"""The stages of the teacher."""
CPU = torch.device("cpu")
needs_dlib = pytest.mark.skipif(importlib.util.find_spec("dlib") is None, reason="the dlib extra is not installed")


@pytest.fixture(scope="module")
def crops(data: Path) -> NDArray[np.uint8]:
    loaded: NDArray[np.uint8] = np.load(data / "parity" / "crops.npy")
    return loaded


@pytest.fixture(scope="module")
def intel(data: Path) -> Path:
    return data / "models" / "face-reidentification-retail-0095.xml"


@pytest.fixture(scope="module")
def teacher(intel: Path) -> Teacher:
    return Teacher(intel, CPU, torch.float32)


@pytest.fixture(scope="module")
def facts(crops: NDArray[np.uint8]) -> Facts:
    rng = np.random.default_rng(0)
    return Facts(rng.normal(size=len(crops)).astype("f4"), 2.0, np.zeros(128, "f4"), np.ones(128, "f4"))


def test_views_depend_on_the_sample_alone_and_some_are_degraded_or_show_no_face(crops: NDArray[np.uint8]) -> None:
    numbers = np.arange(256)
    views = make_batch(crops, numbers, 5, ViewSettings(no_face=0.1))
    again = make_batch(crops, numbers[10:20], 5, ViewSettings(no_face=0.1))
    for name in ("clean", "student", "picture"):
        np.testing.assert_array_equal(getattr(views, name)[10:20], getattr(again, name))
    changed = np.array([(a != b).any() for a, b in zip(views.clean, views.student, strict=True)])
    assert 0.3 < changed.mean() < 0.6
    no_face = views.picture == NO_FACE
    assert 0.03 < no_face.mean() < 0.2 and not changed[no_face].any()
    assert 0.15 < (views.picture == BLEND).mean() < 0.45


@pytest.mark.parametrize("kind", CAMERA_KINDS)
def test_a_camera_changes_a_crop_more_the_more_severe_it_is(kind: str, crops: NDArray[np.uint8]) -> None:
    crop = next(crop for crop in crops if crop.std() > 20)

    def change(severity: float) -> float:
        found = [CAMERA_KINDS[kind](crop, severity, np.random.default_rng(seed)) for seed in range(4)]
        assert all(each.shape == crop.shape and each.dtype == np.uint8 for each in found)
        return float(np.mean([np.abs(each.astype(float) - crop).mean() for each in found]))

    small, middle, great = change(0.0), change(0.5), change(1.0)
    assert 0 < small < middle < great


@pytest.mark.parametrize("kind", COVERS)
def test_a_cover_changes_its_part_of_the_face_and_nothing_else(kind: str, crops: NDArray[np.uint8]) -> None:
    for seed, crop in enumerate(crop for crop in crops if crop.std() > 5):
        covered = COVERS[kind](crop, np.random.default_rng(seed))
        changed = (np.abs(covered.astype(int) - crop).max(2) > 2).mean()
        assert covered.shape == crop.shape and 0 < changed < 0.8, (seed, changed)


def test_a_fifth_of_the_labelled_pictures_is_kept_out_whatever_else_is_in_the_archive() -> None:
    names = [f"utk/{1 + i % 100}_{i % 2}_{i % 5}_2017{i:09d}.webp" for i in range(5000)]
    assert 0.18 < np.mean([kept_out(name) for name in names]) < 0.22
    assert not kept_out("glint/somebody/1.webp") and not kept_out("utk/61_1_20170109.webp")
    assert labels(names[7]) == Labels("3-12", "female", "Asian")


def test_the_teacher_in_torch_is_the_file_in_openvino(
    intel: Path, crops: NDArray[np.uint8], teacher: Teacher
) -> None:
    images = np.stack([cv2.resize(crop, (128, 128)) for crop in crops])[..., ::-1].transpose(0, 3, 1, 2)
    planes = np.ascontiguousarray(images, np.float32)
    compiled = openvino.Core().compile_model(str(intel), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    expected = np.concatenate([compiled(plane[None])[0].reshape(1, -1) for plane in planes])
    found = IrNetwork(intel, CPU, torch.float32, [EMBEDDING])(torch.from_numpy(planes))[0].flatten(1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    raw = load_embedder(str(intel)).raw(list(crops))  # type: ignore[attr-defined]
    cosine = (teacher.targets(torch.from_numpy(crops)).unit.numpy() * raw).sum(1) / np.linalg.norm(raw, axis=1)
    assert cosine.min() > 0.99, "moved to the network's template as the embedder does"


def test_the_student_starts_as_the_teacher(
    intel: Path, crops: NDArray[np.uint8], teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all blocks and at the teacher's scale, stem and head give the teacher's embedding."""
    ir = IrNetwork(intel, CPU, torch.float32)
    student = FaceViT(student_architecture())
    inherit(student, ir)
    targets = teacher.targets(torch.from_numpy(crops))
    real = torch.from_numpy(crops.std((1, 2, 3)) > 20)
    similarity = torch.nn.functional.cosine_similarity
    with torch.no_grad():
        assert similarity(student.feature(targets.map), targets.unit)[real].mean() > 0.8, "resampled to 6x6 tokens"
    monkeypatch.setattr("facegate.scoring.network.stems.GatedStem.STAGES", WHOLE)
    monkeypatch.setattr("facegate.training.inherit.KEPT", [tuple(range(count)) for *_, count in WHOLE])
    whole = FaceViT(student_architecture())
    inherit(whole, ir)
    images = np.stack([cv2.resize(crop, (144, 144)) for crop in crops])
    expected = IrNetwork(intel, CPU, torch.float32, [MAP])(
        torch.from_numpy(np.ascontiguousarray(images[:, 8:136, 8:136, ::-1].transpose(0, 3, 1, 2), np.float32))
    )[0]
    with torch.no_grad():
        found = whole.patch_embed(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1)
    cosine = similarity(found.transpose(1, 2).flatten(1), expected.flatten(1))
    assert cosine[real].min() > 0.95, "but for the padding, which is gray where the teacher's is its mean color"


@needs_dlib
def test_dlibs_network_in_torch_is_dlibs(crops: NDArray[np.uint8]) -> None:
    expected = DlibEmbedder().raw(list(crops))
    second = DlibTeacher(dlib_weights(), CPU, torch.float32)
    np.testing.assert_allclose(second.descriptors(torch.from_numpy(crops)).numpy(), expected, atol=5e-3)


@needs_dlib
def test_what_the_recognizers_know_of_a_pool_is_kept(
    crops: NDArray[np.uint8], teacher: Teacher, tmp_path: Path
) -> None:
    found = pool_facts(crops, teacher, DlibTeacher(dlib_weights(), CPU, torch.float32))
    assert abs(found.known.mean()) < 1e-4 and found.known.std() > 0.3 and found.length > 1
    again = [load_facts(tmp_path / "facts.npz", lambda: found) for _ in range(2)][1]
    np.testing.assert_array_equal(again.known, found.known)
    np.testing.assert_array_equal(again.map_std, found.map_std)


def test_a_pool_says_its_licenses_and_an_unknown_folder_is_not_permissive(data: Path) -> None:
    with zipfile.ZipFile(data / "faces" / "pool-open112.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".webp")]
    found = pool_ingredients(names)
    assert sum(int(item.name.split()[1]) for item in found) == len(names)
    assert may_be_used_for_anything((*TEACHERS, *found)) and all(item.source for item in found)
    assert not may_be_used_for_anything(pool_ingredients([*names, "utk/1_0_0_1.webp"]))
    assert not may_be_used_for_anything(())


def test_rounding_leaves_256_levels_for_each_sample_and_lets_gradients_through() -> None:
    x = torch.randn(3, 40, 30, requires_grad=True)
    near = rounded(x * torch.tensor([1.0, 5.0, 100.0]).view(3, 1, 1))
    assert all(len(row.unique()) <= 256 for row in near)
    near.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None and (x.grad[0] == 1).all()
    layer = torch.nn.Module()
    layer.blocks = torch.nn.Sequential(torch.nn.Linear(4, 4))
    rounding, y = Rounding(layer), torch.randn(2, 4)
    exact = layer.blocks(y)
    rounding.on = True
    assert not torch.equal(layer.blocks(y), exact)
    with torch.no_grad():
        assert torch.equal(layer.blocks(y), exact), "never where nothing is learned"


def test_a_resumed_run_ends_as_an_unbroken_one_and_exports(
    intel: Path, crops: NDArray[np.uint8], teacher: Teacher, facts: Facts, tmp_path: Path
) -> None:
    recipe = Recipe(samples=16, batch=4, front_until=4, rounding_from=8)
    start = IrNetwork(intel, CPU, torch.float32)

    def fresh() -> Trainer:
        return Trainer(recipe, crops, facts, teacher, start, CPU, torch.float32)

    whole = fresh()
    losses = list(whole.steps())
    assert len(losses) == 4 and all(np.isfinite(list(step.values())).all() for step in losses)
    first = fresh()
    steps = first.steps()
    next(steps), next(steps)
    first.save(tmp_path / "c.pt")
    resumed = fresh()
    resumed.resume(tmp_path / "c.pt")
    assert resumed.samples_done == 8
    rest = list(resumed.steps())
    assert len(rest) == 2
    for name, value in whole.average.items():
        torch.testing.assert_close(resumed.average[name], value, atol=1e-6, rtol=1e-5)

    hurried = Trainer(
        msgspec.structs.replace(recipe, samples=10**9), crops, facts, teacher, start, CPU, torch.float32
    )
    told: list[str] = []
    train(hurried, tmp_path / "h.pt", 0.3, told.append, lambda: "", monotonic() + 3)
    assert hurried.samples_done >= hurried.samples and hurried.samples < 10**6, "the rates have fallen"
    assert f"/{hurried.samples} " in told[-1] and hurried._optimizer.param_groups[0]["lr"] < 1e-4

    third = fresh()
    third.start_from(resumed.average, 8)
    assert third.samples_done == 8 and np.isfinite(list(next(third.steps()).values())).all()

    resumed.save(tmp_path / "c.pt")
    target = tmp_path / "student.safetensors"
    export_model(tmp_path / "c.pt", target, "student", np.concatenate([crops, degrade_half(crops, 1)]), TEACHERS)
    packed = load_scorer(target, device="cpu", dtype="fp32")
    exact = load_scorer(target, device="cpu", dtype="fp32")
    exact.network.load_state_dict({name: value.float() for name, value in resumed.average.items()})
    assert packed.card.license == "Apache-2.0" and packed.card.made_from == TEACHERS
    assert packed.card.bf16 == agrees_in_bf16(target, np.concatenate([crops, degrade_half(crops, 1)]))
    a, b = packed.score(crops), exact.score(crops)
    assert spearmanr(a.raw_score, b.raw_score).statistic > 0.99
    assert a.embedding is not None and b.embedding is not None
    cosine = (a.embedding * b.embedding).sum(1) / (np.asarray(a.norm) * np.asarray(b.norm))
    assert cosine.min() > 0.999
