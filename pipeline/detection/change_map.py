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

Picture = NDArray[np.float32]

CELLS_ACROSS = 80
"""Cells along the picture's longer side."""
CELL_PX = 4
"""Side of a cell in the gray picture that is compared."""
MIN_CHANGE = 2.5
"""Mean change of a cell in gray levels (0..255) below which it is unchanged, whatever its noise."""
SETTLED_PICTURES = 6
"""Pictures without a change after which a cell is background."""
NOISE_FACTOR = 2.0
"""A change exceeds the cell's usual change from picture to picture by this factor."""
RESTLESS = 6.0
"""Mean change of a cell in gray levels that is more than the noise of a sensor."""
NOISE_RISE, NOISE_STEP, NOISE_FALL = 1.2, 0.2, 0.05
"""The learned noise grows by this factor and step a picture, and approaches lower values by this share."""
SPARSE = 5
"""Every n-th row and column tells the brightness."""
MAX_GAIN = 1.25
"""Change of the whole picture's brightness that is taken off; more than that is a change of everything."""


class ChangeMap:
    """Compares each picture of one camera with what was searched."""

    def __init__(self) -> None:
        self._gray: Picture | None = None
        self._reference: Picture | None = None
        """What each cell showed when it was searched."""
        self._background: Picture | None = None
        """What each cell showed when it had not changed for a while; searched, too."""
        self._unchanged: NDArray[np.int32] = np.empty((0, 0), np.int32)
        """Pictures since each cell changed."""
        self._noise: NDArray[np.float32] | None = None
        self.restless: Cells = np.empty((0, 0), np.bool_)
        """Cells that differ by more than any sensor's noise, though it may be usual for them."""
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
            self._reference, self._background, self._noise = gray.copy(), None, None
            self._unchanged = np.zeros(self.shape, np.int32)
            self.restless = np.zeros(self.shape, np.bool_)
            return np.ones(self.shape, np.bool_)
        self._learn_noise(self._means(cv2.absdiff(gray, before * _gain(gray, before))))
        change = self._change(gray, self._reference)
        changed = change > self._threshold
        self.restless = change > RESTLESS
        self._unchanged = np.where(changed, 0, self._unchanged + 1).astype(np.int32)
        if self._background is not None:
            changed &= self._change(gray, self._background) > self._threshold
        self._settle(gray)
        return changed

    @property
    def _threshold(self) -> NDArray[np.float32]:
        assert self._noise is not None
        return MIN_CHANGE + NOISE_FACTOR * self._noise

    def _change(self, gray: Picture, other: Picture) -> NDArray[np.float32]:
        return self._means(cv2.absdiff(gray, other * _gain(gray, other)))

    def _settle(self, gray: Picture) -> None:
        """Take cells that have not changed for a while as background, to which they may return unsearched."""
        settled = self._unchanged >= SETTLED_PICTURES
        if self._background is None:
            self._background = gray.copy()
        _copy(gray, self._background, settled)

    def accept(self, cells: Cells) -> None:
        """Take the latest picture as what was searched in these cells."""
        if self._gray is None or self._reference is None:
            return
        _copy(self._gray, self._reference, cells)

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


def _copy(source: Picture, target: Picture, cells: Cells) -> None:
    np.copyto(target, source, where=cells.repeat(CELL_PX, 0).repeat(CELL_PX, 1))


def _gain(now: Picture, before: Picture) -> float:
    """Return the factor by which the picture became brighter; 1 if that cannot be the light alone."""
    gain = float(np.median(now[::SPARSE, ::SPARSE]) + 1) / float(np.median(before[::SPARSE, ::SPARSE]) + 1)
    return gain if 1 / MAX_GAIN <= gain <= MAX_GAIN else 1.0
