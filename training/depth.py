"""``python -m facegate.training.depth pool112.zip --recognizer y1.onnx``: learn how to weigh readings by depth.

Crops are degraded at random, and a recognizer says how much of each is left: the similarity to what it was. Weights
that never fall with depth are fitted to that by non-negative least squares over their increments, a set for each
number (:mod:`facegate.evaluation.research.depth`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import typer
from numpy.typing import NDArray
from scipy.optimize import nnls

from facegate.evaluation.degrade import degrade_one
from facegate.evaluation.research.depth import NUMBERS, DepthWeights, read
from facegate.recognition.embedders import load_embedder
from facegate.scoring.engine import load_scorer
from facegate.training.pool import load_pool

TOGETHER = 32
DIGITS = 4


def main(
    pool: Annotated[Path, typer.Argument(help="Zip of aligned 112x112 crops that no evaluation uses.")],
    recognizer: Annotated[str, typer.Option(help="ONNX recognizer that rates degraded crops.")],
    cache: Annotated[Path, typer.Option(help="File for the decoded pool.")] = Path("runs/pool.npy"),
    output: Annotated[Path, typer.Option(help="Output file.")] = Path("evaluation/research/depth.json"),
    crops: Annotated[int, typer.Option()] = 3000,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Learn weights by depth for the shipped model."""
    rng = np.random.default_rng(seed)
    cache.parent.mkdir(parents=True, exist_ok=True)
    loaded = load_pool(pool, cache)
    chosen = loaded.crops[np.sort(rng.choice(len(loaded.crops), crops, replace=False))]
    spoilt = np.stack([degrade_one(crop, rng) for crop in chosen])
    judge, scorer = load_embedder(recognizer), load_scorer(device="cpu", dtype="fp32", backend="torch")
    readings: dict[str, list[NDArray[np.float64]]] = {number: [] for number in NUMBERS}
    left = []
    for start in range(0, crops, TOGETHER):
        part = slice(start, start + TOGETHER)
        found = read(scorer, spoilt[part])
        for number in NUMBERS:
            readings[number].append(getattr(found, number).double().numpy())
        left.append((judge.embed(list(chosen[part])) * judge.embed(list(spoilt[part]))).sum(1))
    target = np.concatenate(left).astype(np.float64)
    weights = {number: rising(np.concatenate(readings[number]), target) for number in NUMBERS}
    output.write_bytes(msgspec.json.encode(DepthWeights(scorer.card.name, **weights)) + b"\n")
    typer.echo(weights)


def rising(readings: NDArray[np.float64], target: NDArray[np.float64]) -> list[float]:
    """Weights of standardized readings ``(N, K)`` that never fall from one to the next; they sum to one."""
    standard = (readings - readings.mean(0)) / readings.std(0)
    # A weight is the sum of the increments up to it: column k holds what the k-th increment adds to.
    steps = np.cumsum(standard[:, ::-1], axis=1)[:, ::-1]
    increments, _ = nnls(steps, target - target.mean())
    weights = np.cumsum(increments)
    return [round(float(weight), DIGITS) for weight in weights / weights.sum()]


if __name__ == "__main__":
    typer.run(main)
