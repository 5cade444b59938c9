"""3 and 5: Euclidean or cosine? And does alpha matter, and can it be set without labels?

    python -m benchmarks.research.distances

On LFW folds 1-4, clean and half degraded. Alpha only shapes how patches are averaged; the label-free rules are the
alpha at which raw scores spread most (standard deviation), and at which their histogram over 0..1 has the highest
entropy.
"""

from __future__ import annotations

import numpy as np

from benchmarks.research.blocks import by_range, ways
from benchmarks.research.common import Array, begin, lfw, ratios
from facegate.scoring.engine import load_scorer

ALPHAS = (0.25, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


def entropy(scores: Array) -> float:
    share = np.histogram(scores, 50, (0.0, 1.0))[0] / len(scores)
    return float(-(share[share > 0] * np.log(share[share > 0])).sum())


def main() -> None:
    arguments = begin(__doc__)
    fixed = {"device": "cpu", "dtype": "fp32", "backend": "torch", "quality": "vitnt"}
    for degraded in (None, arguments.seed):
        photographs = lfw(arguments.data, degraded)
        crops = photographs.faces.crops
        print("clean" if degraded is None else "half degraded")
        found = {}
        for distance in ("euclidean", "cosine"):
            scorer = load_scorer(distance=distance, **fixed)  # type: ignore[arg-type]
            found[distance] = scorer.score(crops, embedding=False).raw_score.astype(np.float64)
        print(ratios(photographs, found, "euclidean", arguments.seed), flush=True)
        plain = load_scorer(**fixed)  # type: ignore[arg-type]
        steps, received = ways(plain, crops)
        by_alpha = {alpha: by_range(steps, received, alpha)[2, 5] for alpha in ALPHAS}
        for alpha, scores in by_alpha.items():
            print(f"  alpha {alpha:5g}: spread {scores.std():.4f}, entropy {entropy(scores):.2f}")
        named = {f"alpha {alpha:g}": scores for alpha, scores in by_alpha.items()}
        print(ratios(photographs, named, f"alpha {plain.settings.alpha:g}", arguments.seed), flush=True)


if __name__ == "__main__":
    main()
