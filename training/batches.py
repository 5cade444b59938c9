"""Training batches: views, and the recognizers' targets for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from facegate.training.fairness import group_offsets
from facegate.training.pool import Pool
from facegate.training.recipe import Recipe
from facegate.training.teacher import Seen, Teacher, TeacherRecognizer
from facegate.training.views import Views, make_batch


class Batch(msgspec.Struct, frozen=True, eq=False):
    """Views for the student, and its targets."""

    views: Tensor
    """``(B, 112, 112, 3)`` uint8."""
    unit: Tensor
    map: Tensor
    stages: tuple[Tensor, ...]
    estimates: Tensor
    """``(B, 2)``: standardized length of the recognizers' embeddings, survival."""
    changed: Tensor
    """``(B,)`` bool: views that were degraded."""


class Scales(msgspec.Struct, frozen=True, eq=False):
    """Mean and standard deviation of the recognizers' outputs, so that every target has unit variance."""

    map_mean: Tensor
    map_std: Tensor
    stages: tuple[tuple[Tensor, Tensor], ...]
    lengths: tuple[tuple[float, float], ...]
    """Mean and spread of the embedding's length, for each recognizer."""


class BatchMaker:
    """Computes the recognizers' targets for views."""

    def __init__(
        self,
        recipe: Recipe,
        pool: Pool,
        teacher: Teacher,
        others: Sequence[TeacherRecognizer],
        device: torch.device,
    ) -> None:
        """Evaluate the whole pool once, which takes a while.

        Args:
            recipe: decides the views.
            pool: what is trained on.
            teacher: provides the targets.
            others: say beside it how well a view can be recognized.
            device: of the batches.
        """
        self._recipe, self._pool, self._teacher, self._others = recipe, pool.crops, teacher, tuple(others)
        self._device = device
        self._offsets = [group_offsets(pool.names, lengths) for lengths in self._clean_lengths()]
        self.scales = self._measure_scales()

    def _seen(self, crops: Tensor) -> list[Seen]:
        """Outputs of each recognizer except the teacher."""
        return [other.seen(crops) for other in self._others]

    def _clean_lengths(self) -> NDArray[np.float32]:
        """``(R, N)`` embedding lengths of the unmodified pool; the longest part of the preparation."""
        parts, size = [], len(self._pool)
        for first in range(0, size, self._recipe.batch):
            rows = np.arange(first, first + self._recipe.batch) % size  # every batch as large as those of training
            crops = torch.from_numpy(np.array(self._pool[rows]))
            parts.append(torch.stack([seen.length for seen in (self._teacher.targets(crops), *self._seen(crops))]))
        return torch.cat(parts, 1)[:, :size].cpu().numpy()

    def _measure_scales(self) -> Scales:
        """Mean and spread of the teacher's outputs, so that every target has unit variance."""
        views = make_batch(self._pool, np.arange(self._recipe.statistics), self._recipe.seed, self._recipe.views)
        clean = torch.from_numpy(views.clean)
        targets = self._teacher.targets(clean)
        return Scales(
            map_mean=targets.map.mean((0, 2, 3), keepdim=True),
            map_std=targets.map.std((0, 2, 3), keepdim=True),
            stages=tuple((x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)) for x in targets.stages),
            lengths=tuple(
                (float(seen.length.mean()), float(seen.length.std())) for seen in (targets, *self._seen(clean))
            ),
        )

    def next_batch(self, stream: Iterator[Views]) -> Batch | None:
        """The next views of ``stream`` with their targets, or ``None`` at its end."""
        views = next(stream, None)
        if views is None:
            return None
        clean, student = (torch.from_numpy(view).to(self._device) for view in (views.clean, views.student))
        changed = (clean != student).flatten(1).any(1)
        # Few batch sizes: cuDNN plans each new one, which takes a hundred times as long as running it.
        rows, step = changed.nonzero()[:, 0], max(self._recipe.batch // 4, 1)
        padded = student[F.pad(rows, (0, max(len(rows) + -len(rows) % step, step) - len(rows)))]
        truth, scales = self._teacher.targets(clean), self.scales
        degraded = self._teacher.targets(padded)
        stages = truth.stages
        for stage, other in zip(stages, degraded.stages, strict=True):
            stage[rows] = other[: len(rows)]
        return Batch(
            views=student,
            changed=changed,
            unit=truth.unit,
            map=(truth.map - scales.map_mean) / scales.map_std,
            stages=tuple((x - mean) / std for x, (mean, std) in zip(stages, scales.stages, strict=True)),
            estimates=torch.stack(
                [
                    self._estimates(views, rows, *opinion, number)
                    for number, opinion in enumerate(
                        zip((truth, *self._seen(clean)), (degraded, *self._seen(padded)), strict=True)
                    )
                ]
            ).mean(0),
        )

    def _estimates(self, views: Views, rows: Tensor, clean: Seen, degraded: Seen, number: int) -> Tensor:
        """``(B, 2)``: standardized length and survival as one recognizer sees them."""
        survival = torch.ones_like(clean.length)
        survival[rows] = (degraded.unit[: len(rows)] * clean.unit[rows]).sum(1)
        offsets, (mean, std) = self._offsets[number], self.scales.lengths[number]
        owed = views.share * offsets[views.first] + (1 - views.share) * offsets[views.second]
        fair = clean.length - torch.from_numpy(owed).to(survival.device)
        return torch.stack([(fair - mean) / std, survival], 1)
