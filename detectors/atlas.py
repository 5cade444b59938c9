"""Packs the levels of many image pyramids into few pictures, for a fully convolutional network without padding.

OpenVINO prepares every new size of input, and every call has its own cost: one picture that holds all levels of all
windows is several times as fast as a call for each. A position counts only if its receptive field lies in one tile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import msgspec
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from facegate.pipeline.records import Floats, Image

P_SIDE = 12
"""Side of the network's receptive field in pixels."""
SIDE_STEP = 64
"""Sides of an atlas are multiples of this: few sizes need preparing."""
MAX_WIDTH, MAX_HEIGHT = 512, 1024
"""Wider only for a tile that is wider."""
FILL = 127
"""Between tiles: about zero for the network."""


class Tile(msgspec.Struct, frozen=True, eq=False):
    """One level of one image's pyramid."""

    owner: int
    """Index of the image."""
    picture: Image
    scale_x: float
    """Pixels of the level per pixel of the image."""
    scale_y: float


class Atlas:
    """One picture with several tiles."""

    def __init__(self, tiles: Sequence[tuple[Tile, int, int]], width: int, height: int) -> None:
        """Paste tiles, given with their left and upper edge (both even: the network's stride is two)."""
        self.picture: Image = np.full((height, width, 3), FILL, np.uint8)
        pictures = [_even(tile.picture) for tile, _, _ in tiles]
        self._edges = np.array(
            [
                (x, y, x + picture.shape[1], y + picture.shape[0])
                for picture, (_, x, y) in zip(pictures, tiles, strict=True)
            ],
            np.int64,
        )
        self.owners = np.array([tile.owner for tile, _, _ in tiles], np.int64)
        self.corners: Floats = self._edges[:, [0, 1, 0, 1]].astype(np.float32)
        self.scales = np.array([[tile.scale_x, tile.scale_y] * 2 for tile, _, _ in tiles], np.float32)
        for picture, (x, y, right, bottom) in zip(pictures, self._edges.tolist(), strict=True):
            self.picture[y:bottom, x:right] = picture

    def tile_at(self, x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the index of the tile that contains the receptive field at each position; -1 for none."""
        left, top, right, bottom = self._edges.T
        inside = (
            (x[:, None] >= left)
            & (x[:, None] + P_SIDE <= right)
            & (y[:, None] >= top)
            & (y[:, None] + P_SIDE <= bottom)
        )
        return np.where(inside.any(1), inside.argmax(1), -1)


def pack(tiles: Sequence[Tile]) -> Iterator[Atlas]:
    """Place tiles where the picture grows least, the highest first."""
    if not tiles:
        return
    pixels = sum(tile.picture.shape[0] * tile.picture.shape[1] for tile in tiles)
    widest = max(tile.picture.shape[1] for tile in tiles)
    width = _rounded(max(widest, min(MAX_WIDTH, int(pixels**0.5))))
    placed: list[tuple[Tile, int, int]] = []
    skyline = np.zeros(width // 2, np.int64)  # two columns of pixels each
    for tile in sorted(tiles, key=lambda tile: -tile.picture.shape[0]):
        rows, columns = (side + side % 2 for side in tile.picture.shape[:2])
        tops = sliding_window_view(skyline, columns // 2).max(1)
        place = int(tops.argmin())
        if placed and tops[place] + rows > MAX_HEIGHT:
            yield Atlas(placed, width, _rounded(int(skyline.max())))
            placed, place = [], 0
            skyline[:] = tops[:] = 0
        placed.append((tile, 2 * place, int(tops[place])))
        skyline[place : place + columns // 2] = tops[place] + rows
    yield Atlas(placed, width, _rounded(int(skyline.max())))


def _even(picture: Image) -> Image:
    """Repeat the last row and column of odd sides: the network pools pairs, and an incomplete last one counts."""
    rows, columns = picture.shape[0] % 2, picture.shape[1] % 2
    if not rows and not columns:
        return picture
    return np.asarray(cv2.copyMakeBorder(picture, 0, rows, 0, columns, cv2.BORDER_REPLICATE), np.uint8)


def _rounded(side: int) -> int:
    return -(-side // SIDE_STEP) * SIDE_STEP
