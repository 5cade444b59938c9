"""The self-test: right recognizers pass, and each planted fault is refused with what is wrong."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from facegate.detectors.align import ARCFACE_TEMPLATE
from facegate.detectors.reference_faces import reference_faces
from facegate.errors import ModelError
from facegate.pipeline.records import Floats
from facegate.recognition import loading
from facegate.recognition.embedders import OnnxCard, OnnxEmbedder, load_embedder
from facegate.recognition.self_test import checks
from facegate.recognition.self_test.checks import check_recognizer, find_problem

from ..helpers import facegate

Y1, CASIA, INTEL = "mobilefacenet-y1.onnx", "mobilefacenet-casia.onnx", "face-reidentification-retail-0095.xml"
needs_dlib = pytest.mark.skipif(importlib.util.find_spec("dlib") is None, reason="the dlib extra is not installed")


@pytest.fixture(autouse=True)
def verdicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where passed tests are remembered; none is."""
    monkeypatch.setattr(checks, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "self-tests"


def loaded(data: Path, name: str) -> OnnxEmbedder:
    found = load_embedder(str(data / "models" / name))
    assert isinstance(found, OnnxEmbedder)
    return found


def custom(right: OnnxEmbedder, **changes: Any) -> OnnxEmbedder:
    """A card of a user's own: one that ships would be known to be right."""
    return right.with_card(msgspec.structs.replace(right.card, sha256=None, **changes))


def other_input(data: Path, folder: Path) -> OnnxEmbedder:
    """MobileFaceNet-CASIA with another input: BGR from 0 to 1."""
    model = onnx.load(str(data / "models" / CASIA))
    graph = model.graph
    name = graph.input[0].name
    for node in graph.node:
        node.input[:] = ["prepared" if each == name else each for each in node.input]
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([2, 1, 0], np.int64), "order"),
            numpy_helper.from_array(np.array(255 / 128, np.float32), "factor"),
            numpy_helper.from_array(np.array(127.5 / 128, np.float32), "offset"),
        ]
    )
    for node in (
        helper.make_node("Sub", ["scaled", "offset"], ["prepared"]),
        helper.make_node("Mul", ["ordered", "factor"], ["scaled"]),
        helper.make_node("Gather", [name, "order"], ["ordered"], axis=1),
    ):
        graph.node.insert(0, node)
    onnx.save(model, str(folder / "other.onnx"))
    card = OnnxCard(name="other", threshold=0.4, color="bgr", mean=0, std=255, columns=(8, 104))
    return OnnxEmbedder(folder / "other.onnx", card)


def test_none_of_the_right_recognizers_is_refused(data: Path, tmp_path: Path) -> None:
    networks = [custom(loaded(data, name)) for name in (Y1, CASIA, INTEL)]
    assert [find_problem(each) for each in [*networks, other_input(data, tmp_path)]] == [None] * 4
    assert find_problem(load_embedder("builtin")) is None


@needs_dlib
def test_dlib_is_not_refused() -> None:
    assert find_problem(load_embedder("dlib")) is None


def points(shares: Any, side: int) -> tuple[tuple[float, float], ...]:
    return tuple((float(x) * side, float(y) * side) for x, y in shares)


LOOSE = 0.5 + 0.75 * (ARCFACE_TEMPLATE / 112 - 0.5)
INTEL_POINTS = np.array([(40.4, 59.1), (87.4, 59.1), (64.0, 82.0), (44.7, 105.6), (83.6, 105.6)]) / 128


