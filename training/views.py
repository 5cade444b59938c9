"""Random views of the pool for teacher and student. A view depends on the seed and its sample number only.

Teacher and student see the same geometry, light and blend of faces. Only the student's view is degraded; its
targets are those of the clean view. A few views show no face.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import cv2
import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facegate.evaluation.cameras import CAMERA_KINDS
from facegate.evaluation.degrade import KINDS
from facegate.pipeline.records import Image, contiguous
from facegate.training.occlude import cover_one

BLEND, NO_FACE = -1, -2
"""Values of :attr:`Views.picture` for views that show no single picture."""
DEGRADATIONS = tuple((KINDS | CAMERA_KINDS).values())


class ViewSettings(msgspec.Struct, frozen=True):
    """How views are made."""

    degraded: float = 0.5
    """Share of student views with a degradation."""
    second: float = 0.25
    """Share of those with a second one on top."""
    covered: float = 0.12
    """Share of those with a cover (closed lids, glasses, a mask, a hand) in place of a degradation."""
    mixed: float = 0.3
    """Share of views that blend two faces."""
    no_face: float = 0.03
    """Share of views that show no face."""


class Views(msgspec.Struct, frozen=True, eq=False):
    """What teacher and student see."""

    clean: NDArray[np.uint8]
    """``(B, 112, 112, 3)``"""
    student: NDArray[np.uint8]
    picture: NDArray[np.int64]
    """``(B,)`` row of the pool that the view shows; -1 for a blend of two faces, -2 for no face."""


def make_batch(pool: NDArray[np.uint8], numbers: NDArray[np.int64], seed: int, settings: ViewSettings) -> Views:
    """Return the views of the given sample numbers."""
    clean = np.empty((len(numbers), 112, 112, 3), dtype=np.uint8)
    student = np.empty_like(clean)
    size = len(pool)
    picture = np.empty(len(numbers), np.int64)
    for row, number in enumerate(numbers):
        epoch, position = divmod(int(number), size)
        rng = np.random.default_rng((seed, int(number)))
        picture[row] = _shuffled(position, epoch, size, seed)
        crop = pool[picture[row]]
        if rng.uniform() < settings.no_face:
            picture[row] = NO_FACE
            clean[row] = student[row] = _photometric(_no_face(crop, rng), rng)
            continue
        view = _photometric(_geometric(crop, rng), rng)
        if rng.uniform() < settings.mixed:
            picture[row] = BLEND
            other = _photometric(_geometric(pool[rng.integers(size)], rng), rng)
            share = float(rng.uniform(0.3, 0.7))
            view = cv2.addWeighted(view, share, other, 1 - share, 0).astype(np.uint8)
        clean[row] = view
        if rng.uniform() < settings.degraded:
            view = cover_one(view, rng) if rng.uniform() < settings.covered else _degrade_any(view, rng)
            if rng.uniform() < settings.second:
                view = _degrade_any(view, rng)
        student[row] = view
    return Views(clean, student, picture)


def _degrade_any(crop: Image, rng: np.random.Generator) -> Image:
    """Apply one of all kinds of degradation at a random severity."""
    kind = DEGRADATIONS[int(rng.integers(len(DEGRADATIONS)))]
    return kind(crop, float(rng.uniform()), rng)


class _Batches(torch.utils.data.Dataset[tuple[Tensor, ...]]):
    """Batches of views by the number of their first sample, for processes that make them."""

    def __init__(self, pool: NDArray[np.uint8], batch: int, seed: int, settings: ViewSettings) -> None:
        self._pool, self._batch, self._seed, self._settings = pool, batch, seed, settings

    def __getitem__(self, first: int) -> tuple[Tensor, ...]:
        views = make_batch(self._pool, np.arange(first, first + self._batch), self._seed, self._settings)
        return tuple(torch.from_numpy(array) for array in msgspec.structs.astuple(views))


def stream(
    pool: NDArray[np.uint8], firsts: range, seed: int, settings: ViewSettings, workers: int = 0
) -> Iterator[Views]:
    """Batches of ``firsts.step`` views in order, made ahead by ``workers`` processes, or here when asked."""
    loader: Any = torch.utils.data.DataLoader(
        _Batches(pool, firsts.step, seed, settings),
        batch_size=None,
        sampler=firsts,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
    )
    for arrays in loader:
        yield Views(*(array.numpy() for array in arrays))


def _shuffled(position: int, epoch: int, size: int, seed: int) -> int:
    """The epoch's permutation without storing it: an affine map modulo the size, coprime multiplier."""
    multiplier, shift = _affine(epoch, size, seed)
    return (position * multiplier + shift) % size


