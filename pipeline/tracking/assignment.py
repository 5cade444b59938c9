"""Which detection belongs to which track: overlaps, and the one-to-one assignment with the largest sum of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def overlaps(a: Matrix, b: Matrix) -> Matrix:
    """Intersection over union ``(N, M)`` of boxes ``(N, 4)`` and ``(M, 4)``, corners first."""
    corner = np.maximum(a[:, None, :2], b[None, :, :2])
    common = np.clip(np.minimum(a[:, None, 2:], b[None, :, 2:]) - corner, 0, None).prod(2)
    areas = (a[:, 2:] - a[:, :2]).prod(1)[:, None] + (b[:, 2:] - b[:, :2]).prod(1)[None]
    found: Matrix = common / np.maximum(areas - common, np.finfo(np.float64).tiny)
    return found


def best_pairs(similarity: Matrix) -> list[tuple[int, int]]:
    """Rows and columns of ``(N, M)`` paired one to one so that their similarities have the largest sum.

    Shortest augmenting paths (Jonker and Volgenant 1987): each row in turn takes a column, and rows that lose
    theirs move on, along the path that costs least. Sorted by row.
    """
    if similarity.shape[0] > similarity.shape[1]:
        return sorted((row, column) for column, row in best_pairs(similarity.T))
    cost = -similarity
    rows, columns = cost.shape
    row_price, column_price = np.zeros(rows), np.zeros(columns)
    row_of = np.full(columns, -1)
    for first in range(rows):
        shortest = np.full(columns, np.inf)
        before = np.full(columns, -1)
        visited = np.zeros(columns, bool)
        row, last, total = first, -1, 0.0
        while row >= 0:
            reduced = total + cost[row] - row_price[row] - column_price
            closer = ~visited & (reduced < shortest)
            shortest[closer], before[closer] = reduced[closer], last
            last = int(np.where(visited, np.inf, shortest).argmin())
            total, visited[last] = shortest[last], True
            row = int(row_of[last])
        # Prices keep every reduced cost at 0 or more for the rows that come.
        settled = visited & (row_of >= 0)
        row_price[first] += total
        row_price[row_of[settled]] += total - shortest[settled]
        column_price[visited] -= total - shortest[visited]
        while last >= 0:
            row_of[last] = first if before[last] < 0 else row_of[before[last]]
            last = int(before[last])
    taken = np.flatnonzero(row_of >= 0)
    return sorted(zip(row_of[taken].tolist(), taken.tolist(), strict=True))
