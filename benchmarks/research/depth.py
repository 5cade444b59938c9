"""Fused over depth (EX-FIQA's idea): better than the single best block?

    python -m benchmarks.research.depth

ViTNT-FIQA, the attention score and the estimate of the shipped network, read after every block on LFW folds
1-4, clean and half degraded; fused with weights that grow linearly with depth, and with monotone ones learned
on other crops. Each is held against the block that hindsight would have chosen for that number, set and
recognizer.
"""

from __future__ import annotations

import msgspec

from benchmarks.research.common import FMR, LIMIT, Array, begin, lfw, ratios
from facegate.evaluation.edc import edc
from facegate.evaluation.research.depth import NUMBERS, WEIGHTS, DepthQuality
from facegate.scoring.engine import load_scorer


def main() -> None:
    arguments = begin(__doc__)
    scorer = load_scorer(device="cpu", dtype="fp32", backend="torch", quality="vitnt")
    for degraded in (None, arguments.seed):
        photographs = lfw(arguments.data, degraded)
        print("clean" if degraded is None else "half degraded")
        for number in NUMBERS:
            blocks = scorer.settings.blocks[1:] if number == "vitnt" else range(scorer.card.architecture.depth)
            found: dict[str, Array] = {
                f"{number}@{what}": DepthQuality(scorer, number, what).score(photographs.faces, lambda a, b: None)
                for what in (*blocks, *WEIGHTS)
            }
            for name, judge in photographs.judges.items():
                one = {
                    what: edc(judge.comparisons, scores, FMR, LIMIT).ratio
                    for what, scores in found.items()
                    if what.partition("@")[2] not in WEIGHTS
                }
                best = min(one, key=lambda what: one[what])
                wanted = {what: found[what] for what in (best, *(f"{number}@{weights}" for weights in WEIGHTS))}
                alone = msgspec.structs.replace(photographs, judges={name: judge})
                print(ratios(alone, wanted, best, arguments.seed), flush=True)


if __name__ == "__main__":
    main()
