"""Distils the default face ViT from a recogniser: quality and embedding from one small network.

Start: DINOv2 ViT-S/14 and the teacher's own last layers. The student sees degraded views, its targets are the
teacher's of the clean view: the feature map (scaled to unit variance) and the unit embedding, both by plain squared
error on un-normalised outputs. The best such prediction is the conditional mean, whose length is the expected
cosine with the truth: so the embedding's norm comes out as a quality between 0 and 1.

Resumable at any step and deterministic from the seed: a view depends on the sample's number alone.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from facegate.scoring.families import builtin_card
from facegate.scoring.vit import Architecture, FaceViT
from facegate.training.dinov2_start import load_start_state
from facegate.training.teacher import Teacher
from facegate.training.views import ViewSettings, make_batch

BATCHES_AHEAD = 3
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class Recipe(msgspec.Struct, frozen=True):
    """Everything that decides the result."""

    seed: int = 0
    samples: int = 200_000
    batch: int = 32
    trunk_rate: float = 8e-4
    head_rate: float = 2e-3
    layer_decay: float = 0.95
    """Each earlier block learns this much slower than the next."""
    frozen_blocks: int = 0
    warmup: float = 0.02
    weight_decay: float = 0.02
    map_weight: float = 1.0
    embedding_weight: float = 0.5
    average: float = 0.999
    """Decay of the running average of the weights, which is what is kept."""
    statistics: int = 512
    """Views from which the teacher's scales are measured at the start."""
    views: ViewSettings = ViewSettings()


def student_architecture() -> Architecture:
    """DINOv2 ViT-S/14 with the teacher's kind of head."""
    trunk = builtin_card("dinov2-vits14").architecture
    return msgspec.structs.replace(trunk, head="gdc", embedding_dim=128)


