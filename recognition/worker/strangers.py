"""Unknown visitors with a number that lasts: who was here before, without a name.

An unknown visitor is to the worker what a person is to a gallery: a template, here of the faces of earlier visits,
and a rule that bounds how often somebody new is taken for one of them. Faces that a user has taken out of an
unknown visitor count against it as rejected pictures count against a person.
"""

from __future__ import annotations

import msgspec
import numpy as np
import structlog

from facegate.errors import GalleryError
from facegate.pipeline.records import Floats
from facegate.recognition.embedders import Embedder, unit
from facegate.recognition.enrollment.unknowns import MIN_QUALITY, UnknownStore
from facegate.recognition.matching.decision_rule import (
    CHANCES_PER_VISIT,
    DecisionRule,
    FixedThresholdRule,
    FpirRule,
)
from facegate.recognition.matching.gallery import Gallery, quality_weight
from facegate.recognition.matching.score_tail import ImpostorModel
from facegate.recognition.worker.visit_state import Stranger, VisitState, unpack

STRANGER_FPIR = 0.01
"""Share of new unknown visitors that may be taken for an earlier one."""
MIN_KNOWN = 3000
"""Number of earlier visitors from which the rate follows, also where there are fewer: people before one camera in
one light are more alike than those of the score tail, and a wrong join lasts."""

log = structlog.get_logger(__name__)


def stranger_rule(impostors: ImpostorModel | None, embedder: Embedder) -> DecisionRule:
    """The rule by which an unknown visitor is an earlier one."""
    if impostors is None:
        return FixedThresholdRule(embedder.threshold)
    return FpirRule(impostors, STRANGER_FPIR, chances=CHANCES_PER_VISIT, min_people=MIN_KNOWN)


class _Known(msgspec.Struct, eq=False):
    first_seen: float
    visits: int
    sums: dict[int, Floats] = {}
    """Weighted sums of the faces of ended visits, by appearance: those merged by a user stay apart."""

    def add(self, appearance: int, weighted: Floats) -> None:
        self.sums[appearance] = self.sums[appearance] + weighted if appearance in self.sums else weighted


class Strangers:
    """The unknown visitors of a gallery's file, and those of open visits. For one thread."""

    def __init__(self, store: UnknownStore, embedder: Embedder, rule: DecisionRule) -> None:
        """Load.

        Args:
            store: unknown faces; its owner closes it.
            embedder: computes missing embeddings.
            rule: decides whether a visitor is an earlier one.

        Raises:
            GalleryError: the file cannot be used.
        """
        self._store, self._embedder, self._rule = store, embedder, rule
        self._known: dict[int, _Known] = {}
        self._open: dict[str, tuple[int, Floats]] = {}
        """Unknown visitor and weighted sum of each open visit."""
        self._gallery: Gallery | None = None
        self._negatives: dict[int, list[Floats]] = {}
        self._load()

    def refresh(self) -> None:
        """Follow changes by other processes."""
        try:
            if self._store.touched():
                self._load()
        except GalleryError as error:
            log.error("cannot read unknown visitors", reason=str(error))

    def identify(self, state: VisitState) -> Stranger | None:
        """The unknown visitor of a visit; a new one gets a number. ``None`` for a name, or before a good face."""
        if state.best.name is not None or state.quality < MIN_QUALITY or not state.sum:
            return state.stranger
        total = unpack(state.sum)
        own = state.stranger
        if own is not None and own.id not in self._known:
            own = None  # deleted, or joined with another by hand
        if own is None or own.seen_before == 0:
            own = self._find(state, unit(total), own)
        if own is not None:
            self._open[state.visit] = own.id, total
        return own

    def end(self, visit: str) -> Floats | None:
        """End a visit; return its mean embedding ``(D,)``, or ``None`` if it has no unknown visitor."""
        _, total = self._open.pop(visit, (0, None))
        return None if total is None else unit(total)

    def keep(self, stranger: int, vector: Floats, quality: int) -> int:
        """Add the face of an ended visit, which the caller stores; return its appearance."""
        known = self._known.get(stranger)
        if known is None:
            return stranger
        own = max(known.sums, key=lambda each: float(unit(known.sums[each]) @ vector), default=stranger)
        known.add(own, vector * quality_weight(np.array(quality)))
        known.visits += 1
        self._gallery = None
        return own

    def _find(self, state: VisitState, embedding: Floats, own: Stranger | None) -> Stranger | None:
        gallery = self._templates()
        match = None
        if gallery.names and gallery.templates.shape[1] == len(embedding):
            match = gallery.match(embedding, self._rule, without=None if own is None else str(own.id))
        try:
            if match is not None and match.name is not None:
                found = int(match.name)
                shared = [visit for visit, (number, _) in self._open.items() if own and number == own.id]
                if own is not None and not set(shared) - {state.visit}:
                    self._store.delete_stranger(own.id)
                    self._known.pop(own.id, None)
                    self._gallery = None
                known = self._known[found]
                return Stranger(found, known.visits, known.first_seen)
            if own is not None:
                return own
            first = 0.0 if state.seen_at is None else state.seen_at
            new = self._store.new_stranger(first)
        except GalleryError as error:
            log.error("cannot store unknown visitor", visit=state.visit, reason=str(error))
            return own
        self._known[new] = _Known(first, 0)
        self._gallery = None
        return Stranger(new, 0, first)

    def _templates(self) -> Gallery:
        """A gallery with the numbers as names; visits that are open count too, as a second camera may see them."""
        if self._gallery is None:
            opened: dict[int, list[Floats]] = {}
            for number, total in self._open.values():
                opened.setdefault(number, []).append(total)
            found = [
                (number, total)
                for number, known in sorted(self._known.items())
                for total in list(known.sums.values()) or opened.get(number, [])
            ]
            against = [
                (row, vector) for row, (number, _) in enumerate(found) for vector in self._negatives.get(number, ())
            ]
            self._gallery = Gallery(
                [str(number) for number, _ in found],
                unit(np.stack([total for _, total in found])) if found else np.zeros((0, 1), np.float32),
                np.stack([vector for _, vector in against]) if against else None,
                np.array([row for row, _ in against], np.int64) if against else None,
            )
        return self._gallery

    def _load(self) -> None:
        self._known = {number: _Known(first, visits) for number, first, visits in self._store.strangers()}
        for face in self._store.stranger_faces(self._embedder):
            if face.stranger in self._known:
                self._known[face.stranger].add(
                    face.appearance, face.vector * quality_weight(np.array(face.quality))
                )
        self._negatives = {}
        for number, vector in self._store.stranger_negatives(self._embedder):
            self._negatives.setdefault(number, []).append(vector)
        self._gallery = None
