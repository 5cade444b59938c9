"""What the embeddings of the reference faces say about a network and its input. Pure."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from facegate.pipeline.records import Floats

COMPARABLE = 1.25
"""Ratio of separations up to which evidence decides between two inputs; beyond it the separation does."""
CLEAR = 2.5
"""Evidence from which another input is clearly better."""
MAX_LENGTH_EVIDENCE = 6.0


class Relations(msgspec.Struct, frozen=True, eq=False):
    """Similarities within and between people."""

    separation: float
    """Distance of the two distributions of similarities in standard deviations (d')."""
    mated: float
    """Mean similarity of one person in different conditions."""
    non_mated: float
    """Mean similarity of different people."""
    between: NDArray[np.float64]
    """``(P, P)`` mean similarity of two people in the same condition."""
    lengths: NDArray[np.float64]
    """``(P,)`` mean logarithm of the lengths of the embeddings; 0 if they have unit length."""


def relations(rows: Floats, people: int) -> Relations:
    """Relations among embeddings ``(people * conditions, D)`` of any length, ordered by people."""
    lengths = np.maximum(np.linalg.norm(rows, axis=1).astype(np.float64), 1e-12)
    unit = rows / lengths[:, None]
    similarities = unit @ unit.T
    conditions = len(rows) // people
    whose = np.arange(len(rows)) // conditions
    same = whose[:, None] == whose[None]
    above = np.triu(np.ones_like(same), 1)
    mated, non_mated = similarities[same & above], similarities[~same & above]
    deviation = float(np.sqrt((mated.var() + non_mated.var()) / 2))
    blocks = similarities.reshape(people, conditions, people, conditions)
    return Relations(
        separation=float(mated.mean() - non_mated.mean()) / max(deviation, 1e-9),
        mated=float(mated.mean()),
        non_mated=float(non_mated.mean()),
        between=np.einsum("icjc->ij", blocks) / conditions,
        lengths=np.log(lengths).reshape(people, conditions).mean(1),
    )


def mean_similarity(rows: Floats) -> float:
    """Mean similarity of embeddings ``(N, D)`` of different people."""
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    total = float(np.square(unit.sum(0)).sum())
    return (total - len(rows)) / (len(rows) * (len(rows) - 1))


def evidence(own: Relations, other: Relations) -> float:
    """Evidence that another input of the same network is the one that it was trained with.

    With the right input, people resemble each other less and embeddings are longer. Both are compared person by
    person; the result is the sum of two t values, and the same with the opposite sign if the two change places.
    """
    people = len(own.lengths)
    pairs = own.between - other.between
    np.fill_diagonal(pairs, 0.0)
    total, each = pairs.sum(), pairs.sum(1)
    without = (total - 2 * each) / ((people - 1) * (people - 2))  # jackknife over people
    error = float(np.sqrt((people - 1) / people * ((without - without.mean()) ** 2).sum()))
    alike = float(total) / (people * (people - 1)) / max(error, 1e-9)
    longer = other.lengths - own.lengths
    length = float(longer.mean() / max(longer.std(ddof=1), 1e-6) * np.sqrt(people))
    return alike + float(np.clip(length, -MAX_LENGTH_EVIDENCE, MAX_LENGTH_EVIDENCE))


def is_better(own: Relations, other: Relations, at_least: float = 0.0) -> bool:
    """Whether another input suits a network better, with evidence above ``at_least`` where that decides."""
    if other.separation > COMPARABLE * own.separation:
        return True
    return own.separation <= COMPARABLE * other.separation and evidence(own, other) > at_least


def reason(own: Relations, other: Relations) -> str:
    """Why another input is better, for display."""
    if other.separation > COMPARABLE * own.separation:
        return f"separation {other.separation:.1f} instead of {own.separation:.1f}"
    return f"evidence {evidence(own, other):.1f}, where {CLEAR:g} is clear"
