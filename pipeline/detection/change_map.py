"""Which parts of a camera's picture have changed since they were last searched for faces.

The picture is compared in small cells with what each cell showed when it was searched. A cell's own restlessness
(noise, swaying trees, rain, compression that pumps at key frames) is learned and raises its threshold; a change of
brightness of the whole picture is taken off. Pure: the same pictures give the same cells.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facegate.pipeline.records import Image

Cells = NDArray[np.bool_]
"""``(rows, columns)``, one entry per cell."""

CELLS_ACROSS = 80
"""Cells along the picture's longer side."""
CELL_PX = 4
"""Side of a cell in the gray picture that is compared."""
MIN_CHANGE = 2.5
"""Mean change of a cell in gray levels (0..255) below which it is unchanged, whatever its noise."""
NOISE_FACTOR = 2.0
"""A change exceeds the cell's usual change from picture to picture by this factor."""
NOISE_RISE, NOISE_STEP, NOISE_FALL = 1.1, 0.1, 0.1
"""The learned noise grows by this factor and step a picture, and approaches lower values by this share."""
MAX_GAIN = 1.25
"""Change of the whole picture's brightness that is taken off; more than that is a change of everything."""


class ChangeMap:
    """Compares each picture of one camera with what was searched."""

    def __init__(self) -> None:
        self._gray: NDArray[np.float32] | None = None
        self._reference: NDArray[np.float32] | None = None
        self._noise: NDArray[np.float32] | None = None
        self.shape = (0, 0)
        """Rows and columns of cells; zero before the first picture."""

    def step(self, picture: Image, *, cut: bool = False) -> Cells:
        """Return the cells that differ from what was searched; all of them for a new scene.

        Args:
            picture: of any size, best shrunk by averaging, which takes off noise.
            cut: a new scene starts here.
        """
        rows, columns = grid(picture.shape)
        size = (columns * CELL_PX, rows * CELL_PX)
        scaled = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        gray = cv2.cvtColor(scaled, cv2.COLOR_RGB2GRAY).astype(np.float32)
        before, self._gray = self._gray, gray
        if before is None or self._reference is None or before.shape != gray.shape or cut:
            self.shape = (rows, columns)
            self._reference, self._noise = gray.copy(), None
            return np.ones(self.shape, np.bool_)
        self._learn_noise(self._means(cv2.absdiff(gray, before * _gain(gray, before))))
        assert self._noise is not None
        change = self._means(cv2.absdiff(gray, self._reference * _gain(gray, self._reference)))
        return np.asarray(change > MIN_CHANGE + NOISE_FACTOR * self._noise)

    def accept(self, cells: Cells) -> None:
        """Take the latest picture as what was searched in these cells."""
        if self._gray is None or self._reference is None:
            return
        searched = cells.repeat(CELL_PX, 0).repeat(CELL_PX, 1)
        np.copyto(self._reference, self._gray, where=searched)

    def _means(self, difference: Any) -> NDArray[np.float32]:
        means = cv2.resize(difference, self.shape[::-1], interpolation=cv2.INTER_AREA)
        return np.asarray(means, np.float32)

    def _learn_noise(self, change: NDArray[np.float32]) -> None:
        if self._noise is None:  # most of a picture is still
            self._noise = np.full_like(change, np.median(change))
            return
        risen = np.minimum(change, self._noise * NOISE_RISE + NOISE_STEP)
        fallen = self._noise + NOISE_FALL * (change - self._noise)
        self._noise = np.where(change > self._noise, risen, fallen).astype(np.float32)


def grid(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return rows and columns of cells of a picture."""
    longer = max(shape[:2])
    rows, columns = (max(1, round(CELLS_ACROSS * side / longer)) for side in shape[:2])
    return rows, columns


def _gain(now: NDArray[np.float32], before: NDArray[np.float32]) -> float:
    """Return the factor by which the picture became brighter; 1 if that cannot be the light alone."""
    gain = float(np.median(now) + 1) / float(np.median(before) + 1)
    return gain if 1 / MAX_GAIN <= gain <= MAX_GAIN else 1.0
