"""Fresh views of the pool: what teacher and student see. Deterministic: a view depends on seed and sample number.

Teacher and student see the same geometry, light and mix of faces; the degradation is the student's alone, and its
target is the clean view's.
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

from facegate.evaluation.degrade import degrade_one
from facegate.pipeline.records import Image, contiguous
from facegate.training.occlude import cover_one


class ViewSettings(msgspec.Struct, frozen=True):
    """How views are made."""

    degraded: float = 0.4
    """Share of student views with a degradation."""
    second: float = 0.2
    """Share of those with a second one on top."""
    covered: float = 0.15
    """Share of those with a cover (closed lids, glasses, a mask, a hand) in place of a degradation."""
    mixed: float = 0.35
    """Share of views that blend two faces."""


class Views(msgspec.Struct, frozen=True, eq=False):
    """Views of teacher and student, and the rows of the pool they come from, with the share of the first."""

    clean: NDArray[np.uint8]
    """``(B, 112, 112, 3)``"""
    student: NDArray[np.uint8]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    share: NDArray[np.float32]
    """Of the first face: 1 where there is no second."""


def make_batch(pool: NDArray[np.uint8], numbers: NDArray[np.int64], seed: int, settings: ViewSettings) -> Views:
    """Return the views of the given sample numbers."""
    clean = np.empty((len(numbers), 112, 112, 3), dtype=np.uint8)
    student = np.empty_like(clean)
    size = len(pool)
    first, second = np.empty(len(numbers), np.int64), np.empty(len(numbers), np.int64)
    shares = np.ones(len(numbers), np.float32)
    for row, number in enumerate(numbers):
        epoch, position = divmod(int(number), size)
        rng = np.random.default_rng((seed, int(number)))
        first[row] = second[row] = _shuffled(position, epoch, size, seed)
        view = _photometric(_geometric(pool[first[row]], rng), rng)
        if rng.uniform() < settings.mixed:
            second[row] = rng.integers(size)
            other = _photometric(_geometric(pool[second[row]], rng), rng)
            shares[row] = share = float(rng.uniform(0.3, 0.7))
            view = cv2.addWeighted(view, share, other, 1 - share, 0).astype(np.uint8)
        clean[row] = view
        if rng.uniform() < settings.degraded:
            covered = rng.uniform() < settings.covered
            view = cover_one(view, rng) if covered else degrade_one(view, rng)
            if rng.uniform() < settings.second:
                view = degrade_one(view, rng)
        student[row] = view
    return Views(clean, student, first, second, shares)


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
    angle, scale = rng.normal(0, 4.0), np.exp(rng.normal(0, 0.05))
    matrix = cv2.getRotationMatrix2D((55.5, 55.5), float(angle), float(scale))
    matrix[:, 2] += rng.normal(0, 2.0, 2)
    if rng.uniform() < 0.5:
        matrix = matrix @ np.array([[-1.0, 0, 111], [0, 1, 0], [0, 0, 1]])
    return contiguous(cv2.warpAffine(crop, matrix, (112, 112), borderMode=cv2.BORDER_REFLECT))


def _photometric(crop: Image, rng: np.random.Generator) -> Image:
    if rng.uniform() < 0.1:
        return contiguous(cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))
    gain = np.exp(rng.normal(0, 0.12)) * np.exp(rng.normal(0, 0.04, 3))
    levels = np.arange(256, dtype=np.float32)[:, None] * gain.astype(np.float32) + float(rng.normal(0, 6))
    return contiguous(cv2.LUT(crop, contiguous(np.clip(levels, 0, 255))[None]))
