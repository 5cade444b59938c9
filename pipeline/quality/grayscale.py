"""Recognizes pictures without color: cameras whose infrared filter is removed at night send gray ones."""

from __future__ import annotations

import numpy as np

from facegate.pipeline.records import Image

MAX_CHROMA = 4.0
"""Mean difference of the color channels of a gray picture, in gray levels; video coding adds up to two. Faces in
color have ten and more."""
MIN_LIGHTNESS = 8.0
"""Mean gray level below which a picture tells nothing about its color."""


def is_gray(image: Image) -> bool:
    """Return whether a picture ``(H, W, 3)`` has no color; a black one is not called gray."""
    sample = image[::4, ::4].astype(np.int16)
    green = sample[..., 1]
    if green.mean() < MIN_LIGHTNESS:
        return False
    chroma = np.abs(sample[..., 0] - green).mean() + np.abs(sample[..., 2] - green).mean()
    return bool(chroma < 2 * MAX_CHROMA)
