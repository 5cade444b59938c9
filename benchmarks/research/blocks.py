"""2: which blocks, how many, on which ViT? And can they be found without labels?

    python -m benchmarks.research.blocks

Every range of blocks of the shipped network, from one pass; ratios by both recognizers on LFW folds 1-4 with
half of it degraded. Without labels: how well a range agrees, by rank, with all others; how steeply its score
falls when crops are degraded; how widely its scores spread. Each rule is judged by its rank correlation with
the ratio.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.models.block_selection import paths
from benchmarks.research.common import FMR, LIMIT, Array, begin, lfw, ratios
from facegate.evaluation.degrade import degrade_one
from facegate.evaluation.edc import edc
from facegate.scoring.engine import Scorer, load_scorer


def ways(scorer: Scorer, crops: NDArray[np.uint8]) -> tuple[Array, Array]:
    """Distance of each patch's step from block to block ``(N, L - 1, P)``, and attention received ``(N, L, P)``."""
    steps, received = paths(scorer, crops)
    return steps.transpose(0, 1).double().numpy(), received.transpose(0, 1).double().numpy()


def by_range(steps: Array, received: Array, alpha: float) -> dict[tuple[int, int], Array]:
    """ViTNT-FIQA of every range of blocks."""
    depth = received.shape[1]
    found = {}
    for first, last in combinations(range(depth), 2):
        patches = 2 / (1 + np.exp(alpha * steps[:, first:last].mean(1)))
        weights = received[:, last]
        found[first, last] = (patches * weights).sum(1) / weights.sum(1)
    return found


def main() -> None:
    arguments = begin(__doc__)
    photographs = lfw(arguments.data, degraded=arguments.seed)
    scorer = load_scorer(device="cpu", dtype="fp32", backend="torch", quality="vitnt")
    crops = photographs.faces.crops
    found = by_range(*ways(scorer, crops), scorer.settings.alpha)
    rng = np.random.default_rng(arguments.seed)
    chosen = crops[rng.choice(len(crops), 400, replace=False)]
    worse = np.stack([degrade_one(crop, rng) for crop in chosen])
    before, after = (by_range(*ways(scorer, each), scorer.settings.alpha) for each in (chosen, worse))
    names = list(found)
    agree = np.array([[abs(spearmanr(found[a], found[b]).statistic) for b in names] for a in names])
    rules = {
        "agreement with all ranges": np.array([agree[i].mean() for i in range(len(names))]),
        "fall when degraded (d')": np.array(
            [(before[r] - after[r]).mean() / (before[r] - after[r]).std() for r in names]
        ),
        "spread of log scores": np.array([np.log(found[r]).std() for r in names]),
        "number of blocks": np.array([float(last - first + 1) for first, last in names]),
    }
    table = {
        name: [edc(judge.comparisons, found[r], FMR, LIMIT).ratio for r in names]
        for name, judge in photographs.judges.items()
    }
    print("range   blocks   " + "   ".join(f"ratio by {name}" for name in table) + "   " + "   ".join(rules))
    for i, (first, last) in enumerate(names):
        values = "   ".join(f"{table[name][i]:14.3f}" for name in table)
        print(
            f"{first}-{last}     {last - first + 1}     {values}   "
            + "   ".join(f"{rules[r][i]:12.3f}" for r in rules)
        )
    for rule, marks in rules.items():
        told = ", ".join(f"{name} {spearmanr(marks, [-v for v in table[name]]).statistic:+.2f}" for name in table)
        first, last = names[int(marks.argmax())]
        print(f"{rule}: rank correlation with a low ratio {told}; it would choose {first}-{last}")
    best = {name: names[int(np.argmin(table[name]))] for name in table}
    shown = {f"{a}-{b}": found[a, b] for a, b in {(2, 5), (0, 5), (4, 5), *best.values()}}
    print(ratios(photographs, shown, "2-5", arguments.seed))


if __name__ == "__main__":
    main()
