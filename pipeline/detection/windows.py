"""Windows of a picture in which faces are searched, and the faces found in them.

Pure geometry. A window is a rectangle of the camera's picture and the scale at which the detector sees it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from facegate.detectors.base import same_face
from facegate.pipeline.detection.change_map import Cells
from facegate.pipeline.images import shrink
from facegate.pipeline.records import Box, Detection, Image, contiguous

MAX_SIDE = 640
"""Longest side of a window in pixels as the detector sees it."""
SIDE_STEP = 32
"""Windows have sides of multiples of this: detectors prepare for every new size."""
MIN_SIDE = 96
WINDOW_OVERHEAD_PX = 10_000
"""Pixels that cost as much as a further window; windows are merged where that is cheaper."""
MAX_COMPONENTS = 24
"""Parts of a picture that are covered one by one; more of them are joined."""
EDGE_PX = 2
"""A face within this of a window's edge is cut off there."""
SAME_IOU = 0.4
"""Overlap (IoU) above which two boxes are of one face."""
INSIDE = 0.7
"""Share of the smaller box inside the larger one above which both are of one face."""


class Window(msgspec.Struct, frozen=True):
    """Part of a picture and the scale (<= 1) at which it is searched; edges in pixels of the picture."""

    left: int
    top: int
    right: int
    bottom: int
    scale: float

    @property
    def cost_px(self) -> int:
        """Pixels that the detector sees."""
        return round((self.right - self.left) * (self.bottom - self.top) * self.scale**2)

    def inside(self, box: Box) -> Box:
        """Return a box of the picture in pixels of the window."""
        x1, y1, x2, y2 = box
        return (
            (x1 - self.left) * self.scale,
            (y1 - self.top) * self.scale,
            (x2 - self.left) * self.scale,
            (y2 - self.top) * self.scale,
        )

    def cut_from(self, image: Image, small: Image | None = None) -> Image:
        """Return the window's pixels at its scale.

        Args:
            image: the picture.
            small: the whole picture shrunk, used for windows of no greater scale.
        """
        size = (
            max(1, round((self.right - self.left) * self.scale)),
            max(1, round((self.bottom - self.top) * self.scale)),
        )
        ratio = 1.0 if small is None else small.shape[1] / image.shape[1]
        if small is not None and self.scale <= ratio < 1:
            image = small
        else:
            ratio = 1.0
        left, top = round(self.left * ratio), round(self.top * ratio)
        part = image[
            top : max(top + 1, round(self.bottom * ratio)), left : max(left + 1, round(self.right * ratio))
        ]
        return contiguous(part) if part.shape[1::-1] == size else shrink(contiguous(part), size)

    def placed(self, faces: Sequence[Detection], image: Image) -> list[Detection]:
        """Return the faces in pixels of the picture, without those that the window's edge cuts off."""
        height, width = image.shape[:2]
        margin = EDGE_PX / self.scale
        found = []
        shift = np.array([self.left, self.top], np.float32)
        for face in faces:
            x1, y1, x2, y2 = (value / self.scale for value in face.box)
            box = (x1 + self.left, y1 + self.top, x2 + self.left, y2 + self.top)
            if (
                (self.left > 0 and box[0] < self.left + margin)
                or (self.top > 0 and box[1] < self.top + margin)
                or (self.right < width and box[2] > self.right - margin)
                or (self.bottom < height and box[3] > self.bottom - margin)
            ):
                continue
            points = face.landmarks / np.float32(self.scale) + shift
            clipped = (max(0.0, box[0]), max(0.0, box[1]), min(float(width), box[2]), min(float(height), box[3]))
            found.append(Detection(box=clipped, confidence=face.confidence, landmarks=points))
        return found


