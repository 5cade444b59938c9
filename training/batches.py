"""Batches to learn from: views, and what the recognizers say about them."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from facegate.training.recipe import LENGTHS, NO_FACE, SURVIVALS, Recipe
from facegate.training.teacher import DlibTeacher, Seen, Teacher
from facegate.training.views import Views, make_batch


class Batch(msgspec.Struct, frozen=True, eq=False):
    """Views for the student and what it should say about them."""

    views: Tensor
    """``(B, 112, 112, 3)`` uint8."""
    unit: Tensor
    """``(B, D)`` the teacher's unit embedding of the clean view; zero where there is no face."""
    map: Tensor
    stages: tuple[Tensor, ...]
    """The teacher's early maps of the views; none where they are not learned."""
    estimates: Tensor
    """``(B, 2)``: standardized length of the recognizers' embeddings, survival."""
    face: Tensor
    """``(B,)`` bool: views that show a face."""
    changed: Tensor
    """``(B,)`` bool: views that were degraded, or show no face."""


class Scales(msgspec.Struct, frozen=True, eq=False):
    """Mean and spread of what the recognizers say, so that every target has unit variance."""

    map_mean: Tensor
    map_std: Tensor
    stages: tuple[tuple[Tensor, Tensor], ...]
    lengths: tuple[tuple[float, float], ...]
    """Mean and spread of the embedding's length, for each recognizer."""


class BatchMaker:
    """Asks the recognizers about views."""

    def __init__(
        self, recipe: Recipe, pool: NDArray[np.uint8], teacher: Teacher, second: DlibTeacher, device: torch.device
    ) -> None:
        """Measure their scales on a few views.

        Args:
            recipe: decides the views.
            pool: what is trained on.
            teacher: says what to learn.
            second: says beside it how well a view can be recognized.
            device: of the batches.
        """
        self._recipe, self._pool, self._teacher, self._second = recipe, pool, teacher, second
        self._device = device
        views = make_batch(pool, np.arange(recipe.statistics), recipe.seed, recipe.views)
        clean = torch.from_numpy(views.clean[views.face])
        second.center(second.descriptors(clean))
        targets, stages, other = teacher.targets(clean), teacher.stages(clean), second.seen(clean)
        self.scales = Scales(
            map_mean=targets.map.mean((0, 2, 3), keepdim=True),
            map_std=targets.map.std((0, 2, 3), keepdim=True),
            stages=tuple((x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)) for x in stages),
            lengths=tuple((float(seen.length.mean()), float(seen.length.std())) for seen in (targets, other)),
        )

    def next_stem_batch(self, stream: Iterator[Views]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The next views of ``stream`` and the teacher's early maps of them, standardized."""
        views = torch.from_numpy(next(stream).student).to(self._device)
        return views, self._standard_stages(views)

    def _standard_stages(self, views: Tensor) -> tuple[Tensor, ...]:
        maps = self._teacher.stages(views)
        return tuple((x - mean) / std for x, (mean, std) in zip(maps, self.scales.stages, strict=True))

    def next_batch(self, stream: Iterator[Views], stages: bool) -> Batch | None:
        """The next views of ``stream`` with their targets, or ``None`` at its end."""
        views = next(stream, None)
        if views is None:
            return None
        clean, student = (torch.from_numpy(view).to(self._device) for view in (views.clean, views.student))
        face = torch.from_numpy(views.face).to(self._device)
        changed = (clean != student).flatten(1).any(1)
        # Few sizes of batches: cuDNN plans every new one, which takes a hundred times as long as running it.
        rows, step = changed.nonzero()[:, 0], max(self._recipe.batch // 4, 1)
        padded = student[F.pad(rows, (0, max(len(rows) + -len(rows) % step, step) - len(rows)))]
        truth, scales = self._teacher.targets(clean), self.scales
        opinions = (
            self._opinion(0, rows, truth, self._teacher.seen(padded)),
            self._opinion(1, rows, self._second.seen(clean), self._second.seen(padded)),
        )
        length, survival = (
            sum((share * opinion[row] for share, opinion in zip(shares, opinions, strict=True)), torch.zeros(()))
            for row, shares in enumerate((LENGTHS, SURVIVALS))
        )
        estimates = torch.stack([length, survival], 1)
        return Batch(
            views=student,
            unit=truth.unit * face[:, None],
            map=(truth.map - scales.map_mean) / scales.map_std,
            stages=self._standard_stages(student) if stages else (),
            estimates=torch.where(face[:, None], estimates, estimates.new_tensor(NO_FACE)),
            face=face,
            changed=changed | ~face,
        )

    def _opinion(self, number: int, rows: Tensor, clean: Seen, degraded: Seen) -> tuple[Tensor, Tensor]:
        """Standardized length and survival ``(B,)`` as one recognizer sees them."""
        survival = torch.ones_like(clean.length)
        survival[rows] = (degraded.unit[: len(rows)] * clean.unit[rows]).sum(1)
        mean, std = self.scales.lengths[number]
        return (clean.length - mean) / std, survival
