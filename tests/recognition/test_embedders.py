"""Embedders: unit rows, mates closer than strangers, and refusals that name the remedy."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from facegate.detectors.align import ARCFACE_TEMPLATE, align
from facegate.detectors.base import Detector
from facegate.errors import ConfigError, ModelError
from facegate.pipeline.images import read_image
from facegate.pipeline.records import Image
from facegate.recognition.embedders import Embedder, load_embedder
from facegate.recognition.matching.decision_rule import choose_rule
from facegate.recognition.matching.score_tail import find_impostor_model

needs_dlib = pytest.mark.skipif(importlib.util.find_spec("dlib") is None, reason="the dlib extra is not installed")


def crops_of(person: Path, detector: Detector, count: int) -> list[Image]:
    crops = []
    for file in sorted(person.iterdir())[:count]:
        image = read_image(file)
        face = max(detector.detect([image])[0], key=lambda f: f.width)
        crops.append(align(image, face.landmarks))
    return crops


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param("dlib", marks=needs_dlib),
        "mobilefacenet-y1.onnx",
        "mobilefacenet-casia.onnx",
        "face-reidentification-retail-0095.xml",
    ],
)
def test_mates_are_nearer_than_strangers_and_the_threshold_lies_between(
    data: Path, yunet: Detector, spec: str
) -> None:
    embedder: Embedder = load_embedder(spec if spec == "dlib" else str(data / "models" / spec))
    people = [crops_of(data / "photos" / name, yunet, 3) for name in ("Bill_Gates", "Angelina_Jolie", "Al_Pacino")]
    rows = [embedder.embed(crops) for crops in people]
    np.testing.assert_allclose(np.linalg.norm(np.concatenate(rows), axis=1), 1, atol=1e-5)
    mated = [float(np.dot(a[i], a[j])) for a in rows for i in range(3) for j in range(i)]
    strangers = [
        float(np.dot(a[i], b[j])) for a in rows for b in rows if a is not b for i in range(3) for j in range(3)
    ]
    assert min(mated) > max(strangers)
    assert max(strangers) < embedder.threshold < np.mean(mated)


@needs_dlib
def test_nothing_in_gives_nothing_out() -> None:
    assert load_embedder("dlib").embed([]).shape == (0, 128)


def identity_model(path: Path) -> None:
    """An ONNX 'recognizer' whose embedding is the mean color of its 4x112 input, so the card's effect shows."""
    axes = numpy_helper.from_array(np.array([2, 3], np.int64), "axes")
    nodes = [helper.make_node("ReduceMean", ["x"], ["m"], axes=[2, 3], keepdims=0)]
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3, 112, "w"])
    out = helper.make_tensor_value_info("m", TensorProto.FLOAT, [None, 3])
    graph = helper.make_graph(nodes, "g", [value], [out], [axes])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))


def test_a_card_beside_the_file_sets_color_order_normalization_and_columns(tmp_path: Path) -> None:
    identity_model(tmp_path / "m.onnx")
    crop = np.zeros((112, 112, 3), np.uint8)
    crop[:, 8:104] = (200, 100, 0)
    (tmp_path / "m.yaml").write_text("name: m\nthreshold: 0.3\ncolor: bgr\nmean: 100\nstd: 50\ncolumns: [8, 104]\n")
    (row,) = load_embedder(str(tmp_path / "m.onnx")).embed([crop])
    expected = np.array([-2.0, 0.0, 2.0])
    np.testing.assert_allclose(row, expected / np.linalg.norm(expected), atol=1e-5)


