"""Upright pictures with square pixels: display matrices and aspect ratios of streams and of the configuration.

A recorder that stores 1920x1080 as 960x1080 to save bits ("1080N"), or D1 as 704x480, sends squeezed faces. A
detector still finds them, but landmarks, crops and embeddings are off. The height is kept and the width follows.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction

import av
import cv2
from av.sidedata.sidedata import SideData

from facegate.pipeline.records import Image, contiguous

RATIO_TOLERANCE = 0.01
"""Relative deviation of the width that is ignored: 1088 coded lines, ratios such as 4095:4096."""
MIN_PIXEL_RATIO, MAX_PIXEL_RATIO = Fraction(1, 4), Fraction(4)
"""Pixel aspect ratios beyond these come from damaged headers and are ignored."""
MAX_PX = 16_384
ANAMORPHIC_SIZES = {
    "16:9": (
        (960, 1080), (944, 1080), (1440, 1080), (1280, 1080), (640, 720), (960, 720), (1280, 1440), (1920, 2160),
    ),
    "4:3": (
        (704, 480), (720, 480), (704, 576), (720, 576), (352, 480), (352, 576), (704, 240), (704, 288), (720, 240),
        (720, 288), (480, 480), (480, 576),
    ),
}  # fmt: skip
"""Coded sizes that recorders store squeezed, by their display aspect ratio."""


def square_width(width: int, height: int, pixel: Fraction | None, aspect: float | None) -> int:
    """Return the width with square pixels; the height is kept.

    Args:
        width: as coded.
        height: as coded.
        pixel: pixel aspect ratio of the stream; ``None`` or 0 if unknown.
        aspect: display aspect ratio from the configuration; overrides the stream.
    """
    target = float(width)
    if aspect is not None:
        target = height * aspect
    elif pixel and MIN_PIXEL_RATIO <= pixel <= MAX_PIXEL_RATIO:
        target = float(width * pixel)
    return width if abs(target / width - 1) < RATIO_TOLERANCE else min(round(target), MAX_PX)


def to_rgb(picture: av.VideoFrame, pixel: Fraction | None, aspect: float | None) -> Image:
    """Convert PyAV's frame to RGB with square pixels, rotated and mirrored by its display matrix."""
    width = square_width(picture.width, picture.height, pixel, aspect)
    if width != picture.width:
        picture = picture.reformat(width=width, height=picture.height, format="rgb24")
    image = contiguous(picture.to_ndarray(format="rgb24"))
    matrix = picture.side_data.get("DISPLAYMATRIX")
    return displayed(image, struct.unpack("=9i", bytes(matrix))) if isinstance(matrix, SideData) else image


def displayed(image: Image, matrix: Sequence[int]) -> Image:
    """Apply a display matrix, to the nearest of the eight right-angled rotations and reflections.

    Args:
        image: ``(H, W, 3)``.
        matrix: nine values, row by row, as in libavutil/display.h: ``x' = a x + c y``, ``y' = b x + d y``.
    """
    a, b, _, c, d = matrix[:5]
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, a, d = image.transpose(1, 0, 2), c, b
    if a < 0:
        image = image[:, ::-1]
    if d < 0:
        image = image[::-1]
    return contiguous(image)


def with_aspect(image: Image, aspect: float | None) -> Image:
    """Scale a picture without aspect ratio to the configured display aspect ratio."""
    height, width = image.shape[:2]
    target = square_width(width, height, None, aspect)
    if target == width:
        return image
    return contiguous(cv2.resize(image, (target, height), interpolation=cv2.INTER_LINEAR))


def aspect_ratio_advice(width: int, height: int, pixel: Fraction | None) -> str | None:
    """Return the ``display_aspect_ratio`` to set for a size that recorders squeeze; ``None`` if none is needed."""
    if pixel not in (None, 0, 1):
        return None
    return next((aspect for aspect, sizes in ANAMORPHIC_SIZES.items() if (width, height) in sizes), None)
