"""``python -m facegate.training.advice pool112.zip``: learn which advice helps, from counterfactuals.

Faces of good quality get each of seven defects (:mod:`facegate.evaluation.research.defects`); the detector finds
them again, and the score says what undoing the defect would win. A multinomial logistic regression tells the
defects apart.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import cv2
import msgspec
import numpy as np
import typer
from numpy.typing import NDArray
from scipy.optimize import minimize

from facegate.detectors.align import align
from facegate.detectors.base import Detector, load_detector
from facegate.evaluation.research.defects import DEFECTS
from facegate.pipeline.quality.advice import AdviceModel, Defect, features
from facegate.pipeline.quality.components import measure
from facegate.pipeline.records import Image
from facegate.scoring.engine import Scorer, load_scorer

GOOD_QUALITY = 60
"""Minimum quality of an unmodified face; poorer ones may already have a defect."""
BORDER = 69
"""Border around a crop, replicated pixels, so that a detector finds the face."""
PENALTY = 1e-3
DIGITS = 5

Row = tuple[NDArray[np.float32], float]
"""Features and quality."""


def main(
    pool: Annotated[Path, typer.Argument(help="Zip of aligned 112x112 crops that no evaluation uses.")],
    output: Annotated[Path, typer.Option(help="Output file.")] = Path("pipeline/quality/advice.json"),
    faces: Annotated[int, typer.Option(help="Faces of good quality to learn from.")] = 1500,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Learn which advice helps the shipped model's score."""
    detector, scorer = load_detector("mtcnn"), load_scorer()
    rng = np.random.default_rng(seed)
    rows: list[NDArray[np.float32]] = []
    causes: list[int] = []
    wins: list[list[tuple[float, float]]] = [[] for _ in DEFECTS]
    used = 0
    for frame in pictures(pool, rng):
        good = seen_in(frame, detector, scorer)
        found = detector.detect([frame])[0]
        if good is None or good[1] < GOOD_QUALITY:
            continue
        rows.append(good[0])
        causes.append(0)
        for cause, name in enumerate(Defect):
            bad = seen_in(DEFECTS[name](frame, found[0].landmarks, rng), detector, scorer)
            if bad is not None:
                rows.append(bad[0])
                causes.append(cause + 1)
                wins[cause].append((bad[1], good[1] - bad[1]))
        used += 1
        if used == faces:
            break
    weights = regression(np.stack(rows), np.array(causes))
    gains = [line(np.array(pairs)) for pairs in wins]
    learned = AdviceModel(scorer.card.name, np.round(weights, DIGITS).tolist(), gains)
    output.write_bytes(msgspec.json.encode(learned) + b"\n")
    each = ", ".join(f"{name} {len(pairs)}" for name, pairs in zip(Defect, wins, strict=True))
    typer.echo(f"{used} faces, {len(rows)} pictures: {each}")


def line(pairs: NDArray[np.float64]) -> list[float]:
    """Intercept and slope of the gain from undoing a defect; ``(N, 2)``: quality with it, points gained."""
    slope, constant = np.polyfit(pairs[:, 0], pairs[:, 1], 1)
    return [round(float(constant), DIGITS), round(float(slope), DIGITS)]


def pictures(pool: Path, rng: np.random.Generator) -> Iterator[Image]:
    """Crops of the pool in random order, with a border."""
    with zipfile.ZipFile(pool) as archive:
        for name in rng.permutation(sorted(archive.namelist())):
            decoded: Any = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR)
            if decoded is not None:
                whole = cv2.copyMakeBorder(decoded, BORDER, BORDER, BORDER, BORDER, cv2.BORDER_REPLICATE)
                yield cv2.cvtColor(whole, cv2.COLOR_BGR2RGB)


def seen_in(frame: Image, detector: Detector, scorer: Scorer) -> Row | None:
    """Features and quality of the face with the highest detector confidence."""
    found = detector.detect([frame])[0]
    if not found:
        return None
    crop = align(frame, found[0].landmarks)
    scores = scorer.score(crop[None], embedding=False)
    quality = float(scores.quality[0])
    seen = measure(crop, found[0], (frame.shape[1], frame.shape[0]))
    return features(seen, scores.patches[0], quality), quality


def regression(rows: NDArray[np.float32], causes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Class-balanced multinomial logistic regression with a ridge: weights ``(C, F + 1)`` for raw features."""
    middle, spread = rows.mean(0), rows.std(0) + 1e-6
    x = np.hstack([(rows - middle) / spread, np.ones((len(rows), 1))]).astype(np.float64)
    count = int(causes.max()) + 1
    fair = (1.0 / np.bincount(causes, minlength=count))[causes]
    fair /= fair.mean()
    mine = np.arange(len(x)), causes

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        w = flat.reshape(x.shape[1], count)
        odds = x @ w
        odds -= odds.max(1, keepdims=True)
        likely = np.exp(odds)
        likely /= likely.sum(1, keepdims=True)
        value = -(fair * np.log(likely[mine] + 1e-12)).mean() + PENALTY * np.square(w[:-1]).sum()
        likely[mine] -= 1.0
        slope = x.T @ (likely * fair[:, None]) / len(x)
        slope[:-1] += 2 * PENALTY * w[:-1]
        return float(value), slope.ravel()

    start = np.zeros(x.shape[1] * count)
    w = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x.reshape(x.shape[1], count).T
    plain = w[:, :-1] / spread
    return np.hstack([plain, (w[:, -1] - plain @ middle)[:, None]])


if __name__ == "__main__":
    typer.run(main)
