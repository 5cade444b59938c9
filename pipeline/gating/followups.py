"""Follow-up shots: a track's reserve faces, for inconclusive recognition. Pure; the gate decides when.

Among faces of similar quality, the one that differs most from the shots already sent, by its embedding, gives the
recognizer the most information.
"""

from __future__ import annotations

import numpy as np

from facegate.pipeline.records import Floats, ScoredFace
from facegate.pipeline.tracking.identity import unit_embedding

MAX_RESERVES = 8
"""Reserve faces per track. From 6 to 32 the same visits are identified."""
MIN_WIDTH_PX = 28
"""Narrower faces are no follow-ups: strangers far away would be sent again and again, in vain."""
FIRST_FOLLOWUP_DELAY_S = 0.5
"""Seconds from inconclusive feedback to the first follow-up of a live track; doubled for each further one."""


class ReserveShots:
    """The reserve faces of one track, and the embeddings of its shots."""

    def __init__(self) -> None:
        self._kept: list[ScoredFace] = []
        self._sent: list[Floats] = []

    def add(self, face: ScoredFace) -> list[ScoredFace]:
        """Take a face; return the faces dropped for it, perhaps itself."""
        if face.face.detection.width < MIN_WIDTH_PX:
            return [face]
        self._kept.append(face)
        if len(self._kept) <= MAX_RESERVES:
            return []
        worst = min(self._kept, key=lambda kept: kept.rank)
        self._kept.remove(worst)
        return [worst]

    def record_sent(self, face: ScoredFace) -> None:
        """Note that a face of the track was sent."""
        unit = unit_embedding(face)
        if unit is not None:
            self._sent.append(unit)

    def take_best(self) -> ScoredFace | None:
        """Remove and return the face with the best product of quality and difference from the shots sent."""
        if not self._kept:
            return None
        best = max(
            self._kept, key=lambda face: (face.rank[0] * (1 - self._similarity_to_sent(face)), face.raw_score)
        )
        self._kept.remove(best)
        return best

    def clear(self) -> list[ScoredFace]:
        """Drop and return all."""
        dropped, self._kept = self._kept, []
        return dropped

    def _similarity_to_sent(self, face: ScoredFace) -> float:
        unit = unit_embedding(face)
        if unit is None or not self._sent:
            return 0.0
        return max(0.0, float((np.stack(self._sent) @ unit).max()))
