"""Components: each falls with its own defect, and none complains of a good portrait."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from facegate.demo.clip import DemoClip
from facegate.detectors.align import ARCFACE_TEMPLATE, align
from facegate.detectors.base import Detector
from facegate.pipeline.images import read_image
from facegate.pipeline.quality.components import components, measure
from facegate.pipeline.records import Detection, Image

FRAME = (640, 480)


def face(
    scale: float = 2.0, at: tuple[float, float] = (200.0, 100.0), turned: float = 0.0, up: float = 0.0
) -> Detection:
    points = ARCFACE_TEMPLATE.copy()
    points[2] += (turned, -up)
    points = points * scale + np.array(at, np.float32)
    box = (at[0] + 15 * scale, at[1] + 5 * scale, at[0] + 97 * scale, at[1] + 112 * scale)
    return Detection(box, 0.99, points.astype(np.float32))


def rolled(degrees: float) -> Detection:
    whole = face()
    middle = whole.landmarks.mean(0)
    turn = cv2.getRotationMatrix2D((float(middle[0]), float(middle[1])), -degrees, 1.0)
    return Detection(whole.box, 0.99, (whole.landmarks @ turn[:, :2].T + turn[:, 2]).astype(np.float32))


@pytest.fixture(scope="module")
def portrait_file(clip: DemoClip) -> Path:
    return sorted(clip.gallery.glob("*/1.png"))[0]


@pytest.fixture(scope="module")
def portrait(portrait_file: Path, mtcnn: Detector) -> Image:
    image = read_image(portrait_file)
    return align(image, mtcnn.detect([image])[0][0].landmarks)


def falls(values: list[int]) -> bool:
    return all(a >= b for a, b in pairwise(values)) and values[0] - values[-1] >= 30


def test_a_good_portrait_has_nothing_to_complain_of(portrait: Image) -> None:
    found = components(measure(portrait, face(), FRAME))
    assert min(msgspec.structs.astuple(found)) >= 60, found
    assert (found.size, found.roll, found.whole) == (100, 100, 100)


DEFECTS: dict[str, Callable[[Image, float], Image]] = {
    "sharpness": lambda crop, much: cv2.GaussianBlur(crop, (0, 0), 0.3 + 4 * much),
    "brightness": lambda crop, much: (crop * (1 - 0.95 * much)).astype(np.uint8),
    "contrast": lambda crop, much: (crop * (1 - much) + 128 * much).astype(np.uint8),
    "evenness": lambda crop, much: (crop * np.linspace(1 - much, 1, 112)[None, :, None]).astype(np.uint8),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_each_falls_with_what_is_done_to_the_picture(name: str, portrait: Image) -> None:
    seen = [
        components(measure(DEFECTS[name](portrait, much), face(), FRAME)) for much in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    assert falls([getattr(each, name) for each in seen]), seen


def test_too_much_light_is_as_bad_as_too_little(portrait: Image) -> None:
    seen = [
        components(
            measure(np.clip(portrait.astype(np.int16) + more, 0, 255).astype(np.uint8), face(), FRAME)
        ).brightness
        for more in (0, 60, 120, 200)
    ]
    assert falls(seen), seen


@pytest.mark.parametrize(
    ("name", "detections"),
    [
        ("size", [face(scale) for scale in (2.0, 1.0, 0.6, 0.3, 0.15)]),
        ("yaw", [face(turned=turned) for turned in (0, 6, 12, 20, 30)]),
        ("pitch", [face(up=up) for up in (0, 6, 12, 20, 30)]),
        ("roll", [rolled(degrees) for degrees in (0, 15, 30, 45, 60)]),
        ("whole", [face(at=(x, 100.0)) for x in (200, -30, -80, -120, -160)]),
    ],
)
def test_each_falls_with_where_the_face_is_and_looks(
    name: str, detections: list[Detection], portrait: Image
) -> None:
    seen = [components(measure(portrait, detection, FRAME)) for detection in detections]
    assert falls([getattr(each, name) for each in seen]), seen
