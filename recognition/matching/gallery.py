"""The gallery in memory: one template per person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from facegate.pipeline.records import Floats
from facegate.recognition.embedders import unit
from facegate.recognition.enrollment.records import Embedded
from facegate.recognition.matching.decision_rule import DecisionRule
from facegate.recognition.matching.nearest import NearestNeighbors

ROUNDING = 1e-5


class Match(msgspec.Struct, frozen=True):
    """The nearest person, named only if the rule allows it."""

    name: str | None
    similarity: float
    """Cosine to the nearest person's template."""
    margin: float
    """Similarity minus that of the second person; the similarity itself if there is no second."""
    score: float
    """Score that the rule compares with its threshold."""
    fpir: float | None
    """Probability of a non-mated score this high in this gallery; ``None`` if unknown."""
    lists: tuple[str, ...] = ()
    """Watch lists of a named person."""

    @property
    def runner_up_similarity(self) -> float:
        """Cosine to the second person's template; 0 or less if there is none."""
        return min(self.similarity, self.similarity - self.margin)


class ListedPeople(msgspec.Struct, frozen=True):
    """A watch list and its current people."""

    name: str
    fpir: float | None
    """Rate of false names of its people; that of the rule by default."""
    people: frozenset[str]


class Gallery:
    """One template per person: the mean of their embeddings, weighted by quality, of unit length."""

    def __init__(
        self,
        names: list[str],
        templates: Floats,
        negatives: Floats | None = None,
        whose: NDArray[np.int64] | None = None,
        corrections: Mapping[str, str | None] | None = None,
        lists: Sequence[ListedPeople] = (),
    ) -> None:
        """Create from templates.

        Args:
            names: names of ``P`` people.
            templates: ``(P, D)`` of unit length.
            negatives: ``(M, D)`` faces of people who were mistaken for somebody in the gallery.
            whose: ``(M,)`` for whom: indices into ``names``.
            corrections: who corrected visits were, by visit: a name, or ``None`` for somebody unknown.
            lists: watch lists.
        """
        self.corrections = corrections or {}
        self.names = names
        self._lists = {
            name: tuple(each for each in lists if name in each.people)
            for name in {n for e in lists for n in e.people}
        }
        self.templates = templates
        self._nearest = NearestNeighbors(templates)
        self._negatives = templates[:0] if negatives is None else negatives
        self._whose = np.empty(0, np.int64) if whose is None else whose

    @classmethod
    def of(
        cls,
        embedded: Embedded,
        corrections: Mapping[str, str | None] | None = None,
        lists: Sequence[ListedPeople] = (),
    ) -> Gallery:
        """Compute quality-weighted templates of all people with a picture."""
        positive = ~embedded.negative & embedded.used
        present = np.unique(embedded.people[positive])
        place = np.full(len(embedded.names), -1)
        place[present] = np.arange(len(present))
        sums = np.zeros((len(present), embedded.vectors.shape[1]), np.float32)
        weights = quality_weight(embedded.quality[positive])[:, None]
        np.add.at(sums, place[embedded.people[positive]], embedded.vectors[positive] * weights)
        against = embedded.negative & (place[embedded.people] >= 0)
        return cls(
            [embedded.names[index] for index in present],
            unit(sums),
            embedded.vectors[against],
            place[embedded.people[against]],
            corrections,
            lists,
        )

    def match(self, embedding: Floats, rule: DecisionRule, *, without: str | None = None) -> Match:
        """Open-set identification of a unit embedding ``(D,)``, among all people but ``without``."""
        if not self.names:
            return Match(None, 0.0, 0.0, 0.0, None)
        rows, similarities = self._nearest.search(embedding)
        if len(self._whose):
            # More similar to a negative of this person than to the person: not this person.
            worst = np.full(len(self.names), -np.inf, np.float32)
            np.maximum.at(worst, self._whose, self._negatives @ embedding)
            similarities = np.where(worst[rows] >= similarities - ROUNDING, -1.0, similarities)
        if without is not None:
            similarities = np.where(np.asarray(self.names)[rows] == without, -1.0, similarities)
        best = int(np.argmax(similarities))
        similarity = float(similarities[best])
        second = float(np.delete(similarities, best).max()) if len(rows) > 1 else 0.0
        score = similarity - float(rule.normalization(embedding[None])[0])
        people, nearest = len(self.names), self.names[rows[best]]
        own = self._lists.get(nearest, ())
        # A list's rate is about its people alone: its threshold may be below that of the gallery, or above it.
        thresholds = [rule.at_rate(each.fpir).threshold(len(each.people)) for each in own if each.fpir is not None]
        named = score >= min(thresholds, default=rule.threshold(people))
        return Match(
            name=nearest if named else None,
            lists=tuple(each.name for each in own) if named else (),
            similarity=similarity,
            margin=similarity - second,
            score=score,
            fpir=rule.fpir(score, people),
        )


def quality_weight(quality: NDArray[np.int64]) -> Floats:
    """Weights of pictures by quality (0..100) in a template or visit."""
    found: Floats = (quality / 100 + 0.05).astype(np.float32)
    return found
