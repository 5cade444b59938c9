"""Quality components of a single face, modeled on ISO/IEC 29794-5:2025.

Each is 0 to 100, higher is better, and falls with its own defect and as little as possible with the others: a dark
face is not less sharp, a small one not blurred. They use the aligned crop, the landmarks and the frame size only,
are independent of the quality score, and are not the standard's own measures, which need a segmentation of the face
and 98 landmarks.
"""

from __future__ import annotations

from functools import cache
from math import log, sqrt

import cv2
import msgspec
import numpy as np

from facegate.detectors.align import ARCFACE_TEMPLATE, CROP_SIZE
from facegate.detectors.pose import pose
from facegate.pipeline.records import Detection, Floats, Image

EYES_PX = float(ARCFACE_TEMPLATE[1, 0] - ARCFACE_TEMPLATE[0, 0])
"""Distance between the eyes of an aligned crop, pixels."""
SHARP, BLURRED = -3.6, -5.5
"""``FaceMeasurements.detail`` of most photographs of LFW, and of one blurred by a tenth of the eye distance."""
DARKEST, DARK, BRIGHT, BRIGHTEST = 0.04, 0.30, 0.70, 0.97
"""Mean lightness: 98 of 100 photographs of LFW lie between the middle two; nothing is visible beyond the outer."""
FLAT = 0.16
"""Sufficient standard deviation of lightness over its mean: nine of ten photographs of LFW have it."""
FACE_PX = (32.0, 40.0)
"""Half axes of the inner face in an aligned crop."""
AROUND = slice(26, CROP_SIZE), slice(18, 94)
"""Rows and columns of a crop that contain the inner face and the margin of the filters."""
MIN_SIDE = 24
"""Minimum side in pixels at which detail is measured."""
WHITE = 250
"""Gray levels above this count as white."""
NOISE = 4.0
"""Noise variance in squared gray levels."""


class FaceMeasurements(msgspec.Struct, frozen=True):
    """Measurements of a face, each in its own unit."""

    eyes_px: float
    """Distance between the eyes in pixels of the frame."""
    detail: float
    """Logarithm of the share of the face's contrast that is fine (one to three pixels of the frame)."""
    lightness: float
    """Mean of the inner face, 0..1."""
    contrast: float
    """Standard deviation of lightness, 0..1."""
    white: float
    """Share of the inner face that is white, 0..1."""
    sides: float
    """Difference in lightness between the left and the right half, over their mean."""
    yaw: float
    """Degrees, as of :func:`facegate.detectors.pose.pose`."""
    pitch: float
    roll: float
    inside: float
    """Share of the inner face that is in the frame, 0..1."""


class Components(msgspec.Struct, frozen=True):
    """Quality components, each 0 (worst) to 100."""

    size: int
    """Distance between the eyes, relative to the crop's."""
    sharpness: int
    brightness: int
    """Too dark or too bright."""
    contrast: int
    evenness: int
    """Evenness of the lighting from left and right."""
    yaw: int
    """Head turned left or right."""
    pitch: int
    """Head tilted up or down."""
    roll: int
    """Head tilted sideways."""
    whole: int
    """Share of the face that is inside the frame."""


def measure(crop: Image, detection: Detection, frame_size: tuple[int, int]) -> FaceMeasurements:
    """Measure a face.

    Args:
        crop: the aligned ``(112, 112, 3)`` uint8 RGB crop.
        detection: the face in pixels of the frame.
        frame_size: width and height of that frame.
    """
    values = cv2.cvtColor(crop[AROUND], cv2.COLOR_RGB2GRAY).astype(np.float32)
    mean, left, right = (_MEANS @ values.ravel()).tolist()
    spread = sqrt(max(float(_MEANS[0] @ np.square(values).ravel()) - mean**2, 0.0))
    middle, turn = _placed(detection.landmarks)
    scale = 1.0 / max(abs(turn), 1e-3)
    yaw, pitch, roll = pose(detection)
    return FaceMeasurements(
        eyes_px=EYES_PX / scale,
        detail=_detail(values, scale),
        lightness=mean / 255.0,
        contrast=spread / 255.0,
        white=float(_MEANS[0] @ (values > WHITE).ravel()),
        sides=2.0 * abs(left - right) / max(left + right, 1.0),
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        inside=_inside(middle, turn, frame_size),
    )