class Trainer:
    """One training run."""

    def __init__(
        self, recipe: Recipe, pool: NDArray[np.uint8], teacher: Teacher, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.recipe = recipe
        self.samples_done = 0
        self._pool = pool
        self._teacher = teacher
        self._device = device
        self._dtype = dtype
        arch = student_architecture()
        torch.manual_seed(recipe.seed)
        self.network = FaceViT(arch)
        start = load_start_state(arch)
        start |= {f"feature.{name}": value for name, value in teacher.tail().items()}
        self.network.load_state_dict(start, strict=False)
        self._map_mean, self._map_std = self._map_statistics()
        self._norm_scale = self._embedding_scale()
        self._scale_start()
        self.network.to(device).train()
        self._optimizer = torch.optim.AdamW(self._groups(), betas=(0.9, 0.98), weight_decay=recipe.weight_decay)
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self._mean = torch.tensor(MEAN, device=device).view(1, 3, 1, 1) * 255
        self._std = torch.tensor(STD, device=device).view(1, 3, 1, 1) * 255

    def _views(self, numbers: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        clean, student = make_batch(self._pool, numbers, self.recipe.seed, self.recipe.views)
        return torch.from_numpy(clean), torch.from_numpy(student)

    def _map_statistics(self) -> tuple[Tensor, Tensor]:
        clean, _ = self._views(np.arange(self.recipe.statistics))
        maps = self._teacher.targets(clean)[1]
        return maps.mean((0, 2, 3), keepdim=True), maps.std((0, 2, 3), keepdim=True)

    def _embedding_scale(self) -> float:
        """The teacher's mean embedding length: its layers start the head divided by it."""
        clean, _ = self._views(np.arange(self.recipe.statistics))
        unit, maps = self._teacher.targets(clean)
        with torch.no_grad():
            raw = self.network.feature(maps.cpu())
        return float((raw * unit.cpu()).sum(1).mean())

    @torch.no_grad()
    def _scale_start(self) -> None:
        head: Any = self.network.feature
        head.linear.weight /= self._norm_scale
        head.linear.bias /= self._norm_scale
        head.reduce.weight.mul_(0.1)
        head.reduce.bias.copy_(self._map_mean.flatten())

    def _groups(self) -> list[dict[str, Any]]:
        recipe, depth = self.recipe, self.network.arch.depth
        groups: dict[tuple[float, bool], list[Tensor]] = {}
        for name, parameter in self.network.named_parameters():
            if name.startswith("blocks."):
                block = int(name.split(".")[1])
            elif name.startswith(("patch_embed", "pos_embed", "cls_token")):
                block = -1
            else:
                block = depth
            if block < recipe.frozen_blocks:
                parameter.requires_grad_(False)
                continue
            head = name.startswith("feature.")
            rate = recipe.head_rate if head else recipe.trunk_rate * recipe.layer_decay ** (depth - block)
            if name.startswith("feature.") and not name.startswith("feature.reduce"):
                rate = recipe.trunk_rate
            groups.setdefault((rate, parameter.ndim >= 2), []).append(parameter)
        decay = recipe.weight_decay
        return [
            {"params": parameters, "peak": rate, "lr": 0.0, "weight_decay": decay if matrix else 0.0}
            for (rate, matrix), parameters in groups.items()
        ]

    def _set_rates(self) -> None:
        recipe = self.recipe
        done = self.samples_done / recipe.samples
        share = done / recipe.warmup if done < recipe.warmup else 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak"] * max(share, 0.01)

    def steps(self) -> Iterator[dict[str, float]]:
        """Train to the recipe's end; yield each step's losses."""
        with ThreadPoolExecutor(1) as executor:
            ahead: list[Future[tuple[Tensor, Tensor, Tensor, Tensor]]] = []
            upcoming = self.samples_done
            while self.samples_done < self.recipe.samples:
                while len(ahead) < BATCHES_AHEAD:
                    ahead.append(executor.submit(self._prepare, upcoming))
                    upcoming += self.recipe.batch
                yield self._step(*ahead.pop(0).result())

    def _prepare(self, first: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        clean, student = self._views(np.arange(first, first + self.recipe.batch))
        embedding, maps = self._teacher.targets(clean)
        return student, embedding, (maps - self._map_mean) / self._map_std, clean

    def _step(self, student: Tensor, embedding: Tensor, maps: Tensor, clean: Tensor) -> dict[str, float]:
        del clean
        self._set_rates()
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
            predicted, predicted_map = self.forward(student)
        map_loss = F.mse_loss((predicted_map.float() - self._map_mean) / self._map_std, maps)
        error = (predicted.float() - embedding).square().sum(1).mean()
        loss = self.recipe.map_weight * map_loss + self.recipe.embedding_weight * error
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_([p for g in self._optimizer.param_groups for p in g["params"]], 2.0)
        self._optimizer.step()
        self.samples_done += self.recipe.batch
        self._average()
        cosine = F.cosine_similarity(predicted.float(), embedding).mean()
        return {"map": map_loss.item(), "error": error.item(), "cosine": cosine.item()}

    def forward(self, student: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding and feature map of uint8 views; frozen blocks keep no graph."""
        network, frozen = self.network, self.recipe.frozen_blocks
        x = (student.to(self._device).permute(0, 3, 1, 2).float() - self._mean) / self._std
        with torch.no_grad():
            x = network.tokens(x)
            for block in network.blocks[:frozen]:
                x = block(x, False, False)[0]
        for block in network.blocks[frozen:]:
            x = block(x, False, False)[0]
        head: Any = network.feature
        feature_map = head.feature_map(network.norm(x[:, network.prefix_tokens :]))
        return head(feature_map), feature_map

    @torch.no_grad()
    def _average(self) -> None:
        # A short memory at first, so that the average does not drag the start along.
        keep = min(self.recipe.average, self.samples_done / (self.samples_done + 10 * self.recipe.batch))
        for name, value in self.network.state_dict().items():
            self.average[name].lerp_(value, 1 - keep)

    def save(self, path: Path) -> None:
        """Write a checkpoint, all or nothing."""
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

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint."""
        state = torch.load(path, map_location=self._device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average = state["average"]
        self._optimizer.load_state_dict(state["optimizer"])
        self.samples_done = state["samples_done"]


def train(
    trainer: Trainer, checkpoint: Path, every_s: float, show: Callable[[str], None], judge: Callable[[], str]
) -> None:
    """Run to the end with a checkpoint and a line of progress every ``every_s`` seconds."""
    recipe = trainer.recipe
    history: dict[str, list[float]] = {}
    started = last = monotonic()
    first = trainer.samples_done
    log = checkpoint.with_suffix(".csv")
    for losses in trainer.steps():
        for name, value in losses.items():
            history.setdefault(name, []).append(value)
        now = monotonic()
        if now - last < every_s and trainer.samples_done < recipe.samples:
            continue
        last = now
        trainer.save(checkpoint)
        means = {name: float(np.mean(values)) for name, values in history.items()}
        history.clear()
        rate = (trainer.samples_done - first) / (now - started)
        left = (recipe.samples - trainer.samples_done) / rate
        with log.open("a", newline="") as file:
            csv.writer(file).writerow([trainer.samples_done, *(f"{value:.5f}" for value in means.values())])
        shown = " ".join(f"{name} {value:.4f}" for name, value in means.items())
        show(f"{trainer.samples_done}/{recipe.samples} {rate:.1f}/s {left / 60:.0f} min left  {shown}  {judge()}")
