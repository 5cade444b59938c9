"""The score read after each block, alone or fused over depth: the idea of EX-FIQA (arXiv 2604.22842).

Everything comes from one pass. After block ``k`` there are: ViTNT-FIQA over the scored blocks up to ``k``, weighed
by that block's attention; the attention score of block ``k``; and what the estimate's head reads from the tokens
there. Readings of different depth differ in scale, so each is standardized over the set before it is weighed:
``linear`` weights grow with depth as 1, 2, 3, …; ``monotone`` ones grow as was learned on crops that no evaluation
uses (``python -m facegate.training.depth``).
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib.resources import files
from typing import Literal, get_args

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facegate.errors import ConfigError
from facegate.evaluation.datasets import FaceSet
from facegate.evaluation.methods.base import Progress
from facegate.evaluation.research.walking import check_walkable
from facegate.scoring.engine import Scorer
from facegate.scoring.vitnt import TokenPath, attention_received, image_quality

Number = Literal["vitnt", "attention", "estimate"]
NUMBERS: tuple[Number, ...] = get_args(Number)
Weights = Literal["linear", "monotone"]
WEIGHTS: tuple[Weights, ...] = get_args(Weights)
TOGETHER = 32


class Readings(msgspec.Struct, frozen=True, eq=False):
    """Readings of ``B`` crops, one column per readable block."""

    vitnt: Tensor
    """``(B, T - 1)``: after each scored block but the first."""
    attention: Tensor
    """``(B, L)``: of each block."""
    estimate: Tensor | None
    """``(B, L)``: of each block; ``None`` for a network without."""


class DepthWeights(msgspec.Struct, frozen=True):
    """Weights by depth, learned for one model; none is below the one before it."""

    model: str
    vitnt: list[float]
    attention: list[float]
    estimate: list[float]


@torch.inference_mode()
def read(scorer: Scorer, crops: NDArray[np.uint8]) -> Readings:
    """Read every number after every block of one pass over crops ``(B, 112, 112, 3)``."""
    network, settings = scorer.network, scorer.settings
    path = TokenPath(network.norm, settings.distance)
    vitnt, attention, estimate = [], [], []
    x = network.tokens(scorer.one_pass.normalized(torch.from_numpy(np.ascontiguousarray(crops))))
    for index in range(network.arch.depth):
        x, weights, logits = network.blocks[index](x, index in settings.blocks, True)
        attention.append(logits)
        if network.arch.estimates:
            estimate.append((network.estimated(x) * scorer.one_pass.fusion).sum(1))
        if index in settings.blocks:
            path.add(x[:, network.prefix_tokens :])
            if path.pairs:
                received = attention_received(weights, network.prefix_tokens)
                vitnt.append(image_quality(path.patch_quality(settings.alpha), received))
    return Readings(
        vitnt=torch.stack(vitnt, 1),
        attention=torch.stack(attention, 1),
        estimate=torch.stack(estimate, 1) if estimate else None,
    )


@lru_cache(maxsize=1)
def _of_set(scorer: Scorer, faces: FaceSet) -> Readings:
    """Readings of a whole set, cached for all numbers and weightings."""
    crops = faces.crops
    parts = [read(scorer, crops[start : start + TOGETHER]) for start in range(0, len(crops), TOGETHER)]
    has = scorer.card.architecture.estimates > 0
    return Readings(
        vitnt=torch.cat([part.vitnt for part in parts]),
        attention=torch.cat([part.attention for part in parts]),
        estimate=torch.cat([part.estimate for part in parts if part.estimate is not None]) if has else None,
    )


@cache
def learned_for(model: str) -> DepthWeights:
    """Load the weights learned for a model.

    Raises:
        ConfigError: there are none.
    """
    kept = msgspec.json.decode(files(__package__).joinpath("depth.json").read_bytes(), type=DepthWeights)
    if kept.model != model:
        raise ConfigError(f"no depth weights for model {model}: use @linear")
    return kept


class DepthQuality:
    """One number after one block, or fused over depth."""

    def __init__(self, scorer: Scorer, number: Number, what: int | Weights) -> None:
        """Configure.

        Args:
            scorer: whose network is read, in torch.
            number: which.
            what: index of the block after which it is read, or how depths are weighed.

        Raises:
            ConfigError: the network lacks the number or block.
        """
        check_walkable(scorer)
        self._scorer, self._number, self._what = scorer, number, what
        arch = scorer.card.architecture
        if number == "estimate" and not arch.estimates:
            raise ConfigError(f"model '{scorer.card.name}' has no estimate: choose another number")
        self._blocks = scorer.settings.blocks[1:] if number == "vitnt" else tuple(range(arch.depth))
        if isinstance(what, int) and what not in self._blocks:
            raise ConfigError(f"{number} cannot be read after block {what}: choose from {list(self._blocks)}")
        self._weights: NDArray[np.float64] | None = None
        if what == "linear":
            self._weights = np.arange(1.0, len(self._blocks) + 1)
        elif what == "monotone":
            self._weights = np.array(getattr(learned_for(scorer.card.name), number))
        weights = "" if self._weights is None else ",".join(f"{weight:g}" for weight in self._weights)
        model = scorer.reading.model.fingerprint
        self.name = f"{scorer.card.name}:{model}:{number}@{what}:{weights}:{scorer.algorithm}"

    def score(self, faces: FaceSet, progress: Progress) -> NDArray[np.float64]:
        """See :class:`QualityMethod`."""
        del progress
        readings: NDArray[np.float64] = getattr(_of_set(self._scorer, faces), self._number).double().numpy()
        if self._weights is None:
            column: NDArray[np.float64] = readings[:, self._blocks.index(self._what)]
            return column
        return fused(readings, self._weights)


def fused(readings: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighed mean ``(N,)`` of standardized readings ``(N, K)``."""
    spread = readings.std(0)
    standard = (readings - readings.mean(0)) / np.where(spread > 0, spread, 1.0)
    mean: NDArray[np.float64] = standard @ weights / weights.sum()
    return mean
