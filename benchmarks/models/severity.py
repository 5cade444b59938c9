"""Does the score fall as a picture gets worse? Mean score by kind and severity of degradation, and a figure.

    python -m benchmarks.models.severity --set web112.zip --plot docs/research/severity.png

Spearman is between severity (eleven steps) and the mean score at that step; -1 is a score that never rises.
"""

from __future__ import annotations

import argparse
import zlib
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from facegate.detectors.base import load_detector
from facegate.evaluation.cameras import CAMERA_KINDS
from facegate.evaluation.datasets import load_set
from facegate.evaluation.degrade import KINDS
from facegate.scoring.backend_selection import cache_folder
from facegate.scoring.engine import load_scorer

STEPS = 11
QUALITIES = ("vitnt", "estimate")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--set", type=Path, required=True)
    parser.add_argument("--crops", type=int, default=60)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--weights", type=Path, help="Another model than the shipped one.")
    arguments = parser.parse_args()
    crops = load_set(arguments.set, load_detector("mtcnn"), cache_folder()).crops
    crops = crops[:: max(1, len(crops) // arguments.crops)][: arguments.crops]
    severities = np.linspace(0, 1, STEPS)
    means: dict[str, dict[str, list[float]]] = {}
    scorers = {}
    for quality in QUALITIES:
        scorers[quality] = load_scorer(arguments.weights, quality=quality, device="cpu")  # type: ignore[arg-type]
        means[quality] = {}
    for kind, degrade in (KINDS | CAMERA_KINDS).items():
        for severity in severities:
            views = np.stack(
                [
                    degrade(crop, float(severity), np.random.default_rng(zlib.crc32(f"{kind}{i}".encode())))
                    for i, crop in enumerate(crops)
                ]
            )
            for quality, scorer in scorers.items():
                means[quality].setdefault(kind, []).append(float(scorer.score(views).quality.mean()))
    for quality, kinds in means.items():
        falls = {kind: float(spearmanr(severities, values).statistic) for kind, values in kinds.items()}
        good = sum(value <= -0.8 for value in falls.values())
        listed = "  ".join(f"{kind} {value:+.2f}" for kind, value in falls.items())
        print(f"{quality:10s} {good} of {len(falls)} kinds at -0.8 or below: {listed}")
    if arguments.plot:
        plot(severities, means[scorers["vitnt"].card.quality], scorers["vitnt"].card.quality, arguments.plot)


def plot(
    severities: np.ndarray[tuple[int], np.dtype[np.float64]],
    kinds: dict[str, list[float]],
    quality: str,
    path: Path,
) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 4), constrained_layout=True)
    for kind, values in kinds.items():
        axis.plot(severities, values, marker="o", markersize=3, label=kind.replace("_", " "))
    axis.set(xlabel="severity", ylabel=f"mean quality ({quality})", ylim=(0, 100), xlim=(0, 1))
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, ncols=2)
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
