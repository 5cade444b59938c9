"""Distillation: repeatable views, a teacher that is the ONNX file, and a run that resumes as if unbroken."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

import msgspec
import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from facegate.evaluation.degrade import degrade_half
from facegate.scoring.engine import load_scorer
from facegate.scoring.network.stems import MobileStem
from facegate.training.chain import Chain
from facegate.training.distill import Trainer, train
from facegate.training.export import export_model
from facegate.training.fairness import group_offsets
from facegate.training.occlude import COVERS
from facegate.training.pool import Labels, Pool, kept_out, labels
from facegate.training.recipe import Recipe, student_architecture
from facegate.training.start import fade, inherit
from facegate.training.teacher import MAP, Teacher, TeacherRecognizer
from facegate.training.views import ViewSettings, make_batch

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def crops(data: Path) -> NDArray[np.uint8]:
    loaded: NDArray[np.uint8] = np.load(data / "parity" / "crops.npy")
    return loaded


@pytest.fixture(scope="module")
def pool(crops: NDArray[np.uint8]) -> Pool:
    return Pool(crops, tuple(f"utk/{20 + i}_{i % 2}_{i % 5}_2017{i}.webp" for i in range(len(crops))))


@pytest.fixture(scope="module")
def casia(data: Path) -> TeacherRecognizer:
    return TeacherRecognizer(data / "models" / "mobilefacenet-casia.onnx", CPU, torch.float32)


@pytest.fixture(scope="module")
def teacher(data: Path) -> Teacher:
    return Teacher(data / "models" / "mobilefacenet-y1.onnx", CPU, torch.float32)


def test_views_depend_on_the_sample_alone_and_some_are_degraded_or_mixed(crops: NDArray[np.uint8]) -> None:
    numbers = np.arange(128)
    views = make_batch(crops, numbers, 5, ViewSettings())
    again = make_batch(crops, numbers[10:20], 5, ViewSettings())
    np.testing.assert_array_equal(views.clean[10:20], again.clean)
    np.testing.assert_array_equal(views.student[10:20], again.student)
    degraded = np.array([(a != b).any() for a, b in zip(views.clean, views.student, strict=True)])
    assert 0.25 < degraded.mean() < 0.55
    assert (
        0.2 < (views.share < 1).mean() < 0.5
        and (views.first[views.share == 1] == views.second[views.share == 1]).all()
    )


@pytest.mark.parametrize("kind", COVERS)
def test_a_cover_changes_its_part_of_the_face_and_nothing_else(kind: str, crops: NDArray[np.uint8]) -> None:
    for seed, crop in enumerate(crop for crop in crops if crop.std() > 5):
        covered = COVERS[kind](crop, np.random.default_rng(seed))
        changed = (np.abs(covered.astype(int) - crop).max(2) > 2).mean()
        assert covered.shape == crop.shape and 0 < changed < 0.8, (seed, changed)


def test_a_fifth_of_the_labeled_pictures_is_kept_out_whatever_else_is_in_the_archive() -> None:
    names = [f"utk/{1 + i % 100}_{i % 2}_{i % 5}_2017{i:09d}.webp" for i in range(5000)]
    assert 0.18 < np.mean([kept_out(name) for name in names]) < 0.22
    assert not kept_out("glint/somebody/1.webp") and not kept_out("utk/61_1_20170109.webp")
    assert labels(names[7]) == Labels("3-12", "female", "Asian")


def test_what_a_group_owes_its_length_is_taken_off_and_pictures_keep_their_own() -> None:
    rng = np.random.default_rng(0)
    names = [f"utk/{rng.integers(1, 90)}_{i % 2}_{i % 5}_2017{i}.webp" for i in range(2000)]
    names += [f"glint/{'ab'[i % 2]}/{i}.webp" for i in range(200)] + ["lfw/x/1.webp"]
    own = rng.normal(0, 1, len(names))
    length = own + 20
    length[:2000] -= [1.5 * (i % 5 == 1) for i in range(2000)]
    length[2000:2200:2] -= 3
    fair = length - group_offsets(names, length.astype(np.float32))
    assert abs(fair[:2000][np.arange(2000) % 5 == 1].mean() - fair[:2000][np.arange(2000) % 5 == 3].mean()) < 0.02
    assert abs(fair[2000:2200:2].mean() - fair[2001:2200:2].mean()) < 0.02
    assert np.corrcoef(fair[:2000], own[:2000])[0, 1] > 0.98 and fair[-1] == length[-1]


def test_the_teacher_in_torch_is_the_onnx_file_and_its_tail_gives_its_embedding(
    data: Path, crops: NDArray[np.uint8], pool: Pool, teacher: Teacher, casia: TeacherRecognizer
) -> None:
    targets = teacher.targets(torch.from_numpy(crops))
    session = onnxruntime.InferenceSession(str(data / "models" / "mobilefacenet-y1.onnx"))
    bgr = np.ascontiguousarray(crops[..., ::-1].transpose(0, 3, 1, 2), np.float32)
    (expected,) = session.run(None, {"input": bgr})
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(targets.unit.numpy(), expected, atol=1e-4)
    in_torch = Chain(data / "models" / "mobilefacenet-y1.onnx", CPU, torch.float64, [MAP])(torch.from_numpy(bgr))[0]
    np.testing.assert_allclose(targets.map.numpy(), in_torch.numpy(), atol=2e-3)
    trainer = Trainer(Recipe(samples=8, batch=4, statistics=16), pool, teacher, [casia], CPU, torch.float32)
    with torch.no_grad():
        from_map = torch.nn.functional.normalize(trainer.network.feature(targets.map), dim=1)
    np.testing.assert_allclose(from_map.numpy(), expected, atol=1e-4)


def test_the_student_starts_as_the_teachers_first_layers(crops: NDArray[np.uint8], teacher: Teacher) -> None:
    """With as many blocks as the teacher has, its stem would give the teacher's maps."""

    class Whole(MobileStem):
        BLOCKS = (4, 6)

    stem = Whole(student_architecture())
    inherit(stem, teacher)
    x = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1
    maps = stem.maps(x)[1:]
    for own, expected in zip(maps, teacher.targets(torch.from_numpy(crops)).stages, strict=True):
        np.testing.assert_allclose(own.detach().numpy(), expected.numpy(), atol=2e-3 * float(expected.std()) + 1e-2)
    fade(stem, 0.0)
    assert not torch.allclose(stem.maps(x)[2], maps[1]) and not [
        name for name in stem.state_dict() if "slopes" in name
    ]


