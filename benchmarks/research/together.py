"""9: with the norm and the estimate: complementary, or the same?

    python -m benchmarks.research.together

Rank correlations with mated similarity on LFW folds 1-4, alone and once what the others explain is taken out;
then ratios of their fusions (mean of ranks), against ViTNT-FIQA alone, by both recognizers. Clean and half
degraded.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy.stats import rankdata

from benchmarks.research.common import Array, begin, lfw, mated_similarity, partial_spearman, ratios, spearman
from facegate.evaluation.methods.baselines import LaplacianQuality
from facegate.scoring.engine import load_scorer

RESAMPLES = 200


def main() -> None:
    arguments = begin(__doc__)
    for degraded in (None, arguments.seed):
        photographs = lfw(arguments.data, degraded)
        crops = photographs.faces.crops
        found: dict[str, Array] = {}
        for name in ("vitnt", "attention", "norm", "estimate"):
            scorer = load_scorer(device="cpu", quality=name)
            found[name] = scorer.score(crops).raw_score.astype(np.float64)
        found["sharpness"] = LaplacianQuality().score(photographs.faces, lambda done, total: None)
        print("clean" if degraded is None else "half degraded")
        for judge in photographs.judges:
            mated = mated_similarity(photographs, judge)
            known = ~np.isnan(mated)
            rng = np.random.default_rng(arguments.seed)
            rows = np.flatnonzero(known)
            for name, scores in found.items():
                told = spearman(scores[known], mated[known], arguments.seed)
                others = [values for other, values in found.items() if other not in (name, "sharpness")]
                partial = partial_spearman(scores[known], mated[known], [values[known] for values in others])
                drawn = []
                for _ in range(RESAMPLES):
                    some = rng.choice(rows, len(rows))
                    drawn.append(partial_spearman(scores[some], mated[some], [values[some] for values in others]))
                low, high = np.percentile(drawn, [2.5, 97.5])
                print(
                    f"  {judge:6} {name:10} with similarity {told[0]:+.2f} ({told[1]:+.2f} to {told[2]:+.2f}); "
                    f"beyond the others {partial:+.2f} ({low:+.2f} to {high:+.2f})"
                )
        ranks = {name: rankdata(values) for name, values in found.items() if name != "sharpness"}
        fused = {"vitnt": found["vitnt"]}
        for size in (2, 3, 4):
            for names in combinations(ranks, size):
                fused["+".join(names)] = np.mean([ranks[name] for name in names], axis=0)
        print(ratios(photographs, fused, "vitnt", arguments.seed), flush=True)


if __name__ == "__main__":
    main()
