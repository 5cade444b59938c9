"""Plans where the next frame of a camera is searched for faces.

A part of the picture is searched when it has changed since it was last searched; where something happened lately it
is searched again now and then, and everything else a part at a time. Small faces are searched at the finest scale,
at which ``min_face_px`` is the smallest face the detector finds; larger ones in the shrunk picture, a level per
factor of three. The pixels per frame are bounded: what has waited longest comes first, larger faces before smaller
ones, and what had to wait is counted.

Pure, with time as an argument: the same pictures and faces give the same windows.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from facegate.pipeline.detection.change_map import Cells, ChangeMap, grid
from facegate.pipeline.detection.windows import MAX_SIDE, Window, around, cover
from facegate.pipeline.images import shrink_to
from facegate.pipeline.records import Box, Image

SMALL_SIDE = 640
"""Longer side of the shrunk picture in which changes are looked for, and faces of coarse levels."""
COARSEST_SIDE = 216
"""Longer side of the picture in which the largest faces are searched."""
COARSER_FIRST = 2.0
"""A window of a coarser level, for larger faces, counts as if it had waited longer by this factor."""
LEVEL_FACTOR = 3.0
"""Greatest factor between the scales of two levels."""
MARGIN_FACES = 1.5
"""Margin of a window around what changed, in widths of the smallest face of its level."""
BUDGET_PX_PER_S = 5_000_000
MIN_BUDGET_PX, BEGIN_BUDGET_PX, MAX_BUDGET_PX = 250_000, 1_000_000, 2_500_000
"""Pixels searched per frame, but for the last window: by the time since the last frame, within the first and the
last bound; the second is that of a scene's first frame. A 4K picture is searched as a whole in less than three
seconds."""
ACTIVE_S, ACTIVE_INTERVAL_S, ACTIVE_GROWTH = 15.0, 2.0, 0.5
"""Where something changed in the last ``ACTIVE_S`` is searched every ``ACTIVE_INTERVAL_S``, and less often the
longer ago that was: in steps of this share of the time since."""
HAIR_SIDE, BODY_SIDE, BODY_BELOW = 0.3, 1.5, 6.0
"""What a known person covers, in widths of the face to each side: beside the face and below it; and how far below,
in heights."""
RESTLESS_INTERVAL_S = 3.0
"""Bodies of known faces and places that always move, such as trees, are searched this often."""
PAUSE_S, MAX_PAUSE_S, QUIET_S = 0.1, 1.6, 2.2
"""An area that changes again and again and shows no face, such as trees and rain, waits between two searches: at
first ``PAUSE_S``, about twice as long each time, at most ``MAX_PAUSE_S``; no longer once nothing was searched in it
for ``QUIET_S``."""
ACTIVE_PAUSES = 2.0
"""Such an area is searched again later by this many of its pauses while nothing changes."""
AREA = 8
"""Side of such an area in cells."""
DENSE = 0.25
"""Share of the cells in a face of a level's smallest size that have changed at least if a face is there."""
SCAN_PX_PER_S = 50_000
"""Pixels searched per second where nothing happens."""
MIN_SCAN_S = 6.0
"""Seconds for a scan of the picture at one scale, at least."""
MAX_GAP_S = 2.0
"""Longest time between two frames that counts for the budgets, seconds."""
MAX_LOST, LOST_S = 8, 3.0
"""Lost faces that are searched in the frame that lost them; the places of all are searched for ``LOST_S`` after."""
LOST_REACH = 1.0
"""A lost face is searched within this many of its widths around the expected place."""
COMFORTABLE = 2.0
"""A lost face is searched at a scale at which it has this many times the smallest width."""


class SearchCounts(msgspec.Struct):
    """What was searched and what had to wait, in pixels as the detector sees them."""

    searched_px: int = 0
    deferred_px: int = 0
    """Windows that were due and exceeded the budget of their frame."""
    picture_px: int = 0
    """Pixels of the processed frames at the finest scale."""


