"""Detectors find the six people of the photograph, agree with each other, and refuse what is not theirs."""

from __future__ import annotations

import importlib.util
import os
import shutil
from contextlib import suppress
from pathlib import Path
from threading import Thread

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from facegate.cpu import cores
from facegate.detectors.base import Detector, load_detector, same_face
from facegate.detectors.mtcnn import MtcnnDetector, weights_directory
from facegate.detectors.scrfd import ScrfdDetector
from facegate.errors import ModelError
from facegate.pipeline.images import read_image
from facegate.pipeline.records import Image

SPEC = importlib.util.find_spec("insightface")
assert SPEC is not None and SPEC.submodule_search_locations is not None
PHOTO = Path(SPEC.submodule_search_locations[0]) / "data" / "images" / "t1.jpg"


@pytest.fixture(scope="module")
def group() -> Image:
    return read_image(PHOTO)


def test_mtcnn_finds_the_six_people_and_their_eyes_are_above_their_mouths(mtcnn: Detector, group: Image) -> None:
    (faces,) = mtcnn.detect([group])
    assert len(faces) == 6
    for face in faces:
        eyes, mouth = face.landmarks[:2], face.landmarks[3:]
        assert eyes[:, 1].max() < mouth[:, 1].min()
        assert eyes[0, 0] < eyes[1, 0] and mouth[0, 0] < mouth[1, 0]


def test_mtcnn_gives_each_image_of_a_batch_what_it_gives_it_alone(mtcnn: Detector, group: Image) -> None:
    left, right = np.ascontiguousarray(group[:, :640]), np.ascontiguousarray(group[:, 640:])
    batched = mtcnn.detect([left, group, right])
    for image, faces in zip((left, group, right), batched, strict=True):
        (alone,) = mtcnn.detect([image])
        assert len(alone) == len(faces)
        for a, b in zip(alone, faces, strict=True):
            np.testing.assert_allclose(a.box, b.box, atol=0.05)
            np.testing.assert_allclose(a.landmarks, b.landmarks, atol=0.05)


def test_mtcnn_and_yunet_agree_within_a_few_pixels(mtcnn: Detector, yunet: Detector, group: Image) -> None:
    ours, theirs = mtcnn.detect([group])[0], yunet.detect([group])[0]
    assert len(ours) == len(theirs) == 6
    for a, b in zip(*(sorted(found, key=lambda f: f.box[0]) for found in (ours, theirs)), strict=True):
        assert np.abs(a.landmarks - b.landmarks).mean() < 0.1 * a.width


@pytest.mark.parametrize("kind", ["mtcnn", "yunet"])
def test_known_faces_are_followed_and_where_none_is_none_is_found(
    kind: str, request: pytest.FixtureRequest, group: Image
) -> None:
    detector: Detector = request.getfixturevalue(kind)
    (faces,) = detector.detect([group])
    shifted = [tuple(value + 0.1 * face.width for value in face.box) for face in faces]
    nowhere = (10.0, 10.0, 60.0, 60.0)
    other = np.full_like(group, 127)
    found, none = detector.detect_near([group, other], [[*shifted, nowhere], [shifted[0]]])  # type: ignore[list-item]
    assert none == [None] and found[-1] is None
    for face, near in zip(faces, found[:-1], strict=True):
        assert near is not None and same_face(face.box, near.box, 0.6)
        assert np.abs(face.landmarks - near.landmarks).mean() < 0.06 * face.width
    assert detector.detect_near([group, other], [[], []]) == [[], []]


def test_a_face_beside_the_picture_is_not_followed(mtcnn: Detector, yunet: Detector, group: Image) -> None:
    for detector in (mtcnn, yunet):
        assert detector.detect_near([group], [[(-300.0, -300.0, -250.0, -250.0)]]) == [[None]]


def test_a_picture_without_faces_and_a_tiny_one_give_nothing(mtcnn: Detector, yunet: Detector) -> None:
    for size in ((480, 640, 3), (8, 8, 3), (1, 400, 3)):
        assert mtcnn.detect([np.full(size, 127, np.uint8)]) == [[]]
    assert yunet.detect([np.full((480, 640, 3), 127, np.uint8)]) == [[]]
    assert mtcnn.detect([]) == []


