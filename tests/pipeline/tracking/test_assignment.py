"""Assignment: the largest sum of similarities, as by trying every permutation."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from facegate.pipeline.tracking.assignment import best_pairs, overlaps


@pytest.mark.parametrize("seed", range(40))
def test_the_sum_is_the_largest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    similarity = rng.random((rng.integers(1, 6), rng.integers(1, 6)))
    similarity[similarity < rng.choice([0, 0.6])] = 0
    rows, columns = similarity.shape
    pairs = best_pairs(similarity)
    assert (
        len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs) == min(rows, columns)
    )
    tall = similarity if rows >= columns else similarity.T
    best = max(
        sum(tall[row, column] for column, row in enumerate(chosen))
        for chosen in permutations(range(len(tall)), tall.shape[1])
    )
    assert sum(similarity[pair] for pair in pairs) == pytest.approx(best)


def test_overlaps_of_boxes() -> None:
    a = np.array([[0, 0, 10, 10], [20, 20, 30, 30]], float)
    b = np.array([[5, 0, 15, 10], [0, 0, 10, 10], [5, 5, 5, 5]], float)
    assert overlaps(a, b) == pytest.approx(np.array([[1 / 3, 1, 0], [0, 0, 0]]))
