"""Asking again: what a track still offers when its recognizer was not sure. Pure; the gate decides when.

One best shot is one chance. Of faces that are about as good, the one that looks least like what was sent, by its
embedding, tells a recognizer most.
"""

from __future__ import annotations

import numpy as np

from facegate.pipeline.records import Floats, ScoredFace
from facegate.pipeline.tracking.identity import unit_embedding

MAX_RESERVES = 8
"""Kept for each track. With 6 to 32 the same visits are identified."""
FIRST_FOLLOWUP_DELAY_S = 0.5
"""A track that goes on is asked again so long after an unsure answer, then after twice as long, and so on."""


class ReserveShots:
    """The faces of one track that may be asked for, and what was sent of it."""

    def __init__(self) -> None:
        self._kept: list[ScoredFace] = []
        self._sent: list[Floats] = []

    def add(self, face: ScoredFace) -> list[ScoredFace]:
        """Take a face; return the one that is let go for it, perhaps itself."""
        self._kept.append(face)
        if len(self._kept) <= MAX_RESERVES:
            return []
        worst = min(self._kept, key=lambda kept: kept.rank)
        self._kept.remove(worst)
        return [worst]

    def record_sent(self, face: ScoredFace) -> None:
        """A face of the track was sent."""
        unit = unit_embedding(face)
        if unit is not None:
            self._sent.append(unit)

    def take_best(self) -> ScoredFace | None:
        """The best that is different from what was sent: the very same, by its embedding, counts for nothing."""
        if not self._kept:
            return None
        best = max(
            self._kept, key=lambda face: (face.rank[0] * (1 - self._similarity_to_sent(face)), face.raw_score)
        )
        self._kept.remove(best)
        return best

    def clear(self) -> list[ScoredFace]:
        """Let all go."""
        let_go, self._kept = self._kept, []
        return let_go

    def _similarity_to_sent(self, face: ScoredFace) -> float:
        unit = unit_embedding(face)
        if unit is None or not self._sent:
            return 0.0
        return max(0.0, float((np.stack(self._sent) @ unit).max()))
