"""The self-test: right recognizers pass, and each planted fault is refused with what is wrong."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import msgspec
import pytest

from facegate.errors import ModelError
from facegate.recognition.embedders import OnnxEmbedder, load_embedder
from facegate.recognition.self_test import checks
from facegate.recognition.self_test.checks import check_recognizer, find_problem

Y1, CASIA, INTEL = "mobilefacenet-y1.onnx", "mobilefacenet-casia.onnx", "face-reidentification-retail-0095.xml"
needs_dlib = pytest.mark.skipif(importlib.util.find_spec("dlib") is None, reason="the dlib extra is not installed")


@pytest.fixture(autouse=True)
def _fresh_verdicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "cache_folder", lambda: tmp_path / "cache")


def loaded(data: Path, name: str) -> OnnxEmbedder:
    found = load_embedder(str(data / "models" / name))
    assert isinstance(found, OnnxEmbedder)
    return found


@pytest.mark.parametrize("name", [Y1, CASIA, INTEL])
def test_right_recognizers_pass(data: Path, name: str) -> None:
    assert find_problem(loaded(data, name)) is None


@pytest.mark.parametrize("spec", ["builtin", "facegate-open-s", pytest.param("dlib", marks=needs_dlib)])
def test_right_recognizers_that_need_no_card_pass(spec: str) -> None:
    path = Path(str(importlib.util.find_spec("facegate.scoring").submodule_search_locations[0]))  # type: ignore[union-attr, index]
    spec = str(path / "models" / f"{spec}.safetensors") if spec.startswith("facegate") else spec
    assert find_problem(load_embedder(spec)) is None


SWAPPED = ((87.3728, 59.0848), (40.3968, 59.0848), (64.0384, 81.984), (83.6352, 105.5616), (44.736, 105.5616))
ARCFACE_128 = ((43.77, 59.08), (84.04, 58.86), (64.03, 81.98), (47.48, 105.56), (80.83, 105.38))
FAULTS = [
    (Y1, {"color": "rgb"}, "expects BGR: set 'color: bgr'"),
    (CASIA, {"color": "bgr"}, "expects RGB: set 'color: rgb'"),
    (INTEL, {"color": "rgb"}, "expects BGR: set 'color: bgr'"),
    (Y1, {"mean": 127.5, "std": 127.5}, "set 'mean: 0' and 'std: 1'"),
    (CASIA, {"mean": 0.0, "std": 1.0}, "set 'mean: 127.5' and 'std: 127.5'"),
    (INTEL, {"mean": 0.0, "std": 255.0}, "set 'mean: 0' and 'std: 1'"),
    (INTEL, {"landmarks": SWAPPED}, "left and right are exchanged"),
    (INTEL, {"landmarks": ARCFACE_128}, "expects Open Model Zoo's alignment"),
]


@pytest.mark.parametrize(("name", "wrong", "reason"), FAULTS, ids=lambda value: str(value)[:40])
def test_a_network_that_is_used_wrongly_is_refused_with_what_to_change(
    data: Path, name: str, wrong: dict[str, object], reason: str
) -> None:
    right = loaded(data, name)
    with pytest.raises(ModelError, match="failed its self-test") as caught:
        check_recognizer(right.with_card(msgspec.structs.replace(right.card, **wrong)))
    assert reason in str(caught.value)