class _Level:
    """One scale, and when each cell was last searched at it."""

    def __init__(self, scale: float, shape: tuple[int, int]) -> None:
        self.scale = scale
        self.searched_s: NDArray[np.float64] = np.full(shape, -np.inf)
        areas = tuple(-(-side // AREA) for side in shape)
        self._tried_s: NDArray[np.float64] = np.full(areas, -np.inf)
        """When each area was last searched because it had changed."""
        self._pause_s: NDArray[np.float64] = np.zeros(areas)
        """How long it waits after that."""

    def mark(self, cells: Cells, changed: Cells, pts_s: float) -> None:
        """Note that cells were searched, some of them because they had changed."""
        self.searched_s[cells] = pts_s
        tried = _areas(cells & changed)
        pause_s = np.minimum(MAX_PAUSE_S, 2 * self._pause_s + PAUSE_S)
        self._pause_s = np.where(tried, np.where(pts_s - self._tried_s > QUIET_S, 0.0, pause_s), self._pause_s)
        self._tried_s[tried] = pts_s

    def see_face(self, cells: Cells) -> None:
        """Let no area of these cells wait: known faces are there."""
        self._pause_s[_areas(cells)] = 0.0

    def waits(self, pts_s: float) -> tuple[Cells, NDArray[np.float64]]:
        """Return which cells have to wait although they changed, and how long each waits after a search."""
        rows, columns = self.searched_s.shape
        waits = (pts_s - self._tried_s < self._pause_s).repeat(AREA, 0).repeat(AREA, 1)[:rows, :columns]
        return waits, self._pause_s.repeat(AREA, 0).repeat(AREA, 1)[:rows, :columns]


class SearchPlan:
    """Plans the windows of one camera: call ``plan`` for every processed frame, and search what it returns."""

    def __init__(self, *, smallest_px: float, min_face_px: float, max_side: int | None = None) -> None:
        """Configure.

        Args:
            smallest_px: width of the smallest face that the detector finds, in pixels of what it sees.
            min_face_px: width of the smallest face that is wanted, in pixels of the picture.
            max_side: longer side to which the picture is shrunk at most for the finest search.
        """
        self._smallest_px = smallest_px
        self._finest = min(1.0, smallest_px / min_face_px)
        self._max_side = max_side
        self._changes = ChangeMap()
        self._levels: list[_Level] = []
        self._shape: tuple[int, ...] = ()
        self._active_s: NDArray[np.float64] = np.empty((0, 0))
        """When each cell changed last."""
        self._lost_s: NDArray[np.float64] = np.empty((0, 0))
        """When a known face was lost in each cell."""
        self._fresh: Cells = np.empty((0, 0), np.bool_)
        """Cells that differ from what was searched, as of the last search, without the bodies of known faces."""
        self._restless: Cells = np.empty((0, 0), np.bool_)
        """Cells that differ, but are a body or always in motion."""
        self._planned_s: float | None = None
        self._looked_s = -np.inf
        """When changes were looked for last."""
        self._backlog = False
        """Windows had to wait in the last frame."""
        self._debt = 0.0
        """Pixels by which the last frame exceeded its budget, negative."""
        self.small: Image | None = None
        """The current picture, shrunk; for cutting windows."""
        self.counts = SearchCounts()

    @property
    def is_complete(self) -> bool:
        """Every part of the picture has been searched at every scale."""
        return all(bool(np.isfinite(level.searched_s).all()) for level in self._levels)

    def plan(
        self,
        image: Image,
        pts_s: float,
        *,
        search: bool,
        known: Sequence[Box] = (),
        lost: Sequence[Box] = (),
        cut: bool = False,
        whole: bool = False,
    ) -> list[Window]:
        """Return the windows to search in this frame.

        Args:
            image: the part of the picture in which faces are detected.
            pts_s: media time.
            search: look for what changed; otherwise only what had to wait is searched.
            known: boxes of faces that were found in this frame already.
            lost: expected boxes of known faces that were not found.
            cut: a new scene starts here.
            whole: search all of the picture at every scale, without a budget.
        """
        passed_s = 0.0 if self._planned_s is None else min(MAX_GAP_S, pts_s - self._planned_s)
        self._planned_s = pts_s
        budget = min(MAX_BUDGET_PX, max(MIN_BUDGET_PX, BUDGET_PX_PER_S * passed_s))
        if cut or image.shape != self._shape or whole or passed_s < 0:
            self._begin(image.shape)
            cut, budget = True, np.inf if whole else BEGIN_BUDGET_PX
        self.counts.picture_px += round(image.shape[0] * image.shape[1] * self._levels[-1].scale ** 2)
        self.small = None
        if search:
            self._look_for_changes(image, pts_s, known, lost, cut=cut)
        elif self.is_complete and not self._backlog:
            return []
        windows = [] if cut else self._around_lost(lost, pts_s)
        budget += self._debt
        budget -= sum(window.cost_px for window in windows)
        windows += self._within(budget, pts_s, passed_s, search=search)
        self.counts.searched_px += sum(window.cost_px for window in windows)
        return windows

    def _begin(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        cells = grid(shape)
        self._levels = [_Level(scale, cells) for scale in self._scales(max(shape[:2]))]
        self._active_s, self._lost_s = np.full(cells, -np.inf), np.full(cells, -np.inf)
        self._fresh = self._restless = np.zeros(cells, np.bool_)
        self._changes = ChangeMap()

    def _scales(self, longer: int) -> list[float]:
        """Return the scales of the levels, the coarsest first."""
        finest = min(self._finest, 1.0 if self._max_side is None else self._max_side / longer)
        coarsest = min(finest, COARSEST_SIDE / longer)
        if finest <= 2 * coarsest:
            return [finest]
        steps = int(np.ceil(np.log(finest / coarsest) / np.log(LEVEL_FACTOR)))
        return [coarsest * (finest / coarsest) ** (step / steps) for step in range(steps + 1)]

    def _look_for_changes(
        self, image: Image, pts_s: float, known: Sequence[Box], lost: Sequence[Box], *, cut: bool
    ) -> None:
        self.small = shrink_to(image, SMALL_SIDE)[0]
        self._looked_s = pts_s
        changed = self._changes.step(self.small, cut=cut)
        covered = self._cells_in(known)
        behind = self._cells_in([part for box in known for part in _body(box)])
        self._fresh = changed & ~covered & ~behind
        self._restless = (changed | self._changes.restless) & ~covered
        if not cut:
            self._lost_s[self._cells_in(lost)] = pts_s
            self._fresh |= pts_s - self._lost_s <= LOST_S
            self._active_s[self._fresh] = pts_s
        for level in self._levels:
            level.searched_s[covered] = pts_s
            level.see_face(covered)
        self._changes.accept(covered)

    def _within(self, budget: float, pts_s: float, passed_s: float, *, search: bool) -> list[Window]:
        """Return windows of a cost: what is due, by its time of waiting, then a part of the rest."""
        waiting: list[tuple[float, int, _Level, Window]] = []
        for number, level in enumerate(self._levels):
            weight = COARSER_FIRST ** (len(self._levels) - 1 - number)
            for window in cover(self._due(level, pts_s), self._shape, level.scale, self._margin_px):
                longest_s = pts_s - float(level.searched_s[self._cells(window)].min())
                waiting.append((-longest_s * weight, number, level, window))
        taken: list[tuple[_Level, Window]] = []
        for _, _, level, window in sorted(waiting, key=lambda item: item[:2]):
            if budget > 0:  # the last one may exceed it, at the cost of the next frame
                budget -= window.cost_px
                taken.append((level, window))
            else:
                self.counts.deferred_px += window.cost_px
        for level, window in taken:
            self._mark(level, window, pts_s)
        if search and len(taken) == len(waiting):
            for level in self._levels:
                scanned = self._scan(level, pts_s, budget, passed_s)
                taken += [(level, window) for window in scanned]
                budget -= sum(window.cost_px for window in scanned)
        self._debt = min(0.0, budget)
        self._backlog = len(taken) < len(waiting)
        return [window for _, window in taken]

    def _due(self, level: _Level, pts_s: float) -> Cells:
        """Return the cells that are due at one level."""
        due = ~np.isfinite(level.searched_s)
        waiting = pts_s - level.searched_s
        active = pts_s - self._active_s
        waits, pause_s = level.waits(pts_s)
        again_s = np.maximum(ACTIVE_INTERVAL_S, ACTIVE_GROWTH * active) + ACTIVE_PAUSES * pause_s
        changed = self._fresh & (level.searched_s < self._looked_s)
        changed &= ~waits | (pts_s - self._lost_s <= LOST_S)
        changed |= (active <= ACTIVE_S) & (waiting >= again_s)
        changed |= self._restless & (waiting >= RESTLESS_INTERVAL_S)
        return np.asarray(due | self._dense(changed, level))

    def _dense(self, cells: Cells, level: _Level) -> Cells:
        """Return the cells around which so much has changed that a face of the level may be there."""
        side = int(self._smallest_px / level.scale * cells.shape[1] / self._shape[1])
        if side < 2:
            return cells
        around = cv2.boxFilter(cells.astype(np.float32), -1, (side, side), borderType=cv2.BORDER_CONSTANT)
        return np.asarray(cells & (around >= DENSE))

    def _scan(self, level: _Level, pts_s: float, budget: float, passed_s: float) -> list[Window]:
        """Return the window of the rest that has waited longest, if its turn has come."""
        pixels = self._shape[0] * self._shape[1] * level.scale**2
        interval_s = max(MIN_SCAN_S, len(self._levels) * pixels / SCAN_PX_PER_S)
        oldest = np.unravel_index(int(np.argmin(level.searched_s)), level.searched_s.shape)
        if pts_s - level.searched_s[oldest] < interval_s or budget < MIN_BUDGET_PX / 4:
            return []
        rows, columns = level.searched_s.shape
        x, y = (oldest[1] + 0.5) * self._shape[1] / columns, (oldest[0] + 0.5) * self._shape[0] / rows
        side = min(MAX_SIDE, max(256.0, (SCAN_PX_PER_S * passed_s) ** 0.5)) / level.scale
        box = (x - side / 4, y - side / 4, x + 3 * side / 4, y + 3 * side / 4)
        window = around(box, self._shape, level.scale)
        self._mark(level, window, pts_s)
        return [window]

    def _around_lost(self, lost: Sequence[Box], pts_s: float) -> list[Window]:
        """Return windows around the first of the lost faces, at the scale that suits each."""
        windows = []
        for box in lost[:MAX_LOST]:
            width, height = box[2] - box[0], box[3] - box[1]
            fitting = [level for level in self._levels if width * level.scale >= COMFORTABLE * self._smallest_px]
            level = fitting[0] if fitting else self._levels[-1]
            reach = LOST_REACH * max(width, height)
            scale = min(level.scale, MAX_SIDE / (2 * reach + max(width, height)))
            box = (box[0] - reach, box[1] - reach, box[2] + reach, box[3] + reach)
            windows.append(around(box, self._shape, scale))
            if scale == level.scale:
                self._mark(level, windows[-1], pts_s)
        return windows

    @property
    def _margin_px(self) -> float:
        return MARGIN_FACES * self._smallest_px

    def _mark(self, level: _Level, window: Window, pts_s: float) -> None:
        """Note what a window has searched: all but its margin, where a face may be cut off."""
        margin = self._margin_px / level.scale * 0.9
        height, width = self._shape[:2]
        inner = (
            window.left + (margin if window.left else 0),
            window.top + (margin if window.top else 0),
            window.right - (margin if window.right < width else 0),
            window.bottom - (margin if window.bottom < height else 0),
        )
        cells = self._cells_in([inner])
        level.mark(cells, self._fresh, pts_s)
        if level is self._levels[-1]:
            self._changes.accept(cells)

    def _cells(self, window: Window) -> Cells:
        return self._cells_in([(window.left, window.top, window.right, window.bottom)])

    def _cells_in(self, boxes: Sequence[Box]) -> Cells:
        """Return the cells whose center is in one of the boxes."""
        rows, columns = self._levels[-1].searched_s.shape
        height, width = self._shape[:2]
        found = np.zeros((rows, columns), np.bool_)
        for x1, y1, x2, y2 in boxes:
            left, right = (int(np.clip(np.ceil(x * columns / width - 0.5), 0, columns)) for x in (x1, x2))
            top, bottom = (int(np.clip(np.ceil(y * rows / height - 0.5), 0, rows)) for y in (y1, y2))
            found[top:bottom, left:right] = True
        return found


def _areas(cells: Cells) -> Cells:
    """Return the areas that hold one of the cells."""
    rows, columns = (-(-side // AREA) for side in cells.shape)
    padded = np.zeros((rows * AREA, columns * AREA), np.bool_)
    padded[: cells.shape[0], : cells.shape[1]] = cells
    return np.asarray(padded.reshape(rows, AREA, columns, AREA).any((1, 3)))


def _body(box: Box) -> tuple[Box, Box]:
    """Return the boxes of a known face with its hair, and of the body below; people beside the face are neither."""
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    hair, side = HAIR_SIDE * width, BODY_SIDE * width
    return (x1 - hair, y1 - height / 2, x2 + hair, y2), (x1 - side, y2, x2 + side, y2 + BODY_BELOW * height)
