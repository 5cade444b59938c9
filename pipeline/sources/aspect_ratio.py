"""Pictures with square pixels: what a stream says of their shape, or what the configuration says where it does not.

A recorder that stores 1920x1080 as 960x1080 to save bits ("1080N"), or D1 as 704x480, sends squeezed faces. A
detector still finds them, but landmarks, crops and embeddings are off. The height is kept and the width follows.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import cv2
import numpy as np

from facegate.pipeline.records import Image, contiguous

RATIO_TOLERANCE = 0.01
"""A width that is off by less is left alone: 1088 coded lines, ratios such as 4095:4096."""
LEAST, MOST = Fraction(1, 4), Fraction(4)
"""A pixel's width over its height; what is beyond is a damaged header."""
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
"""Sizes that recorders store squeezed, by the shape in which they are meant to be seen."""


def square_width(width: int, height: int, pixel: Fraction | None, aspect: float | None) -> int:
    """The width with square pixels of a picture that keeps its height.

    Args:
        width: as coded.
        height: as coded.
        pixel: a pixel's width over its height, as the stream tells it; ``None`` or 0 where it does not.
        aspect: width over height as it is meant to be seen, from the configuration; it outranks the stream.
    """
    wanted = float(width)
    if aspect is not None:
        wanted = height * aspect
    elif pixel and LEAST <= pixel <= MOST:
        wanted = float(width * pixel)
    return width if abs(wanted / width - 1) < RATIO_TOLERANCE else min(round(wanted), MAX_PX)


def to_rgb(picture: Any, pixel: Fraction | None, aspect: float | None) -> Image:
    """PyAV's picture as RGB with square pixels, upright by its display matrix."""
    width = square_width(picture.width, picture.height, pixel, aspect)
    if width != picture.width:
        picture = picture.reformat(width=width, height=picture.height, format="rgb24")
    image = contiguous(picture.to_ndarray(format="rgb24"))
    turns = round((getattr(picture, "rotation", 0) or 0) / 90) % 4
    return contiguous(np.rot90(image, turns)) if turns else image


def with_aspect(image: Image, aspect: float | None) -> Image:
    """A picture that tells nothing of its shape, as the configuration says it is."""
    height, width = image.shape[:2]
    wanted = square_width(width, height, None, aspect)
    if wanted == width:
        return image
    return contiguous(cv2.resize(image, (wanted, height), interpolation=cv2.INTER_LINEAR))


def aspect_ratio_advice(width: int, height: int, pixel: Fraction | None) -> str | None:
    """The ``aspect`` to set for a coded size that recorders squeeze, where the stream tells no other shape."""
    if pixel not in (None, 0, 1):
        return None
    return next((aspect for aspect, sizes in ANAMORPHIC_SIZES.items() if (width, height) in sizes), None)
