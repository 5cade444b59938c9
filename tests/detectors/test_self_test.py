"""The self-test of detectors: right ones pass, and planted faults are refused with what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from facegate.detectors.base import Detector, load_detector
from facegate.detectors.self_test import SWAPPED, find_problem
from facegate.errors import ModelError
from facegate.pipeline.records import Detection, Image, contiguous


def test_right_detectors_pass(yunet: Detector, mtcnn: Detector) -> None:
    assert find_problem(yunet) is None and find_problem(mtcnn) is None


class Faulty:
    """A detector whose input or output is changed."""

    def __init__(
        self,
        detector: Detector,
        image: Callable[[Image], Image] = lambda image: image,
        face: Callable[[Detection], Detection] = lambda face: face,
    ) -> None:
        self.name, self.smallest_px = "faulty", detector.smallest_px
        self._detector, self._image, self._face = detector, image, face
        self.detect_near = detector.detect_near

    def detect(self, images: Sequence[Image], known: object = None) -> list[list[Detection]]:
        found = self._detector.detect([self._image(image) for image in images])
        return [[self._face(each) for each in faces] for faces in found]


def swapped(face: Detection) -> Detection:
    return msgspec.structs.replace(face, landmarks=face.landmarks[SWAPPED])


def shuffled(face: Detection) -> Detection:
    return msgspec.structs.replace(face, landmarks=face.landmarks[[2, 3, 4, 0, 1]])


@pytest.mark.parametrize(
    ("image", "face", "reason"),
    [
        (None, swapped, "left and right exchanged"),
        (None, shuffled, "eye distances off"),
        (lambda image: contiguous(image[:, ::-1]), None, "gets a mirrored picture"),
        (lambda image: contiguous(image[::-1]), None, "finds . of 12|eye distances off"),
        (lambda image: image // 255, None, "finds . of 12"),
    ],
    ids=["swapped landmarks", "other order", "mirrored", "upside down", "range of values"],
)
def test_planted_faults_are_found(yunet: Detector, image: object, face: object, reason: str) -> None:
    changes = {name: change for name, change in (("image", image), ("face", face)) if change is not None}
    with pytest.raises(AssertionError, match=reason):
        assert find_problem(Faulty(yunet, **changes)) is None  # type: ignore[arg-type]


def test_a_damaged_file_is_refused_when_it_is_loaded(data: Path, tmp_path: Path) -> None:
    model = onnx.load(str(data / "models" / "yunet_n_640_640.onnx"))
    for each in model.graph.initializer:
        if each.data_type == onnx.TensorProto.FLOAT and len(each.dims) == 4:
            each.CopyFrom(numpy_helper.from_array(np.zeros(tuple(each.dims), np.float32), each.name))
    onnx.save(model, str(tmp_path / "dead.onnx"))
    with pytest.raises(ModelError, match="failed its self-test"):
        load_detector("yunet", tmp_path / "dead.onnx")
