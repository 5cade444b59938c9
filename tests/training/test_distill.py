"""Distillation: repeatable views, a teacher that is the ONNX file, and a run that resumes as if unbroken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from facegate.evaluation.degrade import degrade_half
from facegate.scoring.engine import load_scorer
from facegate.training.distill import Recipe, Trainer
from facegate.training.export import export_model
from facegate.training.teacher import Teacher
from facegate.training.views import ViewSettings, make_batch

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pool(data: Path) -> NDArray[np.uint8]:
    crops: NDArray[np.uint8] = np.load(data / "parity" / "crops.npy")
    return crops


@pytest.fixture(scope="module")
def teacher(data: Path) -> Teacher:
    return Teacher(data / "models" / "mobilefacenet-y1.onnx", CPU, torch.float32)


def test_views_depend_on_the_sample_alone_and_half_of_them_are_degraded(pool: NDArray[np.uint8]) -> None:
    numbers = np.arange(64)
    clean, student = make_batch(pool, numbers, 5, ViewSettings())
    again, _ = make_batch(pool, numbers[10:20], 5, ViewSettings())
    np.testing.assert_array_equal(clean[10:20], again)
    degraded = np.array([(a != b).any() for a, b in zip(clean, student, strict=True)])
    assert 0.25 < degraded.mean() < 0.75


def test_the_teacher_in_torch_is_the_onnx_file_and_its_tail_gives_its_embedding(
    data: Path, pool: NDArray[np.uint8], teacher: Teacher
) -> None:
    targets = teacher.targets(torch.from_numpy(pool))
    session = onnxruntime.InferenceSession(str(data / "models" / "mobilefacenet-y1.onnx"))
    bgr = np.ascontiguousarray(pool[..., ::-1].transpose(0, 3, 1, 2), np.float32)
    (expected,) = session.run(None, {"input": bgr})
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(targets.unit.numpy(), expected, atol=1e-4)
    trainer = Trainer(Recipe(samples=8, batch=4, statistics=16), pool, teacher, CPU, torch.float32)
    with torch.no_grad():
        from_map = torch.nn.functional.normalize(trainer.network.feature(targets.map), dim=1)
    np.testing.assert_allclose(from_map.numpy(), expected, atol=1e-4)


def test_a_resumed_run_ends_as_an_unbroken_one_and_exports(
    pool: NDArray[np.uint8], teacher: Teacher, tmp_path: Path
) -> None:
    recipe = Recipe(samples=16, batch=4, statistics=16)

    def fresh() -> Trainer:
        return Trainer(recipe, pool, teacher, CPU, torch.float32)

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

    second.save(tmp_path / "c.pt")
    target = tmp_path / "student.safetensors"
    export_model(tmp_path / "c.pt", target, "student", np.concatenate([pool, degrade_half(pool, 1)]))
    packed = load_scorer(target, device="cpu", dtype="fp32")
    exact = load_scorer(target, device="cpu", dtype="fp32")
    exact.network.load_state_dict({name: value.float() for name, value in second.average.items()})
    a, b = packed.score(pool), exact.score(pool)
    assert spearmanr(a.raw, b.raw).statistic > 0.99
    assert a.embedding is not None and b.embedding is not None
    cosine = (a.embedding * b.embedding).sum(1) / (np.asarray(a.norm) * np.asarray(b.norm))
    assert cosine.min() > 0.999
