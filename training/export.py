"""From a checkpoint to a model file: half-precision weights and the card, in one safetensors file."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from scipy.stats import spearmanr

from facegate.evaluation.degrade import degrade_half
from facegate.recognition.embedders import unit
from facegate.scoring.backend_selection import EMBEDDING_AGREEMENT, RANK_AGREEMENT
from facegate.scoring.backends import Dtype
from facegate.scoring.engine import load_scorer
from facegate.scoring.families import CARD_KEY, IDENTITY, QUALITIES, Ingredient, ModelCard, Quality, Table
from facegate.training.provenance import may_be_used_for_anything
from facegate.training.recipe import FUSION, MEAN, STD, student_architecture

CALIBRATION_CROPS = 2000
BLOCKS = (0, 1, 2, 3)
"""Scored blocks, chosen with ``benchmarks/models/block_selection.py``."""
AGREEMENT_CROPS = 512
"""Crops on which bf16 is compared with fp32, half of them degraded."""
FORMATS: tuple[Dtype, Dtype] = ("fp32", "bf16")
CALIBRATION_LEVELS = (0, 1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99, 100)


def export_model(
    checkpoint: Path, target: Path, name: str, crops: NDArray[np.uint8], made_from: tuple[Ingredient, ...]
) -> None:
    """Write the averaged weights of ``checkpoint`` to ``target``.

    For each number that may stand for quality, the calibration table maps it to its percentile on ``crops``, half
    of them degraded (seed 0). The license follows from ``made_from``.
    """
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    card = ModelCard(
        name=name,
        architecture=student_architecture(),
        blocks=BLOCKS,
        calibration=dict.fromkeys(QUALITIES, IDENTITY),
        calibration_version="identity",
        quality="vitnt",
        fusion=FUSION,
        mean=MEAN,
        std=STD,
        license="Apache-2.0" if may_be_used_for_anything(made_from) else "see what it was made from",
        made_from=made_from,
        source=f"distilled from face-reidentification-retail-0095 and dlib's ResNet, {state['samples_done']} views",
    )
    average: dict[str, torch.Tensor] = state["average"]
    packed = {name: (v.half() if v.is_floating_point() else v).contiguous() for name, v in average.items()}
    _write(target, packed, card)
    views = degrade_half(crops, 0)
    scores = load_scorer(target, device="cpu", quality="vitnt").score(views)
    assert scores.norm is not None
    tables: dict[Quality, Table] = {
        "vitnt": _percentiles(scores.raw_score),
        "attention": _percentiles(scores.attention),
        "norm": _percentiles(scores.norm),
        "estimate": _percentiles(load_scorer(target, device="cpu", quality="estimate").score(views).raw_score),
    }
    card = msgspec.structs.replace(
        card,
        calibration=tables,
        calibration_version="pool-half-degraded-1",
        bf16=agrees_in_bf16(target, views[:: max(1, len(views) // AGREEMENT_CROPS)]),
    )
    _write(target, packed, card)


def agrees_in_bf16(model: Path, crops: NDArray[np.uint8]) -> bool:
    """Whether a model's scores and embeddings in bf16 are as close to fp32 as ``auto`` demands."""
    exact, coarse = (
        load_scorer(model, device="cpu", dtype=dtype, backend="torch").score(crops) for dtype in FORMATS
    )
    assert exact.embedding is not None and coarse.embedding is not None
    cosines = (unit(exact.embedding) * unit(coarse.embedding)).sum(1)
    rank = spearmanr(exact.raw_score, coarse.raw_score).statistic
    return bool(rank >= RANK_AGREEMENT and cosines.min() >= EMBEDDING_AGREEMENT)


def _write(target: Path, packed: dict[str, torch.Tensor], card: ModelCard) -> None:
    part = target.with_suffix(".part")
    save_file(packed, part, {CARD_KEY: msgspec.json.encode(card).decode()})
    part.replace(target)


def _percentiles(raw: NDArray[np.float32]) -> tuple[tuple[float, float], ...]:
    """Strictly rising (raw, quality) points; levels that coincide are merged."""
    points: list[tuple[float, float]] = []
    for level in CALIBRATION_LEVELS:
        value = float(np.percentile(raw.astype(np.float64), level))
        if not points or value > points[-1][0]:
            points.append((value, float(level)))
    return tuple(points)
