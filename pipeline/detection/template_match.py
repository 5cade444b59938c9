"""Finds a known face near its expected box by template matching (normalized cross-correlation)."""

from __future__ import annotations

from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from facegate.pipeline.records import Box, Image

PATCH_SIDE = 16
"""Side of a face patch in pixels when it is matched."""
OVERSAMPLING = 4
"""Subsampling before area averaging keeps this many times the pixels per side."""
SEARCH_RADIUS = 1.5
"""Search distance from the expected box, in sides of the face."""
DISTANCE_PENALTY = 0.1
"""Correlation subtracted per side of the face of distance from the expected box."""
MIN_CORRELATION = 0.5
"""Minimum correlation of a match."""


class FaceTemplatePatch(msgspec.Struct, frozen=True, eq=False):
    """A small gray picture of a face, to match against the next frame."""

    patch: NDArray[np.uint8]
    """``(h, w)``, at most ``PATCH_SIDE`` each."""
    scale: float
    """Pixels of the patch per pixel of the frame."""


def make_patch(image: Image, box: Box) -> FaceTemplatePatch | None:
    """Return the template of the face in ``box``; ``None`` if hardly any of it is in the picture."""
    scale = PATCH_SIDE / max(box[2] - box[0], box[3] - box[1], 1.0)
    patch, _ = _gray_patch(image, box, scale)
    return (
        None if patch is None or min(patch.shape) < PATCH_SIDE // 2 else FaceTemplatePatch(patch=patch, scale=scale)
    )


def match_template(image: Image, known: FaceTemplatePatch, expected: Box) -> Box:
    """Return ``expected``, moved to the best match of the template; unmoved without one."""
    reach = SEARCH_RADIUS * PATCH_SIDE / known.scale
    x1, y1, x2, y2 = expected
    around, origin = _gray_patch(image, (x1 - reach, y1 - reach, x2 + reach, y2 + reach), known.scale)
    height, width = known.patch.shape
    if around is None or around.shape[0] < height or around.shape[1] < width:
        return expected
    correlation: NDArray[Any] = cv2.matchTemplate(around, known.patch, cv2.TM_CCOEFF_NORMED)
    rows, columns = np.ogrid[: correlation.shape[0], : correlation.shape[1]]
    left = (x1 + x2) / 2 - width / known.scale / 2 - origin[0]
    top = (y1 + y2) / 2 - height / known.scale / 2 - origin[1]
    dx, dy = columns / known.scale - left, rows / known.scale - top
    best = np.unravel_index(
        np.argmax(correlation - DISTANCE_PENALTY * np.hypot(dx, dy) * known.scale / PATCH_SIDE), correlation.shape
    )
    if not correlation[best] >= MIN_CORRELATION:  # a uniform patch has no correlation, or NaN
        return expected
    x, y = float(dx[0, best[1]]), float(dy[best[0], 0])
    return (x1 + x, y1 + y, x2 + x, y2 + y)


def _gray_patch(image: Image, box: Box, scale: float) -> tuple[NDArray[np.uint8] | None, tuple[int, int]]:
    """Return the visible part of ``box``, gray and scaled, and its upper left corner in the picture."""
    left, top = max(0, round(box[0])), max(0, round(box[1]))
    right, bottom = min(image.shape[1], round(box[2])), min(image.shape[0], round(box[3]))
    size = round((right - left) * scale), round((bottom - top) * scale)
    if min(size) < 1:
        return None, (left, top)
    # Averaging all pixels of a face of a 4K picture would cost more than detection.
    step = max(1, int(1 / (OVERSAMPLING * scale)))
    part = cv2.cvtColor(np.ascontiguousarray(image[top:bottom:step, left:right:step]), cv2.COLOR_RGB2GRAY)
    # Averaging is fast by a factor of two only.
    twice = cv2.resize(part, (2 * size[0], 2 * size[1]), interpolation=cv2.INTER_LINEAR)
    gray: NDArray[Any] = cv2.resize(twice, size, interpolation=cv2.INTER_AREA)
    return gray, (left, top)
