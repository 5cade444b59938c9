"""Batches to learn from: views, and what the recognizers say about them."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from facegate.training.recipe import AGREEMENT, DLIB_LENGTH, INTEL_LENGTH, INTEL_SURVIVAL, NO_FACE, Recipe
from facegate.training.teacher import DlibTeacher, Seen, Teacher
from facegate.training.views import Views

STAGE_CROPS = 256
"""Crops from which the scales of the early maps are measured, which are large."""
RIDGE = 5e-3
"""Of the map from dlib's embeddings to Intel's, for each crop."""


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
    """``(B, 2)``: how well the recognizers know the face (standardized), and survival."""
    face: Tensor
    """``(B,)`` bool: views that show a face."""
    changed: Tensor
    """``(B,)`` bool: views that were degraded, or show no face."""


class Scales(msgspec.Struct, frozen=True, eq=False):
    """Mean and spread of what the recognizers say, so that every target has unit variance."""

    map_mean: Tensor
    map_std: Tensor
    stages: tuple[tuple[Tensor, Tensor], ...]
    known: tuple[tuple[float, float], ...]
    """Mean and spread of what makes up the first estimate: either length, and agreement."""


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
        crops = np.array(pool[np.linspace(0, len(pool) - 1, recipe.statistics).astype(int)])
        parts = [torch.from_numpy(crops[i : i + recipe.batch]) for i in range(0, len(crops), recipe.batch)]
        second.center(torch.cat([second.descriptors(part) for part in parts]))
        found = [(teacher.targets(part), second.seen(part)) for part in parts]
        own, other = torch.cat([first.unit for first, _ in found]), torch.cat([then.unit for _, then in found])
        ridge = RIDGE * len(other) * torch.eye(other.shape[1], device=other.device)
        self._foretold = torch.linalg.solve(other.T @ other + ridge, other.T @ own)
        known = torch.cat([self._known(first, then) for first, then in found])
        maps = torch.cat([first.map for first, _ in found])
        early = [teacher.stages(part) for part in parts[: max(1, STAGE_CROPS // recipe.batch)]]
        stages = [torch.cat(each) for each in zip(*early, strict=True)]
        self.scales = Scales(
            map_mean=maps.mean((0, 2, 3), keepdim=True),
            map_std=maps.std((0, 2, 3), keepdim=True),
            stages=tuple((x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)) for x in stages),
            known=tuple((float(column.mean()), float(column.std())) for column in known.T),
        )

    def _known(self, own: Seen, other: Seen) -> Tensor:
        """``(B, 3)``: length of Intel's embedding and of dlib's, cosine of Intel's with what dlib's foretells."""
        agreement = F.cosine_similarity(other.unit @ self._foretold, own.unit)
        return torch.stack([own.length, other.length, agreement], 1)

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
        other = self._second.seen(clean)
        mean, std = (clean.new_tensor(values, dtype=torch.float32) for values in zip(*scales.known, strict=True))
        shares = mean.new_tensor((INTEL_LENGTH, DLIB_LENGTH, AGREEMENT))
        known = ((self._known(truth, other) - mean) / std) @ (shares / shares.sum())
        survival = INTEL_SURVIVAL * _survival(rows, truth, self._teacher.seen(padded))
        survival += (1 - INTEL_SURVIVAL) * _survival(rows, other, self._second.seen(padded))
        estimates = torch.stack([known, survival], 1)
        return Batch(
            views=student,
            unit=truth.unit * face[:, None],
            map=(truth.map - scales.map_mean) / scales.map_std,
            stages=self._standard_stages(student) if stages else (),
            estimates=torch.where(face[:, None], estimates, estimates.new_tensor(NO_FACE)),
            face=face,
            changed=changed | ~face,
        )


def _survival(rows: Tensor, clean: Seen, degraded: Seen) -> Tensor:
    """``(B,)``: cosine of a view with its clean self; 1 but for the ``rows`` that were degraded."""
    survival = torch.ones_like(clean.length)
    survival[rows] = (degraded.unit[: len(rows)] * clean.unit[rows]).sum(1)
    return survival
