"""The reference faces: a dozen people who do not exist, each in several conditions.

They are generated (Stable Diffusion 3, CC0 1.0, from faker-js/assets-person-portrait), so that they may be shipped
and show nobody. Conditions are what cameras do: another crop, darkness, few pixels, compression, light from one
side.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import cv2
import numpy as np

from facegate.detectors.align import CROP_SIZE
from facegate.pipeline.images import decode_image
from facegate.pipeline.records import Image, contiguous

FOLDER = "facegate.detectors"
FILE = "reference_faces.webp"
"""The aligned crops side by side."""
CENTER = (CROP_SIZE / 2, 72.0)


@cache
def reference_faces() -> tuple[Image, ...]:
    """The aligned crops, ``(112, 112, 3)`` RGB each."""
    strip = decode_image((resources.files(FOLDER) / FILE).read_bytes(), FILE)
    return tuple(contiguous(strip[:, left : left + CROP_SIZE]) for left in range(0, strip.shape[1] - 1, CROP_SIZE))


def reference_crops() -> list[Image]:
    """The reference faces in all conditions, ordered by people."""
    return [crop for face in reference_faces() for crop in conditions(face)]


def conditions(face: Image) -> list[Image]:
    """A face as it is, and as cameras see it."""
    dark = 255 * (_moved(face, 7, 1.04, (2, -1)) / 255.0) ** 1.6
    coarse = cv2.resize(_moved(face, -5, 0.97, (-2, 1)), (40, 40), interpolation=cv2.INTER_AREA)
    bright = np.clip(_moved(face, 4, 0.95, (1, 2)).astype(np.int16) + 30, 0, 255)
    _, coded = cv2.imencode(".jpg", bright.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 35])
    aside = _moved(face, -3, 1.02, (-1, 0)) * np.linspace(1.25, 0.35, CROP_SIZE)[None, :, None]
    return [
        face,
        dark.round().astype(np.uint8),
        contiguous(cv2.resize(coarse, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_LINEAR)),
        contiguous(cv2.imdecode(coded, cv2.IMREAD_COLOR)),
        np.clip(aside, 0, 255).astype(np.uint8),
    ]


def _moved(face: Image, degrees: float, scale: float, shift: tuple[float, float]) -> Image:
    matrix = cv2.getRotationMatrix2D(CENTER, degrees, scale)
    matrix[:, 2] += shift
    size = (CROP_SIZE, CROP_SIZE)
    return contiguous(cv2.warpAffine(face, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
