"""The reference faces: a dozen people who do not exist, each in several conditions.

They are generated (Stable Diffusion 3, CC0 1.0, from faker-js/assets-person-portrait), so that they may be shipped
and show nobody. Conditions are what cameras do: another crop, warm and cold light, strong colors, few pixels,
compression.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import cv2
import numpy as np

from facegate.detectors.align import CROP_SIZE
from facegate.pipeline.images import decode_image, encode_jpeg
from facegate.pipeline.records import Image, contiguous

FOLDER = "facegate.detectors"
FILE = "reference_faces.webp"
"""The aligned crops side by side."""
COARSE = 56
"""Side in pixels of the crop of a face that was far away."""
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
    """A face as it is, and as cameras see it.

    Warm, cold and strong colors tell the order of channels: an exchanged one makes skin blue.
    """
    warm = _tinted(_moved(face, 4, 1.03, (1, -1)), (1.25, 1.0, 0.8))
    cold = _tinted(_moved(face, -4, 0.98, (-1, 1)), (0.8, 1.0, 1.25))
    gray = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)[:, :, None]
    strong = np.clip(gray + 2.0 * (face.astype(np.float32) - gray), 0, 255).astype(np.uint8)
    coarse = cv2.resize(_moved(strong, 3, 0.97, (1, 1)), (COARSE, COARSE), interpolation=cv2.INTER_AREA)
    coded = encode_jpeg(cold, 40)
    return [
        face,
        warm,
        contiguous(cv2.resize(coarse, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_LINEAR)),
        decode_image(coded, FILE),
    ]


def _tinted(face: Image, factors: tuple[float, float, float]) -> Image:
    tinted: Image = np.clip(face * np.array(factors), 0, 255).astype(np.uint8)
    return tinted


def _moved(face: Image, degrees: float, scale: float, shift: tuple[float, float]) -> Image:
    matrix = cv2.getRotationMatrix2D(CENTER, degrees, scale)
    matrix[:, 2] += shift
    size = (CROP_SIZE, CROP_SIZE)
    return contiguous(cv2.warpAffine(face, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