def test_a_card_with_landmarks_moves_the_crop_to_the_networks_own_template(tmp_path: Path) -> None:
    """The left eye's place in the crop lands where the card wants it; the network sees that pixel alone."""
    side = 128
    pick = [
        numpy_helper.from_array(np.array(at, np.int64), name) for at, name in (([63, 31], "a"), ([66, 34], "b"))
    ]
    axes = numpy_helper.from_array(np.array([2, 3], np.int64), "axes")
    nodes = [
        helper.make_node("Slice", ["x", "a", "b", "axes"], ["s"]),
        helper.make_node("ReduceMean", ["s", "axes"], ["m"], keepdims=0),
    ]
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, side, side])
    out = helper.make_tensor_value_info("m", TensorProto.FLOAT, [1, 3])
    graph = helper.make_graph(nodes, "g", [value], [out], [*pick, axes])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8),
        str(tmp_path / "m.onnx"),
    )
    points = [(2 * (x - 38.2946) + 32.5, 2 * (y - 51.6963) + 64.5) for x, y in ARCFACE_TEMPLATE.tolist()]
    card = tmp_path / "m.yaml"
    card.write_text(f"name: m\nthreshold: 0.3\nmean: 0\nside: {side}\nlandmarks: {[list(p) for p in points]}\n")
    crop = np.zeros((112, 112, 3), np.uint8)
    crop[48:56, 34:43] = (255, 0, 128)
    (row,) = load_embedder(str(tmp_path / "m.onnx")).embed([crop])
    np.testing.assert_allclose(row, np.array([255, 0, 128]) / np.hypot(255, 128), atol=0.02)
    for wrong, said in ((f"side: {side}\n", "no landmarks"), ("landmarks: [[1, 2]]\n", "1 landmarks")):
        card.write_text(f"name: m\nthreshold: 0.3\n{wrong}")
        with pytest.raises(ConfigError, match=said):
            load_embedder(str(tmp_path / "m.onnx"))


def test_a_name_is_promised_with_the_recognizer_that_anyone_may_use(data: Path) -> None:
    """Its cohort is of generated faces, and its tail goes with this very file."""
    path = data / "models" / "face-reidentification-retail-0095.xml"
    embedder = load_embedder(str(path))
    impostors = find_impostor_model(embedder.version, embedder.name, path)
    assert impostors is not None and "generated" in impostors.tail.source
    rule, warning = choose_rule(None, 1e-3, impostors, embedder.threshold)
    assert warning is None and 0.1 < rule.threshold(1) < rule.threshold(1000) < 0.6


def test_ir_without_its_weights_or_with_other_ones_is_refused(tmp_path: Path, data: Path) -> None:
    source = data / "models" / "face-reidentification-retail-0095.xml"
    copy = tmp_path / source.name
    shutil.copy(source, copy)
    with pytest.raises(ModelError, match=r"cannot read .*\.bin"):
        load_embedder(str(copy))
    weights = source.with_suffix(".bin").read_bytes()
    copy.with_suffix(".bin").write_bytes(weights[:-2] + b"\0\0")
    with pytest.raises(ConfigError, match="has no card"):
        load_embedder(str(copy))


def test_an_onnx_file_without_card_or_with_a_wrong_one_is_refused(tmp_path: Path, data: Path) -> None:
    identity_model(tmp_path / "m.onnx")
    with pytest.raises(ConfigError, match="has no card"):
        load_embedder(str(tmp_path / "m.onnx"))
    card = tmp_path / "card.yaml"
    card.write_text("name: m\nthreshhold: 0.3\n")
    with pytest.raises(ConfigError, match=r"invalid card"):
        load_embedder(str(tmp_path / "m.onnx"), card)
    card.write_text(f"name: m\nthreshold: 0.3\nsha256: {'ab' * 32}\n")
    with pytest.raises(ModelError, match="SHA-256 differs"):
        load_embedder(str(tmp_path / "m.onnx"), card)


def test_missing_and_unknown_embedders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown embedder"):
        load_embedder("nonsense")
    with pytest.raises(ModelError, match="cannot read"):
        load_embedder(str(tmp_path / "none.onnx"))
    with pytest.raises(ModelError, match="no recognition model"):
        load_embedder(str(tmp_path))


def test_the_recognizer_of_an_insightface_pack_is_found_and_gets_what_it_expects(tmp_path: Path) -> None:
    """A stand-in for a pack's recognizer: insightface routes by input size and feeds RGB scaled to -1..1."""
    weight = numpy_helper.from_array(np.ones((512, 3), np.float32), "w")
    nodes = [
        helper.make_node("ReduceMean", ["input.1"], ["m"], axes=[2, 3], keepdims=0),
        helper.make_node("Gemm", ["m", "w"], ["out"], transB=1),
    ]
    value = helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [None, 3, 112, 112])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [None, 512])
    graph = helper.make_graph(nodes, "g", [value], [out], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(tmp_path / "w600k_test.onnx"))
    embedder = load_embedder(str(tmp_path))
    rows = embedder.embed([np.full((112, 112, 3), 255, np.uint8), np.zeros((112, 112, 3), np.uint8)])
    assert rows.shape == (2, 512)
    assert rows[0, 0] > 0 > rows[1, 0]
    shutil.rmtree(tmp_path)