def test_a_resumed_run_ends_as_an_unbroken_one_and_exports(
    crops: NDArray[np.uint8], pool: Pool, teacher: Teacher, casia: TeacherRecognizer, tmp_path: Path
) -> None:
    recipe = Recipe(samples=16, batch=4, statistics=16)

    def fresh() -> Trainer:
        return Trainer(recipe, pool, teacher, [casia], CPU, torch.float32)

    whole = fresh()
    losses = list(whole.steps())
    assert len(losses) == 4 and all(np.isfinite(list(step.values())).all() for step in losses)
    first = fresh()
    steps = first.steps()
    next(steps), next(steps)
    first.save(tmp_path / "c.pt")
    second = fresh()
    second.resume(tmp_path / "c.pt")
    assert second.samples_done == 8
    rest = list(second.steps())
    assert len(rest) == 2
    for name, value in whole.average.items():
        torch.testing.assert_close(second.average[name], value, atol=1e-6, rtol=1e-5)

    hurried = Trainer(msgspec.structs.replace(recipe, samples=10**9), pool, teacher, [casia], CPU, torch.float32)
    told: list[str] = []
    train(hurried, tmp_path / "h.pt", 0.3, told.append, lambda: "", monotonic() + 3)
    assert hurried.samples_done >= hurried.samples and hurried.samples < 10**6, "the rates have fallen"
    assert f"/{hurried.samples} " in told[-1] and hurried._optimizer.param_groups[0]["lr"] < 1e-4

    third = fresh()
    third.start_from(second.average, 8)
    assert third.samples_done == 8 and np.isfinite(list(next(third.steps()).values())).all()

    second.save(tmp_path / "c.pt")
    target = tmp_path / "student.safetensors"
    export_model(tmp_path / "c.pt", target, "student", np.concatenate([crops, degrade_half(crops, 1)]))
    packed = load_scorer(target, device="cpu", dtype="fp32")
    exact = load_scorer(target, device="cpu", dtype="fp32")
    exact.network.load_state_dict({name: value.float() for name, value in second.average.items()})
    a, b = packed.score(crops), exact.score(crops)
    assert spearmanr(a.raw_score, b.raw_score).statistic > 0.99
    assert a.embedding is not None and b.embedding is not None
    cosine = (a.embedding * b.embedding).sum(1) / (np.asarray(a.norm) * np.asarray(b.norm))
    assert cosine.min() > 0.999