@pytest.mark.parametrize(
    ("name", "wrong", "reason"),
    [
        (Y1, {"color": "rgb"}, "expects BGR: set 'color: bgr'"),
        (CASIA, {"color": "bgr"}, "expects RGB: set 'color: rgb'"),
        (INTEL, {"color": "rgb"}, "expects BGR: set 'color: bgr'"),
        (Y1, {"mean": 127.5, "std": 127.5}, "set 'mean: 0' and 'std: 1'"),
        (CASIA, {"mean": 0.0, "std": 1.0}, "set 'mean: 127.5' and 'std: 127.5'"),
        (CASIA, {"mean": 0.0, "std": 255.0}, "set 'mean: 127.5' and 'std: 127.5'"),
        (INTEL, {"mean": 0.0, "std": 255.0}, "set 'mean: 0' and 'std: 1'"),
        (INTEL, {"landmarks": points(INTEL_POINTS[[1, 0, 2, 4, 3]], 128)}, "left and right are exchanged"),
        (INTEL, {"landmarks": points(LOOSE, 128)}, "expects ArcFace's alignment"),
        (Y1, {"side": 112, "landmarks": points(LOOSE, 112)}, "expects ArcFace's alignment"),
        (CASIA, {"columns": (0, 96)}, "expects the middle of the crop: set 'columns: [8, 104]'"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_network_that_gets_the_wrong_input_is_refused_with_what_to_change(
    data: Path, name: str, wrong: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ModelError, match="failed its self-test") as caught:
        check_recognizer(custom(loaded(data, name), **wrong))
    assert reason in str(caught.value)


def damaged(data: Path, folder: Path, factors: Floats, levels: int = 0) -> OnnxEmbedder:
    """MobileFaceNet-y1 with its outputs multiplied, or its weights rounded to a few levels."""
    model = onnx.load(str(data / "models" / Y1))
    graph = model.graph
    for each in graph.initializer if levels else ():
        if each.data_type == onnx.TensorProto.FLOAT and each.dims:
            values = numpy_helper.to_array(each)
            step = max(float(np.abs(values).max()), 1e-9) / levels
            each.CopyFrom(numpy_helper.from_array((np.round(values / step) * step).astype(np.float32), each.name))
    name = graph.output[0].name
    for node in graph.node:
        node.output[:] = ["before" if each == name else each for each in node.output]
    graph.initializer.append(numpy_helper.from_array(factors, "factors"))
    graph.node.append(helper.make_node("Mul", ["before", "factors"], [name]))
    onnx.save(model, str(folder / "damaged.onnx"))
    card = OnnxCard(name="damaged", threshold=0.39, color="bgr", mean=0, std=1)
    return OnnxEmbedder(folder / "damaged.onnx", card)


ONES = np.ones(128, np.float32)


@pytest.mark.parametrize(
    ("factors", "levels", "reason"),
    [
        (0 * ONES, 0, "its output is the same for everybody: this output is dead"),
        (np.where(np.arange(128) < 50, 0, ONES), 0, "50 of its 128 outputs are dead"),
        (np.inf * ONES, 0, "its output is not finite: it overflows in this precision"),
        (ONES, 2, "everybody looks alike to it|it hardly tells people apart|is dead"),
    ],
    ids=["all dead", "some dead", "overflow", "five levels"],
)
def test_dead_outputs_and_wrong_precision_are_refused(
    data: Path, tmp_path: Path, factors: Floats, levels: int, reason: str
) -> None:
    with pytest.raises(ModelError, match=reason):
        check_recognizer(damaged(data, tmp_path, factors.astype(np.float32), levels))


def test_a_passed_test_is_remembered_for_the_file_its_card_and_the_device(
    data: Path, verdicts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = loaded(data, CASIA)
    check_recognizer(right)
    assert len(list(verdicts.iterdir())) == 1
    monkeypatch.setattr(checks, "find_problem", lambda embedder: "it was tested again")
    check_recognizer(right)
    for embedder, device in ((right, "cuda"), (custom(right, color="bgr"), "cpu")):
        with pytest.raises(ModelError, match="tested again"):
            check_recognizer(embedder, device)


def test_a_worker_does_not_start_with_a_network_that_gets_the_wrong_input(data: Path, tmp_path: Path) -> None:
    shutil.copy(data / "models" / CASIA, tmp_path / "net.onnx")
    (tmp_path / "net.yaml").write_text("name: net\nthreshold: 0.4\ncolor: bgr\nstd: 128\ncolumns: [8, 104]\n")
    with pytest.raises(ModelError, match="expects RGB: set 'color: rgb'"):
        loading.load_recognition(str(tmp_path / "net.onnx"), None, "mtcnn", None)


def test_the_command_suggests_the_card_of_an_unknown_network(data: Path, tmp_path: Path) -> None:
    right = other_input(data, tmp_path)
    done = facegate("recognizers", "check", tmp_path / "other.onnx")
    assert done.returncode == 0 and "color: bgr\nmean: 0\nstd: 255\ncolumns: [8, 104]\n" in done.stdout
    (tmp_path / "other.yaml").write_text(done.stdout)
    suggested = load_embedder(str(tmp_path / "other.onnx"))
    assert isinstance(suggested, OnnxEmbedder) and suggested.card == right.card
    (tmp_path / "other.yaml").write_text("name: other\nthreshold: 0.4\nmean: 0\nstd: 255\ncolumns: [8, 104]\n")
    done = facegate("recognizers", "check", tmp_path / "other.onnx")
    assert done.returncode == 1 and "set 'color: bgr'" in done.stdout


def test_the_reference_faces_are_a_dozen_aligned_crops() -> None:
    assert [face.shape for face in reference_faces()] == [(112, 112, 3)] * 12
