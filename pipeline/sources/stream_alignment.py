"""The time offset between two streams of one camera, measured by their content. Pure logic.

A camera encodes its streams separately, and the large one often arrives later, by a tenth to half a second. Small
gray thumbnails of both streams are compared over a few seconds of motion: at the right offset, what moves in one
moves in the other.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

THUMBNAIL = (96, 54)
"""Width and height of the thumbnails, pixels."""
MAX_OFFSET_S = 0.6
"""Maximum offset that is looked for, seconds."""
STEP_S = 0.02
"""Resolution of the offset, seconds."""
WINDOW_S = 3.0
"""Seconds of both streams that are compared."""
MIN_SMALL = 8
"""Minimum number of sub-stream thumbnails in the window."""
MIN_CONTRAST = 0.35
"""Minimum share by which the best offset must be better than those farther than ``DISTINCT_S`` from it."""
DISTINCT_S = 0.2
MIN_MOTION = 1.0
"""Minimum mean change of the moving cells, in gray levels."""
VERIFY_INTERVAL_S = 60.0
"""Seconds after which a measured offset is measured again."""

Gray = NDArray[np.float32]


class StreamAlignment:
    """Measures the offset of one pair of streams: feed thumbnails of both while ``measuring``."""

    def __init__(self) -> None:
        self.offset_s: float | None = None
        """Time of a large picture minus time of the small picture of the same moment; ``None`` until measured."""
        self._small: deque[tuple[float, Gray]] = deque()
        self._large: deque[tuple[float, Gray]] = deque()
        self._measured_s: float | None = None

    def measuring(self, now: float) -> bool:
        """Return whether thumbnails are needed, seconds on the clock of the pictures."""
        return self._measured_s is None or now - self._measured_s >= VERIFY_INTERVAL_S

    def add_large(self, at_s: float, thumbnail: NDArray[np.uint8]) -> None:
        """Take a picture of the large stream."""
        _add(self._large, at_s, thumbnail)

    def add_small(self, at_s: float, thumbnail: NDArray[np.uint8]) -> None:
        """Take a picture of the small stream, and measure if there is enough motion."""
        _add(self._small, at_s, thumbnail)
        measured = offset(list(self._small), list(self._large))
        if measured is not None:
            self.offset_s, self._measured_s = measured, at_s
            self._small.clear()
            self._large.clear()


def _add(series: deque[tuple[float, Gray]], at_s: float, thumbnail: NDArray[np.uint8]) -> None:
    if series and at_s < series[-1][0]:
        series.clear()  # the clock was set back
    series.append((at_s, thumbnail.astype(np.float32)))
    while at_s - series[0][0] > WINDOW_S:
        series.popleft()


def offset(small: list[tuple[float, Gray]], large: list[tuple[float, Gray]]) -> float | None:
    """Return the time of large pictures minus that of small pictures of the same content.

    Args:
        small: times in seconds, ascending, and gray thumbnails ``(H, W)`` float32 of one size.
        large: the same of the other stream.

    Returns:
        Seconds, at most :data:`MAX_OFFSET_S` in size; ``None`` where too little moves to tell.
    """
    if len(small) < MIN_SMALL or len(large) < MIN_SMALL:
        return None
    times, pictures = np.array([at for at, _ in large]), np.stack([gray for _, gray in large])
    # Those at the edges could not be compared at every offset.
    inner = [(at, gray) for at, gray in small if times[0] + MAX_OFFSET_S <= at <= times[-1] - MAX_OFFSET_S]
    if len(inner) < MIN_SMALL // 2:
        return None
    moving = np.stack([gray for _, gray in small]).std(0)
    cells = moving > max(MIN_MOTION, float(np.quantile(moving, 0.8)))
    if not cells.any():
        return None
    # The two streams are sharpened and compressed differently: only what changes is compared.
    ours, theirs = _changes(np.stack([gray for _, gray in inner])[:, cells]), _changes(pictures[:, cells])
    apart = np.abs(ours[:, None, :] - theirs[None, :, :]).mean(2)
    offsets = np.arange(-MAX_OFFSET_S, MAX_OFFSET_S + STEP_S / 2, STEP_S)
    scores = np.array(
        [
            np.mean([np.interp(at + each, times, row) for (at, _), row in zip(inner, apart, strict=True)])
            for each in offsets
        ]
    )
    best = int(np.argmin(scores))
    others = scores[np.abs(offsets - offsets[best]) > DISTINCT_S]
    if scores[best] > (1.0 - MIN_CONTRAST) * float(others.min()):
        return None
    return float(offsets[best])


def _changes(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """Subtract each cell's mean over time."""
    changes: NDArray[np.float32] = cells - np.mean(cells, axis=0, keepdims=True)
    return changes
