"""A thousand weeks of made-up cameras whose truth is known: does ``gate.keep`` hold, and what does it cost?

    python -m benchmarks.gate.keeping

Each camera has a distribution of its visits' best qualities and a chance of a name for each quality, both random.
Printed: the share of weeks in which at least 98.5 % of the identifications were kept after the warm-up (``keep:
0.99``), calls as a multiple of those with the threshold that hindsight would choose, and how often the stated
interval held the truth.
"""

from __future__ import annotations

import argparse
import logging

import numpy as np
import structlog

from benchmarks.host_info import cpu
from tests.pipeline.gating.test_recall_threshold import live, week


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weeks", type=int, default=1000)
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    rng = np.random.default_rng(0)
    shares, ratios, covered = [], [], []
    for number in range(arguments.weeks):
        best, named, chance = week(rng)
        recall, kept, ratio = live(best, named, str(number))
        truth, loss = np.bincount(best, minlength=101) * chance, recall.loss()
        shares.append(kept)
        ratios.append(ratio)
        covered.append(loss.low <= truth[: recall.threshold].sum() / truth.sum() <= loss.high)
    print(cpu(), f"{arguments.weeks} weeks", sep="; ")
    print(f"kept at least 98.5 % in {100 * np.mean(np.array(shares) >= 0.985):.1f} % of the weeks")
    median, most, worst = np.percentile(ratios, (50, 95, 100))
    print(f"calls over hindsight's: {median:.3f} (median), {most:.3f} (95 %), {worst:.3f} (worst)")
    print(f"the interval held the truth in {100 * np.mean(covered):.1f} %")


if __name__ == "__main__":
    main()
