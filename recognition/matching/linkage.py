"""Complete-linkage clustering: any two members of a cluster are close enough."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def complete_linkage(distances: NDArray[np.float64], limit: float) -> list[int]:
    """Cluster by pairwise distances ``(N, N)``; return a label for each row, the first row of its cluster.

    Clusters merge, closest first, as long as no two of their members are farther apart than ``limit``. By
    nearest-neighbor chains (Murtagh 1983), in time of N². The work matrix is ``distances`` itself.
    """
    count = len(distances)
    label = np.arange(count)
    distances[distances > limit] = np.inf
    np.fill_diagonal(distances, np.inf)
    open_rows = set(range(count))
    chain: list[int] = []
    while open_rows:
        if not chain:
            chain.append(min(open_rows))
        last = chain[-1]
        nearest = int(distances[last].argmin())
        if not np.isfinite(distances[last, nearest]):  # distances only grow: this cluster is complete
            open_rows.discard(chain.pop())
        elif len(chain) > 1 and distances[last, chain[-2]] <= distances[last, nearest]:
            first, second = sorted((chain.pop(), chain.pop()))
            distances[first] = distances[:, first] = np.maximum(distances[first], distances[second])
            distances[second] = distances[:, second] = np.inf
            distances[first, first] = np.inf
            label[label == second] = first
            open_rows.discard(second)
        else:
            chain.append(nearest)
    return [int(each) for each in label]
