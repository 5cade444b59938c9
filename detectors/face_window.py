"""Detects a face in a window around its expected box, with any detector."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from facegate.detectors.base import make_detection, same_face
from facegate.pipeline.images import shrink
from facegate.pipeline.records import Box, Detection, Image, contiguous

WINDOW_WIDTHS = 2.5
"""Side of the window in widths of the face."""
SIDE = 160
"""Side in pixels to which the window is scaled: the face then has a good size for detectors."""


def follow(
    images: Sequence[Image],
    expected: Sequence[Sequence[Box]],
    detect: Callable[[Image], list[Detection]],
) -> list[list[Detection | None]]:
    """See :class:`facegate.detectors.base.Detector`; ``detect`` takes one square picture of ``SIDE`` pixels."""
    return [[near(image, box, detect) for box in boxes] for image, boxes in zip(images, expected, strict=True)]


def near(image: Image, box: Box, detect: Callable[[Image], list[Detection]]) -> Detection | None:
    """Return the face near one expected box, or ``None``."""
    reach = WINDOW_WIDTHS * max(box[2] - box[0], box[3] - box[1]) / 2
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    left, top = max(0, int(x - reach)), max(0, int(y - reach))
    right, bottom = min(image.shape[1], int(x + reach) + 1), min(image.shape[0], int(y + reach) + 1)
    if right - left < 2 or bottom - top < 2:
        return None
    part = contiguous(image[top:bottom, left:right])
    scale = SIDE / max(part.shape[:2])
    size = max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale))
    square = np.full((SIDE, SIDE, 3), 127, np.uint8)
    square[: size[1], : size[0]] = cv2.resize(part, size) if scale > 1 else shrink(part, size)
    for face in detect(square):
        x1, y1, x2, y2 = (value / scale for value in face.box)
        found = (x1 + left, y1 + top, x2 + left, y2 + top)
        if same_face(found, box):
            points = face.landmarks / np.float32(scale) + np.array([left, top], np.float32)
            return make_detection(found, face.confidence, points, 1.0, image.shape)
    return None
