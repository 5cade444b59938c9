"""What can be seen in one face by itself, a number each: components in the spirit of ISO/IEC 29794-5:2025.

Each is 0 to 100, higher is better, and falls with its defect. They are made of what is there anyway (the aligned
crop, landmarks, box, frame size), say nothing of how the network judges the face, and are not the standard's own
measures: those need a segmentation of the face and 98 landmarks.
"""

from __future__ import annotations

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from facegate.detectors.align import ARCFACE_TEMPLATE, CROP_SIZE
from facegate.detectors.pose import pose
from facegate.pipeline.records import Box, Detection, Floats, Image

EYES_PX = float(ARCFACE_TEMPLATE[1, 0] - ARCFACE_TEMPLATE[0, 0])
"""Between the eyes of an aligned crop: fewer pixels in the frame have to be made up."""
SHARP, BLURRED = 4.7, 1.5
"""``log(1 + variance of the Laplacian)`` of the inner face: the median of 200 photographs of LFW, and what is left
of it after a blur of three pixels."""
DARKEST, DARK, BRIGHT, BRIGHTEST = 0.04, 0.30, 0.70, 0.97
"""Mean lightness: 98 of 100 photographs of LFW lie between the middle two; nothing is seen beyond the outer."""
FLAT = 0.12
"""Standard deviation of lightness that is enough: LFW's median is 0.13."""


class Components(msgspec.Struct, frozen=True):
    """0 (worst) to 100 each."""

    size: int
    """Pixels between the eyes, against those of the crop."""
    sharpness: int
    brightness: int
    """Too dark or too bright."""
    contrast: int
    evenness: int
    """Of light from left and right."""
    yaw: int
    """Turned aside."""
    pitch: int
    """Looking up or down."""
    roll: int
    """Head tilted."""
    whole: int
    """Share of the face that is inside the frame."""


def components(crop: Image, detection: Detection, frame_size: tuple[int, int]) -> Components:
    """Measure a face.

    Args:
        crop: the aligned ``(112, 112, 3)`` uint8 RGB crop.
        detection: of the face, in pixels of the frame.
        frame_size: width and height of that frame.
    """
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    light = grey[_FACE].astype(np.float64) / 255.0
    mean = float(light.mean())
    left, right = float(grey[_LEFT].mean()), float(grey[_RIGHT].mean())
    sharp = float(np.log1p(cv2.Laplacian(grey, cv2.CV_64F)[_FACE].var()))
    yaw, pitch, roll = pose(detection)
    brightness = min((mean - DARKEST) / (DARK - DARKEST), (BRIGHTEST - mean) / (BRIGHTEST - BRIGHT))
    return Components(
        size=_percent(_eyes_px(detection.landmarks) / EYES_PX),
        sharpness=_percent((sharp - BLURRED) / (SHARP - BLURRED)),
        brightness=_percent(brightness),
        contrast=_percent(float(light.std()) / FLAT),
        evenness=_percent(1.0 - abs(left - right) / max(left + right, 1.0) * 2.0),
        yaw=_facing(yaw),
        pitch=_facing(pitch),
        roll=_facing(roll),
        whole=_percent(_inside(detection.box, frame_size)),
    )


def _eyes_px(landmarks: Floats) -> float:
    # A face that is turned aside has its eyes closer together: eyes to mouth tells the size then.
    eyes = float(np.hypot(*(landmarks[1] - landmarks[0])))
    down = float(np.hypot(*((landmarks[3] + landmarks[4]) / 2 - (landmarks[0] + landmarks[1]) / 2)))
    return max(eyes, down * EYES_PX / _DOWN_PX)


def _facing(degrees: float) -> int:
    """Cosine squared, as in the standard: 100 from the front, 50 at 45 degrees."""
    return _percent(float(np.cos(np.radians(min(abs(degrees), 90.0)))) ** 2)


def _inside(box: Box, frame_size: tuple[int, int]) -> float:
    x1, y1, x2, y2 = box
    area = max(x2 - x1, 1e-6) * max(y2 - y1, 1e-6)
    width = max(0.0, min(x2, frame_size[0]) - max(x1, 0.0))
    height = max(0.0, min(y2, frame_size[1]) - max(y1, 0.0))
    return width * height / area


def _percent(value: float) -> int:
    return round(100.0 * min(1.0, max(0.0, value)))


def _regions() -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """The inner face of an aligned crop, and its left and right half."""
    y, x = np.mgrid[0:CROP_SIZE, 0:CROP_SIZE]
    middle = ARCFACE_TEMPLATE.mean(0)
    face = ((x - middle[0]) / 32.0) ** 2 + ((y - middle[1]) / 40.0) ** 2 <= 1.0
    return face, face & (x < middle[0]), face & (x > middle[0])


_FACE, _LEFT, _RIGHT = _regions()
_DOWN_PX = float((ARCFACE_TEMPLATE[3:].mean(0) - ARCFACE_TEMPLATE[:2].mean(0))[1])