@lru_cache(4)
def _affine(epoch: int, size: int, seed: int) -> tuple[int, int]:
    rng = np.random.default_rng((seed, epoch, 1))
    while True:
        multiplier = int(rng.integers(size // 4, size))
        if np.gcd(multiplier, size) == 1:
            return multiplier, int(rng.integers(size))


def _geometric(crop: Image, rng: np.random.Generator) -> Image:
    angle, scale = rng.normal(0, 5.0), np.exp(rng.normal(0, 0.06))
    matrix = cv2.getRotationMatrix2D((55.5, 55.5), float(angle), float(scale))
    # A head turned aside is narrower; and shear is what a tilted camera leaves after alignment.
    matrix[:, :2] = matrix[:, :2] @ np.array([[np.exp(rng.normal(0, 0.05)), rng.normal(0, 0.04)], [0, 1]])
    matrix[:, 2] = 55.5 - matrix[:, :2] @ (55.5, 55.5) + rng.normal(0, 2.2, 2)
    if rng.uniform() < 0.5:
        matrix = matrix @ np.array([[-1.0, 0, 111], [0, 1, 0], [0, 0, 1]])
    return contiguous(cv2.warpAffine(crop, matrix, (112, 112), borderMode=cv2.BORDER_REFLECT))


def _no_face(crop: Image, rng: np.random.Generator) -> Image:
    """A part of a crop far too near, a crop upside down, its tiles in disorder, or plain noise."""
    kind = int(rng.integers(4))
    if kind == 0:
        scale, at = float(rng.uniform(2.5, 6)), rng.uniform(0, 111, 2)
        matrix = cv2.getRotationMatrix2D((float(at[0]), float(at[1])), float(rng.uniform(0, 360)), scale)
        matrix[:, 2] += 55.5 - at
        return contiguous(cv2.warpAffine(crop, matrix, (112, 112), borderMode=cv2.BORDER_REFLECT))
    if kind == 1:
        turn = cv2.getRotationMatrix2D((55.5, 55.5), float(rng.uniform(130, 230)), float(rng.uniform(0.6, 1.3)))
        return contiguous(cv2.warpAffine(crop, turn, (112, 112), borderMode=cv2.BORDER_REFLECT))
    if kind == 2:
        tiles = crop.reshape(4, 28, 4, 28, 3).transpose(0, 2, 1, 3, 4).reshape(16, 28, 28, 3)[rng.permutation(16)]
        return contiguous(tiles.reshape(4, 4, 28, 28, 3).transpose(0, 2, 1, 3, 4).reshape(112, 112, 3))
    side = int(rng.integers(3, 40))
    rough = np.clip(rng.normal(rng.uniform(20, 235), rng.uniform(5, 60), (side, side, 3)), 0, 255).astype(np.uint8)
    return contiguous(cv2.resize(rough, (112, 112), interpolation=cv2.INTER_CUBIC))


def _photometric(crop: Image, rng: np.random.Generator) -> Image:
    gray = rng.uniform() < 0.15
    if gray:
        crop = contiguous(cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))
    tint = np.zeros(3) if gray else rng.normal(0, 0.05, 3)
    gain = np.exp(rng.normal(0, 0.18) + tint)
    levels = np.linspace(0, 1, 256)[:, None] ** np.exp(rng.normal(0, 0.2)) * 255 * gain + float(rng.normal(0, 8))
    return contiguous(cv2.LUT(crop, contiguous(np.clip(levels, 0, 255))[None]))