def test_mtcnn_weights_that_are_not_the_pinned_release_are_refused_before_unpickling(tmp_path: Path) -> None:
    for file in weights_directory().iterdir():
        shutil.copy(file, tmp_path)
    (tmp_path / "rnet.lz4").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(ModelError, match="not the pinned release"):
        MtcnnDetector(weights=tmp_path)


def test_missing_and_wrong_model_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no YuNet model"):
        load_detector("yunet", tmp_path / "none.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(ModelError, match="not a YuNet"):
        load_detector("yunet", broken)
    with pytest.raises(ModelError, match="needs its ONNX file"):
        load_detector("yunet")
    with pytest.raises(ModelError, match="no SCRFD detector"):
        load_detector("scrfd", tmp_path)


def scrfd_graph(path: Path, anchor: int) -> None:
    """A constant graph with SCRFD's nine outputs (score, box, points at strides 8, 16, 32) and one hit.

    The hit is at stride 16, anchor ``anchor`` (two per cell), with a box of 32 pixels to every side and points at
    the anchor itself, in units of the stride as SCRFD has them.
    """
    nodes, outputs = [], []
    image = helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [1, 3, "h", "w"])
    for name, width in (("score", 1), ("bbox", 4), ("kps", 10)):
        for stride in (8, 16, 32):
            rows = (320 // stride) ** 2 * 2
            values = np.zeros((rows, width), np.float32)
            if stride == 16:
                values[anchor] = {"score": 0.9, "bbox": 2.0, "kps": 0.0}[name]
            output = f"{name}_{stride}"
            tensor = helper.make_tensor(f"{output}_c", TensorProto.FLOAT, values.shape, values.ravel())
            nodes.append(helper.make_node("Constant", [], [f"{output}_v"], value=tensor))
            # Tied to the input, or the runtime would drop it and SCRFD's loader could not read its size.
            nodes.append(helper.make_node("Add", [f"{output}_v", "zero"], [output]))
            outputs.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", width]))
    nodes.insert(0, helper.make_node("ReduceMax", ["input.1"], ["peak"], keepdims=0))
    nodes.insert(1, helper.make_node("Sub", ["peak", "peak"], ["zero"]))
    graph = helper.make_graph(nodes, "scrfd", [image], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))


def test_scrfd_of_a_local_pack_is_loaded_and_decoded(tmp_path: Path) -> None:
    row, column = 7, 11
    scrfd_graph(tmp_path / "det_10g.onnx", (row * 20 + column) * 2)
    detector = ScrfdDetector(tmp_path, max_side=320)  # it always finds one face, which the self-test refuses
    ((face,),) = detector.detect([np.zeros((640, 640, 3), np.uint8)])
    center = np.array([column, row]) * 16.0 * 2  # the picture is twice as large as the network's input
    np.testing.assert_allclose(face.box, (*(center - 64), *(center + 64)), atol=0.01)
    np.testing.assert_allclose(face.landmarks, np.tile(center, (5, 1)), atol=0.01)
    assert face.confidence == pytest.approx(0.9)


def test_a_pack_without_key_points_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "det_x.onnx"
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 112, 112])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 112, 112])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [out])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    with pytest.raises(ModelError, match="not SCRFD with key points"):
        load_detector("scrfd", tmp_path)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity") or cores() < 2, reason="needs two cores and Linux")
def test_who_detects_may_run_on_any_core_meanwhile() -> None:
    detector, image = load_detector("mtcnn"), np.random.default_rng(0).integers(0, 256, (360, 640, 3), np.uint8)
    detector.detect([image])
    worker = Thread(target=lambda: [detector.detect([image]) for _ in range(20)])
    worker.start()
    seen = set()
    while worker.is_alive():
        with suppress(ProcessLookupError):
            seen.add(frozenset(os.sched_getaffinity(worker.native_id or 0)))
    assert seen == {frozenset(os.sched_getaffinity(0))}
