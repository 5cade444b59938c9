"""Training batches: views, and the recognizers' targets for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from facegate.training.recipe import AGREEMENT, DLIB_LENGTH, INTEL_LENGTH, NO_FACE_ESTIMATES, Recipe
from facegate.training.teachers.recognizers import DlibTeacher, Teacher
from facegate.training.views import BLEND, NO_FACE, Views

CHUNK = 64
RIDGE = 5e-3
"""Of the linear map from dlib's embeddings to Intel's, per crop."""


class Batch(msgspec.Struct, frozen=True, eq=False):
    """Views for the student, and its targets."""

    views: Tensor
    """``(B, 112, 112, 3)`` uint8."""
    unit: Tensor
    """``(B, D)`` unit embedding of the clean view by the teacher; zero where there is no face."""
    map: Tensor
    """``(B, 128, 6, 6)`` the teacher's last map of the clean view, standardized."""
    estimates: Tensor
    """``(B, 2)``: how well the recognizers know the face (standardized), and survival."""
    face: Tensor
    """``(B,)`` bool: views that show a face."""
    known: Tensor
    """``(B,)`` bool: views whose first estimate is known, which that of a blend of two faces is not."""
    changed: Tensor
    """``(B,)`` bool: views that were degraded, or show no face."""


class Facts(msgspec.Struct, frozen=True, eq=False):
    """What the recognizers say about the pool as it is."""

    known: NDArray[np.float32]
    """``(N,)``, standardized: how well they know each face."""
    length: float
    """Mean length of the teacher's embedding."""
    map_mean: NDArray[np.float32]
    """``(128,)`` mean and standard deviation of the teacher's last map."""
    map_std: NDArray[np.float32]


def load_facts(cache: Path, make: Callable[[], Facts]) -> Facts:
    """Read ``cache``; at the first call, write what ``make`` returns."""
    if not cache.is_file():
        facts = make()
        with cache.open("wb") as file:
            np.savez(file, **msgspec.structs.asdict(facts))
    with np.load(cache) as stored:
        return Facts(stored["known"], float(stored["length"]), stored["map_mean"], stored["map_std"])


def pool_facts(pool: NDArray[np.uint8], teacher: Teacher, second: DlibTeacher) -> Facts:
    """Run both recognizers on the whole pool.

    How well they know a face is a weighted sum of the lengths of both embeddings and of their agreement: the cosine
    of Intel's embedding with its linear prediction from dlib's.
    """
    parts = [torch.from_numpy(np.array(pool[first : first + CHUNK])) for first in range(0, len(pool), CHUNK)]
    targets = [teacher.targets(part) for part in parts]
    descriptors = torch.cat([second.descriptors(part) for part in parts])
    descriptors = descriptors - descriptors.mean(0)
    own, other = torch.cat([target.unit for target in targets]), F.normalize(descriptors, dim=1)
    ridge = RIDGE * len(other) * torch.eye(other.shape[1], device=other.device)
    predicted = other @ torch.linalg.solve(other.T @ other + ridge, other.T @ own)
    length = torch.cat([target.length for target in targets])
    columns = torch.stack([length, descriptors.norm(dim=1), F.cosine_similarity(predicted, own)], 1)
    shares = torch.tensor((INTEL_LENGTH, DLIB_LENGTH, AGREEMENT), device=columns.device)
    known = ((columns - columns.mean(0)) / columns.std(0)) @ (shares / shares.sum())
    maps = torch.cat([target.map for target in targets])
    return Facts(
        known=known.cpu().numpy(),
        length=float(length.mean()),
        map_mean=maps.mean((0, 2, 3)).cpu().numpy(),
        map_std=maps.std((0, 2, 3)).cpu().numpy(),
    )


class BatchMaker:
    """Computes the recognizers' targets for views."""

    def __init__(self, recipe: Recipe, facts: Facts, teacher: Teacher, device: torch.device) -> None:
        """Take what is known of the pool.

        Args:
            recipe: decides the views.
            facts: of the pool that the views are made of.
            teacher: provides the other targets.
            device: of the batches.
        """
        self._recipe, self._teacher, self._device = recipe, teacher, device
        self._known = torch.from_numpy(facts.known).to(device)
        self._mean, self._std = (
            torch.from_numpy(values).to(device).view(1, -1, 1, 1) for values in (facts.map_mean, facts.map_std)
        )

    def next_batch(self, stream: Iterator[Views]) -> Batch | None:
        """The next views of ``stream`` with their targets, or ``None`` at its end."""
        views = next(stream, None)
        if views is None:
            return None
        clean, student = (torch.from_numpy(view).to(self._device) for view in (views.clean, views.student))
        picture = torch.from_numpy(views.picture).to(self._device)
        face = picture != NO_FACE
        changed = (clean != student).flatten(1).any(1)
        # Few batch sizes: cuDNN plans each new one, which takes a hundred times as long as running it.
        rows, step = changed.nonzero()[:, 0], max(self._recipe.batch // 4, 1)
        padded = student[F.pad(rows, (0, max(len(rows) + -len(rows) % step, step) - len(rows)))]
        truth = self._teacher.targets(clean)
        survival = torch.ones_like(truth.length)
        survival[rows] = (self._teacher.targets(padded).unit[: len(rows)] * truth.unit[rows]).sum(1)
        estimates = torch.stack([self._known[picture.clamp_min(0)], survival], 1)
        return Batch(
            views=student,
            unit=truth.unit * face[:, None],
            map=(truth.map - self._mean) / self._std,
            estimates=torch.where(face[:, None], estimates, estimates.new_tensor(NO_FACE_ESTIMATES)),
            face=face,
            known=picture != BLEND,
            changed=changed | ~face,
        )
