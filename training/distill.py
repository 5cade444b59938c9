"""Distills the default face ViT from recognizers: quality and embedding from one small network.

The student starts as the teacher's own layers (``inherit.py``) with a small transformer behind them.

The student sees degraded views. Its targets are the teacher's of the clean view: the last feature map (scaled to
unit variance) and the unit embedding, both by plain squared error on un-normalized outputs. What that rewards is
the conditional mean, whose length is the expected cosine with the truth: the norm of the embedding becomes a
quality between 0 and 1, and without a face the embedding is to be zero.

Two numbers are estimated beside the embedding, and no label is needed for either: how well the recognizers know
the face (the length of their own embeddings of the clean picture, and how well dlib's predicts Intel's), and
*survival*, the cosine between the view and its clean self.

The paths of the patch tokens are trained too: over a batch, and over its clean views alone, the logarithm of the
ViTNT-FIQA score is to correlate with the sum of those two numbers and of the length of the student's own embedding.
So the score that reads steadiness finds it. Every second step rounds the inputs of the token paths' products, so
that 8 bits agree with 32.

Resumable at any step and deterministic from the seed: a view depends on the sample's number alone.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from facegate.scoring.network.vit import FaceViT
from facegate.scoring.vitnt import attention_received, image_quality
from facegate.training.batches import Batch, BatchMaker, Facts
from facegate.training.inherit import inherit
from facegate.training.recipe import FUSION, LENGTH_SHARE, MEAN, SCORED_BLOCKS, STD, Recipe, student_architecture
from facegate.training.rounding import Rounding
from facegate.training.teachers.openvino_ir import IrNetwork
from facegate.training.teachers.recognizers import Teacher
from facegate.training.views import stream

BATCHES_AHEAD = 3


class StudentOutput(msgspec.Struct, frozen=True, eq=False):
    """Outputs of the student; the embedding is not normalized."""

    embedding: Tensor
    map: Tensor
    estimates: Tensor
    raw: Tensor
    """``(B,)`` ViTNT-FIQA score."""


class Trainer:
    """One training run."""

    def __init__(
        self,
        recipe: Recipe,
        pool: NDArray[np.uint8],
        facts: Facts,
        teacher: Teacher,
        start: IrNetwork,
        device: torch.device,
        dtype: torch.dtype,
        workers: int = 0,
    ) -> None:
        """Prepare.

        Args:
            recipe: decides the result.
            pool: what is trained on.
            facts: what the recognizers say about the pool.
            teacher: provides the other targets.
            start: the teacher's layers.
            device: of the student.
            dtype: of the student's products.
            workers: processes that make views; 0 for a thread.
        """
        self.recipe = recipe
        self.samples_done = 0
        self.samples = recipe.samples
        """Number of samples at the end; may be changed until the learning rates begin to fall."""
        self._pool = pool
        self._workers = workers
        self._began = 0
        self._device = device
        self._dtype = dtype
        torch.manual_seed(recipe.seed)
        self.network = FaceViT(student_architecture())
        inherit(self.network, start)
        self._scale_head(facts.length)
        self._rounding = Rounding(self.network)
        self.network.to(device).to(memory_format=torch.channels_last).train()
        self._maker = BatchMaker(recipe, facts, teacher, device)
        self._map_mean, self._map_std = (
            torch.from_numpy(values).to(device).view(1, -1, 1, 1) for values in (facts.map_mean, facts.map_std)
        )
        self._optimizer = torch.optim.AdamW(
            self._groups(), betas=(0.9, 0.98), weight_decay=recipe.weight_decay, fused=device.type == "cuda"
        )
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self._fusion = torch.tensor(FUSION, device=device)
        self._mean = torch.tensor(MEAN, device=device).view(1, 3, 1, 1) * 255
        self._std = torch.tensor(STD, device=device).view(1, 3, 1, 1) * 255

    @torch.no_grad()
    def _scale_head(self, length: float) -> None:
        # Divided by its mean length, the teacher's layers give embeddings of about length one.
        head: Any = self.network.feature
        head.linear.weight /= length
        head.linear.bias /= length

    def _groups(self) -> list[dict[str, Any]]:
        recipe = self.recipe
        groups: dict[tuple[float, bool], list[Tensor]] = {}
        for name, parameter in self.network.named_parameters():
            inherited = name.startswith(("patch_embed.", "feature."))
            rate = recipe.inherited_rate if inherited else recipe.fresh_rate
            groups.setdefault((rate, parameter.ndim >= 2 and not inherited), []).append(parameter)
        return [
            {"params": parameters, "peak": rate, "lr": 0.0, "weight_decay": recipe.weight_decay if decays else 0.0}
            for (rate, decays), parameters in groups.items()
        ]

    def _set_rates(self) -> None:
        recipe = self.recipe
        left = (self.samples - self.samples_done) / max(recipe.cooldown * self.samples, 1)
        fall = 1.0 if left >= 1 else 0.5 * (1 - math.cos(math.pi * left))
        share = min((self.samples_done - self._began) / recipe.warmup, fall)
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak"] * max(share, 0.01)
        rounds = self.samples_done >= recipe.rounding_from
        self._rounding.on = rounds and self.samples_done // recipe.batch % 2 == 1
        stem: Any = self.network.patch_embed
        stem.stages[:2].requires_grad_(self.samples_done < recipe.front_until)

    def steps(self) -> Iterator[dict[str, Tensor]]:
        """Train to the recipe's end; yield each step's losses, each a number on the device."""
        recipe = self.recipe
        firsts = range(self.samples_done, recipe.samples, recipe.batch)
        views = stream(self._pool, firsts, recipe.seed, recipe.views, self._workers)
        with ThreadPoolExecutor(1) as executor:
            ahead: list[Future[Batch | None]] = []
            while self.samples_done < self.samples:
                while len(ahead) < BATCHES_AHEAD:
                    ahead.append(executor.submit(self._maker.next_batch, views))
                batch = ahead.pop(0).result()
                assert batch is not None
                yield self._step(batch)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32)

    def _descend(self, loss: Tensor) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_([p for g in self._optimizer.param_groups for p in g["params"]], 2.0)
        self._optimizer.step()
        self.samples_done += self.recipe.batch
        self._average()

    def _images(self, views: Tensor) -> Tensor:
        images = (views.to(self._device).permute(0, 3, 1, 2).float() - self._mean) / self._std
        return images.contiguous(memory_format=torch.channels_last)

    def _step(self, batch: Batch) -> dict[str, Tensor]:
        self._set_rates()
        recipe = self.recipe
        with self._autocast():
            out = self.forward(batch.views)
        face, faces = batch.face, batch.face.sum().clamp_min(1)
        map_error = ((out.map.float() - self._map_mean) / self._map_std - batch.map).square().mean((1, 2, 3))
        map_loss = (map_error * face).sum() / faces
        error = (out.embedding.float() - batch.unit).square().sum(1).mean()
        off = (out.estimates.float() - batch.estimates).square()
        known = (off[:, 0] * batch.known).sum() / batch.known.sum().clamp_min(1)
        survival = off[:, 1].mean()
        length = out.embedding.detach().float().norm(dim=1)
        raw, quality = out.raw.float().log(), batch.estimates @ self._fusion + LENGTH_SHARE * length
        # Survival decides over all views; the order among good faces is learned from good faces alone.
        steadiness = _correlation(raw[batch.known], quality[batch.known])
        good = batch.known & ~batch.changed
        steadiness_clean = _correlation(raw[good], quality[good])
        loss = (
            recipe.map_weight * map_loss
            + recipe.embedding_weight * error
            + recipe.estimate_weight * (known + 10 * survival)
            + recipe.path_weight * (2 - steadiness - steadiness_clean)
        )
        self._descend(loss)
        cosine = (F.cosine_similarity(out.embedding.float(), batch.unit) * face).sum() / faces
        found = {
            "map": map_loss,
            "error": error,
            "cosine": cosine,
            "known": known,
            "survival": survival,
            "steadiness": steadiness,
            "steadiness_clean": steadiness_clean,
        }
        return {name: value.detach() for name, value in found.items()}

    def forward(self, views: Tensor) -> StudentOutput:
        """Run the student on uint8 views; return all outputs that the losses need."""
        network = self.network
        x = network.tokens(self._images(views))
        tokens: list[Tensor] = []
        weights = x
        for index, block in enumerate(network.blocks):
            # With weights: separate products, whose backward pass is far faster on a CPU than fused attention's.
            x, weights, _ = block(x, True, False)
            if index in SCORED_BLOCKS:
                tokens.append(F.normalize(network.norm(x).float(), dim=-1))
        # Repeats the formula, because TokenPath works in place and has no gradient.
        moved = torch.stack([(b - a).norm(dim=-1) for a, b in pairwise(tokens)]).mean(0)
        raw = image_quality(2 * torch.sigmoid(-8.0 * moved), attention_received(weights, 0))
        head: Any = network.feature
        feature_map = head.feature_map(x)
        return StudentOutput(
            embedding=head(feature_map),
            map=feature_map,
            estimates=network.estimated(x),
            raw=raw,
        )

    @torch.no_grad()
    def _average(self) -> None:
        # Short at first, so that the average soon forgets the start.
        keep = min(self.recipe.average, self.samples_done / (self.samples_done + 10 * self.recipe.batch))
        torch._foreach_lerp_(list(self.average.values()), list(self.network.state_dict().values()), 1 - keep)

    def save(self, path: Path) -> None:
        """Write a checkpoint atomically."""
        part = path.with_suffix(".part")
        torch.save(
            {
                "recipe": msgspec.json.encode(self.recipe),
                "samples_done": self.samples_done,
                "network": self.network.state_dict(),
                "average": self.average,
                "optimizer": self._optimizer.state_dict(),
            },
            part,
        )
        part.replace(path)

    def start_from(self, state: dict[str, Tensor], samples_done: int) -> None:
        """Start from weights alone, such as an exported model's; optimizer and average are reset."""
        self.network.load_state_dict({name: value.float() for name, value in state.items()})
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.samples_done = self._began = samples_done

    def resume(self, path: Path) -> None:
        """Resume from a checkpoint."""
        state = torch.load(path, map_location=self._device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average = state["average"]
        peaks = [group["peak"] for group in self._optimizer.param_groups]
        self._optimizer.load_state_dict(state["optimizer"])
        for group, peak in zip(self._optimizer.param_groups, peaks, strict=True):
            group["peak"] = peak
        self.samples_done = state["samples_done"]


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's, over the batch; 0 for fewer than two."""
    if len(a) < 2:
        return a.sum() * 0
    a, b = a - a.mean(), b - b.mean()
    correlation: Tensor = (a * b).sum() / (a.norm() * b.norm()).clamp_min(1e-6)
    return correlation


def train(
    trainer: Trainer,
    checkpoint: Path,
    every_s: float,
    show: Callable[[str], None],
    judge: Callable[[], str],
    until: float | None = None,
) -> None:
    """Run to the end with a checkpoint and a line of progress every ``every_s`` seconds.

    With ``until``, a moment of the monotonic clock, the end is moved so that it is reached by then.
    """
    history: dict[str, list[Tensor]] = {}
    started = last = monotonic()
    first = before = trainer.samples_done
    log = checkpoint.with_suffix(".csv")
    for losses in trainer.steps():
        for name, value in losses.items():
            history.setdefault(name, []).append(value)
        now = monotonic()
        if now - last < every_s and trainer.samples_done < trainer.samples:
            continue
        falling = trainer.samples - trainer.samples_done <= trainer.recipe.cooldown * trainer.samples
        if until is not None and not falling and now - started > 2 * every_s:
            recent = (trainer.samples_done - before) / (now - last)
            trainer.samples = min(
                trainer.recipe.samples, trainer.samples_done + int(recent * max(0.0, until - now))
            )
        last, before = now, trainer.samples_done
        trainer.save(checkpoint)
        means = {name: float(torch.stack(values).mean()) for name, values in history.items()}
        history.clear()
        rate = (trainer.samples_done - first) / (now - started)
        left = (trainer.samples - trainer.samples_done) / rate
        with log.open("a", newline="") as file:
            rows = ([trainer.samples_done, name, f"{mean:.5f}"] for name, mean in means.items())
            csv.writer(file).writerows(rows)
        shown = " ".join(f"{name} {value:.4f}" for name, value in means.items())
        show(f"{trainer.samples_done}/{trainer.samples} {rate:.1f}/s {left / 60:.0f} min left  {shown}  {judge()}")
