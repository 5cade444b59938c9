"""Detects drift of the mated similarity at equal quality, as by a dirty lens or other lighting.

Pure. The first named shots of a camera are the reference; recent ones are compared with reference shots of the same
quality. An alarm needs a shift that is both relevant and statistically significant (4 standard errors).
"""

from __future__ import annotations

from collections import deque

import msgspec
import numpy as np

REFERENCE, RECENT = 200, 100
"""Number of named shots in the reference and in the recent window."""
BINS = (20, 40, 60, 80)
"""Edges of the quality bins."""
MIN_IN_BIN = 8
MIN_SHIFT, SIGNIFICANCE = 0.05, 4.0
"""Minimum shift in cosine similarity, and in standard errors."""


class SimilarityShift(msgspec.Struct, frozen=True):
    """Mean cosine similarity of named shots of the same quality, before and after."""

    before: float
    after: float


class DriftDetector:
    """Drift detector of one camera."""

    def __init__(self, reference: list[tuple[int, float]], recent: list[tuple[int, float]]) -> None:
        """Continue from a saved state: pairs of quality (0..100) and similarity."""
        self.reference = list(reference[:REFERENCE])
        self.recent: deque[tuple[int, float]] = deque(recent, RECENT)

    def add(self, quality: int, similarity: float) -> None:
        """Take a named shot."""
        pair = (quality, round(similarity, 4))
        if len(self.reference) < REFERENCE:
            self.reference.append(pair)
        else:
            self.recent.append(pair)

    def shift(self) -> SimilarityShift | None:
        """Return the shift, or ``None`` if there is none."""
        if len(self.recent) < RECENT:
            return None
        before, after = (np.array(pairs, np.float64) for pairs in (self.reference, list(self.recent)))
        known, seen = (np.digitize(pairs[:, 0], BINS) for pairs in (before, after))
        shifts, variance, had, has = [], 0.0, [], []
        for group in range(len(BINS) + 1):
            old, new = before[known == group, 1], after[seen == group, 1]
            if len(old) < MIN_IN_BIN or not len(new):
                continue
            shifts += list(new - old.mean())
            variance += len(new) ** 2 * old.var(ddof=1) / len(old)
            had += [old.mean()] * len(new)
            has += list(new)
        if len(shifts) < RECENT // 2:
            return None
        shift = float(np.mean(shifts))
        error = float(np.sqrt(np.var(shifts, ddof=1) / len(shifts) + variance / len(shifts) ** 2))
        if abs(shift) < max(MIN_SHIFT, SIGNIFICANCE * error):
            return None
        return SimilarityShift(round(float(np.mean(had)), 3), round(float(np.mean(has)), 3))
