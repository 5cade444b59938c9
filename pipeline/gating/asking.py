"""Asking again: what a track still offers when its recogniser was not sure. Pure; the gate decides when.

One best shot is one chance. A face that is *different* (another moment, and far in embedding from what was sent)
tells a recogniser more than another of the same moment, however good that one is.
"""

from __future__ import annotations

import numpy as np

from facegate.pipeline.gating.policies import unit_embedding
from facegate.pipeline.records import Floats, ScoredFace

MOST_SPARES = 8
"""Kept for each track."""
APART_S = 0.2
"""Of two faces closer to each other than this only the better is worth a shot."""
LIKENESS = 30.0
"""Points of quality that a face loses which is the very same, by its embedding, as one that was sent."""
FIRST_WAIT_S = 0.5
"""A track that goes on is asked again so long after an unsure answer, then after twice as long, and so on."""


class Spares:
    """The faces of one track that may be asked for, and what was sent of it."""

    def __init__(self) -> None:
        self._kept: list[ScoredFace] = []
        self._sent_s: list[float] = []
        self._sent: list[Floats] = []

    def add(self, face: ScoredFace) -> list[ScoredFace]:
        """Take a face; return those that are let go for it, perhaps itself."""
        at = face.face.frame.pts_s
        if any(abs(at - sent_s) < APART_S for sent_s in self._sent_s):
            return [face]
        near = [other for other in self._kept if abs(other.face.frame.pts_s - at) < APART_S]
        if any(_rank(other) >= _rank(face) for other in near):
            return [face]
        self._kept = [other for other in self._kept if other not in near] + [face]
        if len(self._kept) <= MOST_SPARES:
            return near
        worst = min(self._kept, key=_rank)
        self._kept.remove(worst)
        return [*near, worst]

    def sent(self, face: ScoredFace) -> list[ScoredFace]:
        """A face of the track was sent; return the spares that are no news any more."""
        at = face.face.frame.pts_s
        self._sent_s.append(at)
        unit = unit_embedding(face)
        if unit is not None:
            self._sent.append(unit)
        near = [other for other in self._kept if abs(other.face.frame.pts_s - at) < APART_S]
        self._kept = [other for other in self._kept if other not in near]
        return near

    def take(self) -> ScoredFace | None:
        """The best that is different from what was sent."""
        if not self._kept:
            return None
        best = max(self._kept, key=lambda face: (face.quality - self._known(face), face.raw))
        self._kept.remove(best)
        return best

    def clear(self) -> list[ScoredFace]:
        """Let all go."""
        let_go, self._kept = self._kept, []
        return let_go

    def _known(self, face: ScoredFace) -> float:
        unit = unit_embedding(face)
        if unit is None or not self._sent:
            return 0.0
        return LIKENESS * float((np.stack(self._sent) @ unit).max())


def _rank(face: ScoredFace) -> tuple[int, float]:
    return face.quality, face.raw