def components(seen: FaceMeasurements) -> Components:
    """Map measurements to components of 0 to 100."""
    light = seen.lightness
    brightness = min((light - DARKEST) / (DARK - DARKEST), (BRIGHTEST - light) / (BRIGHTEST - BRIGHT))
    return Components(
        size=_percent(seen.eyes_px / EYES_PX),
        sharpness=_percent((seen.detail - BLURRED) / (SHARP - BLURRED)),
        brightness=_percent(brightness),
        contrast=_percent(seen.contrast / max(light, 1 / 255) / FLAT),
        evenness=_percent(1.0 - seen.sides),
        yaw=_facing(seen.yaw),
        pitch=_facing(seen.pitch),
        roll=_facing(seen.roll),
        whole=_percent(seen.inside),
    )


def _detail(values: Floats, scale: float) -> float:
    # In the frame's own pixels: a small face has no fine detail in its crop, and is not blurred for that.
    side = min(CROP_SIZE, max(MIN_SIDE, round(CROP_SIZE / scale)))
    if side < CROP_SIZE:
        values = _shrunk(values, side)
    fine = cv2.subtract(cv2.boxFilter(values, -1, (3, 3)), cv2.boxFilter(values, -1, (7, 7)))
    face = _face(side)
    shares = [float(face @ np.square(part).ravel()) - float(face @ part.ravel()) ** 2 for part in (fine, values)]
    return log(max(shares[0], 0.0) / (max(shares[1], 0.0) + NOISE) + 1e-4)


def _shrunk(part: Floats, side: int) -> Floats:
    """Scale a part of a crop as if the crop had ``side`` rows."""
    size = (max(1, part.shape[1] * side // CROP_SIZE), max(1, part.shape[0] * side // CROP_SIZE))
    shrunk: Floats = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    return shrunk


@cache
def _face(side: int) -> Floats:
    """Weights of the inner face's pixels in a crop of ``side`` rows; they sum to one."""
    face = _regions()[0][AROUND]
    return _weights(face if side == CROP_SIZE else _shrunk(face, side))


def _facing(degrees: float) -> int:
    """Cosine squared, as in the standard: 100 from the front, 50 at 45 degrees."""
    return _percent(float(np.cos(np.radians(min(abs(degrees), 90.0)))) ** 2)


def _placed(landmarks: Floats) -> tuple[complex, complex]:
    """Center of the template in the frame, and the rotation and scale from the crop's pixels to the frame's.

    The least-squares similarity of :func:`facegate.detectors.align.similarity_transform` the other way round, in
    complex numbers: this runs for every face, and a matrix decomposition would be a quarter of the total cost.
    """
    points = [complex(float(x), float(y)) for x, y in landmarks]
    middle = sum(points) / len(points)
    turned = sum((point - middle) * place.conjugate() for point, place in zip(points, _TEMPLATE, strict=True))
    return middle, turned / _TEMPLATE_SIZE


def _inside(middle: complex, turn: complex, frame_size: tuple[int, int]) -> float:
    width, height = frame_size
    reach = FACE_PX[1] * abs(turn)
    if reach <= middle.real <= width - reach and reach <= middle.imag <= height - reach:
        return 1.0
    places = middle + turn * _PLACES
    x, y = places.real, places.imag
    return float(((x >= 0) & (y >= 0) & (x < width) & (y < height)).mean())


def _percent(value: float) -> int:
    return round(100.0 * min(1.0, max(0.0, value)))


def _regions() -> tuple[Floats, Floats, Floats]:
    """The inner face of an aligned crop, and its left and right half: 1 there, 0 elsewhere."""
    y, x = np.mgrid[0:CROP_SIZE, 0:CROP_SIZE]
    middle = ARCFACE_TEMPLATE.mean(0)
    face = ((x - middle[0]) / FACE_PX[0]) ** 2 + ((y - middle[1]) / FACE_PX[1]) ** 2 <= 1.0
    parts = (face, face & (x < middle[0]), face & (x > middle[0]))
    return parts[0].astype(np.float32), parts[1].astype(np.float32), parts[2].astype(np.float32)


def _weights(region: Floats) -> Floats:
    share: Floats = region.ravel() / region.sum()
    return share


_MEANS = np.stack([_weights(region[AROUND]) for region in _regions()])
"""Weights of the inner face and its halves: products with a crop's pixels are their means."""
_TEMPLATE = [complex(x, y) for x, y in (ARCFACE_TEMPLATE - ARCFACE_TEMPLATE.mean(0)).tolist()]
_TEMPLATE_SIZE = sum(abs(place) ** 2 for place in _TEMPLATE)
_PLACES = np.stack([*np.nonzero(_regions()[0])[::-1]], 1)[::23] @ (1, 1j) - complex(
    *ARCFACE_TEMPLATE.mean(0).tolist()
)
"""Points of the inner face relative to its center; every 23rd is enough."""