def cover(cells: Cells, shape: tuple[int, ...], scale: float, margin_px: float) -> list[Window]:
    """Return windows that contain the given cells and a margin around each.

    Args:
        cells: which parts of the picture.
        shape: height and width of the picture.
        scale: at which the windows are searched.
        margin_px: in pixels as the detector sees them.
    """
    if not cells.any():
        return []
    height, width = shape[:2]
    rows, columns = cells.shape
    cell_w, cell_h = width / columns, height / rows
    margin = margin_px / scale
    reach = max(1, round(margin / min(cell_w, cell_h)))
    count, labels, stats = _components(cells, reach)
    while count > MAX_COMPONENTS and reach < max(rows, columns):
        reach *= 2
        count, labels, stats = _components(cells, reach)
    found: list[Window] = []
    for label in range(1, count):
        x, y, w, h = (int(value) for value in stats[label, :4])
        part = cells[y : y + h, x : x + w] & (labels[y : y + h, x : x + w] == label)
        across, down = (MAX_SIDE / scale - 2 * margin) / cell_w, (MAX_SIDE / scale - 2 * margin) / cell_h
        for top, bottom in _split(h, down):
            for left, right in _split(w, across):
                tile = part[top:bottom, left:right]
                if not tile.any():
                    continue
                ys, xs = np.flatnonzero(tile.any(1)), np.flatnonzero(tile.any(0))
                box = (
                    (x + left + xs[0]) * cell_w - margin,
                    (y + top + ys[0]) * cell_h - margin,
                    (x + left + xs[-1] + 1) * cell_w + margin,
                    (y + top + ys[-1] + 1) * cell_h + margin,
                )
                found.append(around(box, shape, scale))
    return merged(found, shape)


def _components(cells: Cells, reach: int) -> tuple[int, NDArray[np.int32], NDArray[np.int32]]:
    """Return the connected parts of cells, joined over gaps of ``reach`` cells: count, labels, edges."""
    joined = cv2.dilate(cells.astype(np.uint8), np.ones((reach + 1, reach + 1), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    return count, labels, stats


def around(box: Box, shape: tuple[int, ...], scale: float) -> Window:
    """Return a window that contains the box, of a size that detectors like, inside the picture."""
    height, width = shape[:2]
    left, right = _edges(box[0], box[2], width, scale)
    top, bottom = _edges(box[1], box[3], height, scale)
    return Window(left, top, right, bottom, scale)


def merged(windows: Sequence[Window], shape: tuple[int, ...]) -> list[Window]:
    """Merge windows of one scale where one window costs less than two."""
    found = list(windows)
    again = True
    while again:
        again = False
        for i, j in combinations(range(len(found)), 2):
            a, b = found[i], found[j]
            box = (min(a.left, b.left), min(a.top, b.top), max(a.right, b.right), max(a.bottom, b.bottom))
            both = around(box, shape, a.scale)
            longest = max(both.right - both.left, both.bottom - both.top) * both.scale
            if longest <= MAX_SIDE + SIDE_STEP and both.cost_px <= a.cost_px + b.cost_px + WINDOW_OVERHEAD_PX:
                found[j] = both
                del found[i]
                again = True
                break
    return found


def distinct(first: Sequence[Detection], further: Sequence[Detection]) -> list[Detection]:
    """Return ``first`` and those of ``further`` that show other faces, the most confident of each face."""
    kept = list(first)
    for face in sorted(further, key=lambda found: -found.confidence):
        if not any(same_face(face.box, other.box, SAME_IOU) or _inside(face.box, other.box) for other in kept):
            kept.append(face)
    return kept


def _inside(a: Box, b: Box) -> bool:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return False
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return width * height >= INSIDE * smaller


def _split(count: int, longest: float) -> Iterator[tuple[int, int]]:
    """Split ``count`` cells evenly into parts of at most ``longest``."""
    parts = max(1, int(np.ceil(count / max(longest, 1.0))))
    edges = [round(count * part / parts) for part in range(parts + 1)]
    yield from ((a, b) for a, b in pairwise(edges) if b > a)


def _edges(low: float, high: float, limit: int, scale: float) -> tuple[int, int]:
    """Grow an interval to a multiple of ``SIDE_STEP`` as the detector sees it, and shift it into the picture."""
    side = max(MIN_SIDE, SIDE_STEP * int(np.ceil((high - low) * scale / SIDE_STEP - 1e-6)))
    side = min(limit, int(np.ceil(side / scale)))
    begin = min(max(0, round((low + high - side) / 2)), limit - side)
    return begin, begin + side
