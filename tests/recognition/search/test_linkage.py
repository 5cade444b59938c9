"""Complete linkage, against merging the closest clusters one by one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from facegate.recognition.matching.linkage import complete_linkage


def one_by_one(distances: NDArray[np.float64], limit: float) -> set[frozenset[int]]:
    clusters = [frozenset([row]) for row in range(len(distances))]
    while len(clusters) > 1:
        farthest, first, second = min(
            (max(distances[i, j] for i in a for j in b), k, m)
            for k, a in enumerate(clusters)
            for m, b in enumerate(clusters[:k])
        )
        if farthest > limit:
            break
        clusters = [c for i, c in enumerate(clusters) if i not in (first, second)] + [
            clusters[first] | clusters[second]
        ]
    return set(clusters)


@pytest.mark.parametrize("seed", range(20))
def test_clusters_are_those_of_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 1, (6, 8))[rng.integers(0, 6, 24)] + rng.normal(0, 0.6, (24, 8))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    distances, limit = 1 - points @ points.T, float(rng.uniform(0.1, 1.2))
    wanted = one_by_one(distances, limit)
    labels = complete_linkage(distances.copy(), limit)
    found = {frozenset(row for row, label in enumerate(labels) if label == each) for each in set(labels)}
    assert found == wanted
