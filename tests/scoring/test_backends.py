"""Backends agree with torch; the choice among them is measured, kept and said; wrong combinations are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import spearmanr

from facegate.errors import ConfigError
from facegate.evaluation.degrade import degrade_half
from facegate.scoring.backend_selection import EMBEDDING_AGREEMENT, RANK_AGREEMENT, example_crops, tune
from facegate.scoring.engine import load_scorer, native_bf16

from ..helpers import facegate


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported graphs, shared by the tests here; each export takes seconds."""
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture
def cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACEGATE_CACHE", str(folder))
    return folder


@pytest.fixture
def faces(data: Path) -> NDArray[np.uint8]:
    plain = np.load(data / "parity" / "crops.npy")
    return np.concatenate([plain, degrade_half(plain, 1)])


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_backend_scores_as_torch_does(cache: Path, data: Path, faces: NDArray[np.uint8], backend: Any) -> None:
    weights = data / "parity" / "tiny_p8.safetensors"
    torch_ = load_scorer(weights, device="cpu", dtype="fp32", backend="torch").score(faces)
    scorer = load_scorer(weights, device="cpu", dtype="fp32", backend=backend)
    other = scorer.score(faces)
    assert scorer.backend.name == backend
    for name in ("raw_score", "patches", "attention", "embedding", "norm"):
        np.testing.assert_allclose(getattr(other, name), getattr(torch_, name), atol=1e-4, err_msg=name)
    np.testing.assert_allclose(other.quality, torch_.quality, atol=1)
    without = scorer.score(faces[:2], embedding=False)
    assert without.embedding is None and without.norm is None
    again = scorer.score(faces)
    np.testing.assert_array_equal(again.raw_score, other.raw_score)  # results do not share memory with the runtime
    assert scorer.score(faces[:0]).raw_score.shape == (0,)


def test_int8_runs_in_onnx_runtime_when_asked(cache: Path, data: Path, faces: NDArray[np.uint8]) -> None:
    scorer = load_scorer(data / "parity" / "tiny_p8.safetensors", device="cpu", dtype="int8")
    exact = load_scorer(data / "parity" / "tiny_p8.safetensors", device="cpu", dtype="fp32", backend="torch")
    assert (scorer.backend.name, scorer.backend.dtype) == ("onnxruntime", "int8")
    together = scorer.score(faces).raw_score
    assert spearmanr(together, exact.score(faces).raw_score).statistic > 0.9
    np.testing.assert_array_equal(
        together[:1], scorer.score(faces[:1]).raw_score
    )  # whoever comes along changes nothing


def test_auto_takes_what_was_measured_here_and_says_so(cache: Path, data: Path) -> None:
    weights = data / "parity" / "tiny_p16.safetensors"
    before = load_scorer(weights, device="cpu", dtype="fp32")
    assert before.backend.name == "onnxruntime" and "models tune" in before.why
    result = facegate("models", "tune", weights, env={"FACEGATE_CACHE": str(cache)})
    assert result.returncode == 0 and "selected" in result.stdout and "openvino" in result.stdout, result.stderr
    after = load_scorer(weights, device="cpu", dtype="fp32")
    assert "measured on this machine" in after.why


def test_without_a_place_for_graphs_torch_runs_and_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FACEGATE_CACHE", str(tmp_path / "file"))
    scorer = load_scorer(tiny_model, device="cpu", dtype="fp32")
    assert scorer.backend.name == "torch" and "the graph could not be exported" in scorer.why
    with pytest.raises(OSError, match="file"):
        load_scorer(tiny_model, device="cpu", backend="onnxruntime")


def test_what_is_not_exact_enough_is_never_taken_unasked(cache: Path, data: Path) -> None:
    weights = data / "parity" / "tiny_p8.safetensors"
    scorer = load_scorer(weights, device="cpu", dtype="fp32", backend="torch")
    trials = tune(scorer.reading, example_crops(), native_bf16("cpu"), lambda line: None)
    exact = [t for t in trials if t.dtype == "fp32"]
    assert {t.backend for t in exact} == {"torch", "onnxruntime", "openvino"}
    assert all(t.acceptable(scorer.card) and t.rank_agreement > 0.9999 for t in exact)
    chosen = load_scorer(weights, device="cpu")
    taken = next(t for t in trials if (t.backend, t.dtype) == (chosen.backend.name, chosen.backend.dtype))
    assert taken.rank_agreement >= RANK_AGREEMENT and taken.embedding_agreement >= EMBEDDING_AGREEMENT


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"dtype": "fp16"}, "needs a CUDA device"),
        ({"dtype": "int8", "backend": "torch"}, "int8 runs in ONNX Runtime"),
        ({"dtype": "bf16", "backend": "onnxruntime"}, "no bf16"),
        ({"backend": "tensorrt"}, "backend 'tensorrt' is unknown"),
        ({"distance": "manhattan"}, "distance 'manhattan' is unknown"),
        ({"quality": "norm"}, "no calibration for quality 'norm'"),
        ({"quality": "best"}, "quality 'best' is unknown"),
    ],
)
def test_combinations_that_do_not_exist_are_refused(tiny_model: Path, wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_scorer(tiny_model, device="cpu", **wrong)


@settings(max_examples=10)
@given(size=st.integers(1, 40), position=st.integers(0, 39))
def test_in_bf16_too_a_score_does_not_depend_on_the_batch(tiny_model: Path, size: int, position: int) -> None:
    scorer = load_scorer(tiny_model, device="cpu", dtype="bf16", backend="torch")
    crops = np.random.default_rng(size).integers(0, 256, (size, 112, 112, 3)).astype(np.uint8)
    position %= size
    together, alone = scorer.score(crops), scorer.score(crops[position : position + 1])
    np.testing.assert_allclose(together.raw_score[position], alone.raw_score[0], atol=5e-3)
    np.testing.assert_allclose(together.patches[position], alone.patches[0], atol=5e-3)


def test_other_settings_mark_the_calibration_they_were_not_made_for(tiny_model: Path) -> None:
    assert "other settings" not in load_scorer(tiny_model, device="cpu").calibration
    assert "other settings" in load_scorer(tiny_model, device="cpu", alpha=2.0).calibration
    assert load_scorer(tiny_model, device="cpu", distance="cosine").algorithm.endswith("/cosine")


@pytest.mark.gpu
def test_on_cuda_scores_are_those_of_the_processor(data: Path, faces: NDArray[np.uint8]) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    weights = data / "parity" / "tiny_p8.safetensors"
    cpu = load_scorer(weights, device="cpu", dtype="fp32", backend="torch").score(faces)
    for dtype, tolerance in (("fp32", 1e-4), ("bf16", 5e-3), ("fp16", 5e-3)):
        scorer = load_scorer(weights, device="cuda", dtype=dtype)  # type: ignore[arg-type]
        for count in (1, 3, 32):
            out = scorer.score(faces[:count])
            np.testing.assert_allclose(out.raw_score, cpu.raw_score[:count], atol=tolerance)
        np.testing.assert_array_equal(scorer.score(faces).raw_score, scorer.score(faces).raw_score)
