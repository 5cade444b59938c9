"""What the embeddings of the reference faces say about a network and its input. Pure."""

from __future__ import annotations

import msgspec
import numpy as np

from facegate.pipeline.records import Floats
from facegate.recognition.embedders import unit

ALIKE = 0.97
"""Mean similarity of different people from which a network tells nobody apart."""


class Relations(msgspec.Struct, frozen=True):
    """Similarities within and between people."""

    separation: float
    """Distance of the two distributions of similarities in standard deviations (d', ISO/IEC 19795-1)."""
    mated: float
    """Mean similarity of one person in different conditions."""
    non_mated: float
    """Mean similarity of different people."""
    spread: float
    """Standard deviation of the similarity of different people."""


def relations(rows: Floats, people: int) -> Relations:
    """Relations among embeddings ``(people * conditions, D)`` of any length, ordered by people."""
    similarities = unit(rows) @ unit(rows).T
    whose = np.arange(len(rows)) // (len(rows) // people)
    same = whose[:, None] == whose[None]
    above = np.triu(np.ones_like(same), 1)
    mated, non_mated = similarities[same & above], similarities[~same & above]
    deviation = float(np.sqrt((mated.var() + non_mated.var()) / 2))
    return Relations(
        float(mated.mean() - non_mated.mean()) / max(deviation, 1e-9),
        float(mated.mean()),
        float(non_mated.mean()),
        float(non_mated.std()),
    )
