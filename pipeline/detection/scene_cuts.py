"""Detects hard cuts, so that a track never continues from one scene into the next.

Pure: the same frames give the same result. A fixed camera hardly ever cuts; broadcast and edited footage does, and
a face in the next scene may be where the last one was.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from facegate.pipeline.records import Image

THUMBNAIL = (32, 18)
MIN_DIFFERENCE = 15.0
"""Mean gray-level change of the thumbnail (0..255) below which nothing is a cut."""
MIN_RISE = 2.5
"""A cut also exceeds the previous change by this factor; a shaking camera changes as much at every frame.
On the research clips the three real cuts rise 3.5-fold or more, the largest other changes 1.2-fold."""


class CutDetector:
    """Compares each frame of one camera with the one before."""

    def __init__(self) -> None:
        self._previous: NDArray[np.int16] | None = None
        self._change: float | None = None

    def step(self, image: Image) -> bool:
        """Return whether ``image`` starts a new scene."""
        # Nearest-neighbor to a modest size first: area averaging a full 4K frame would cost more than detection.
        small = cv2.resize(image, (THUMBNAIL[0] * 4, THUMBNAIL[1] * 4), interpolation=cv2.INTER_NEAREST)
        small = cv2.resize(small, THUMBNAIL, interpolation=cv2.INTER_AREA)
        gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.int16)
        previous, self._previous = self._previous, gray
        if previous is None:
            return False
        change, before = float(np.abs(gray - previous).mean()), self._change
        self._change = change
        return before is not None and change > MIN_DIFFERENCE and change > MIN_RISE * before
