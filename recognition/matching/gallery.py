"""The gallery in memory: a template per person, and the rule by which a face gets a name."""

from __future__ import annotations

import math
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from facegate.pipeline.records import Floats
from facegate.recognition.embedders import unit
from facegate.recognition.enrollment.records import Embedded
from facegate.recognition.matching.nearest import NearestNeighbors
from facegate.recognition.matching.score_tail import ImpostorModel

DEFAULT_FPIR = 1e-3
"""One unknown visit in a thousand gets somebody's name."""
ROUNDING = 1e-5
SURE_PART, SURE_BY = 1 / 3, 0.03
"""A name is sure at a third of the rate that is promised, or by so much more than a fixed similarity."""
IMPOSTOR_FRACTION = 0.4
"""Of the limit: below, a good face is nobody's. On the development clips 0 to 3 % of the good faces of enrolled
people are, and two thirds to nine tenths of the strangers'."""
CHANCES_PER_VISIT = 2
"""Naming a visit at any of its first three shots errs as often as one shot among twice as many people: measured."""


class Match(msgspec.Struct, frozen=True):
    """The nearest person, named only where the rule allows it."""

    name: str | None
    similarity: float
    """Cosine to the nearest person's template."""
    margin: float
    """By how much the second is less similar; the similarity itself where there is no second."""
    score: float
    """What the rule compares with its limit."""
    fpir: float | None
    """A stranger gets so good a score in this gallery with this probability; ``None`` where that is not known."""

    @property
    def runner_up_similarity(self) -> float:
        """Cosine to the second person's template; 0, or less, where there is none."""
        return min(self.similarity, self.similarity - self.margin)


class DecisionRule(Protocol):
    """From which score on a face is named."""

    def normalization(self, embeddings: Floats) -> Floats:
        """What is taken from the similarities of unit embeddings ``(N, D)``: ``(N,)``."""
        ...

    def threshold(self, people: int) -> float:
        """Least score that is named, in a gallery of so many."""
        ...

    def fpir(self, score: float, people: int) -> float | None:
        """Probability that a stranger scores at least so much against one of so many; ``None`` if unknown."""
        ...

    def is_conclusive(self, score: float, people: int) -> bool:
        """Whether more shots would hardly change a name with this score."""
        ...

    def is_impostor(self, score: float, people: int) -> bool:
        """Whether a good face with this score is nobody's of so many."""
        ...

    def duplicate_threshold(self, people: int) -> float:
        """Similarity from which two of so many people are probably one."""
        ...

    def describe(self, people: int) -> str:
        """What it means, for people to read."""
        ...


class FixedThresholdRule:
    """Named from a similarity on, however many people there are; it promises nothing."""

    def __init__(self, similarity: float) -> None:
        self._similarity = similarity

    def normalization(self, embeddings: Floats) -> Floats:
        """See :class:`DecisionRule`."""
        return np.zeros(len(embeddings), np.float32)

    def threshold(self, people: int) -> float:
        """See :class:`DecisionRule`."""
        return self._similarity

    def fpir(self, score: float, people: int) -> float | None:
        """See :class:`DecisionRule`."""
        return None

    def is_conclusive(self, score: float, people: int) -> bool:
        """See :class:`DecisionRule`."""
        return score >= self._similarity + SURE_BY

    def is_impostor(self, score: float, people: int) -> bool:
        """See :class:`DecisionRule`."""
        return score <= IMPOSTOR_FRACTION * self._similarity

    def duplicate_threshold(self, people: int) -> float:
        """See :class:`DecisionRule`."""
        return self._similarity

    def describe(self, people: int) -> str:
        """See :class:`DecisionRule`."""
        return f"similarity {self._similarity:.3f}, which promises no rate"


class FpirRule:
    """Named where a stranger would be so named with at most a promised probability (FPIR)."""

    def __init__(self, strangers: ImpostorModel, fpir: float, *, chances: int = 1) -> None:
        """Promise a rate.

        Args:
            strangers: what is known of the recognizer's.
            fpir: probability that a stranger gets a name.
            chances: independent ones that a stranger has, as if there were so many times as many people.
        """
        self._strangers = strangers
        self._fpir = fpir
        self._chances = chances

    def normalization(self, embeddings: Floats) -> Floats:
        """See :class:`DecisionRule`."""
        return self._strangers.cohort_mean_similarity(embeddings)

    def threshold(self, people: int) -> float:
        """See :class:`DecisionRule`."""
        return self._strangers.tail.score_at(-math.expm1(math.log1p(-self._fpir) / max(people * self._chances, 1)))

    def fpir(self, score: float, people: int) -> float:
        """See :class:`DecisionRule`."""
        return -math.expm1(people * self._chances * math.log1p(-self._strangers.tail.rate(score)))

    def is_conclusive(self, score: float, people: int) -> bool:
        """See :class:`DecisionRule`."""
        return self.fpir(score, people) <= SURE_PART * self._fpir

    def is_impostor(self, score: float, people: int) -> bool:
        """See :class:`DecisionRule`."""
        return score <= IMPOSTOR_FRACTION * self.threshold(people)

    def duplicate_threshold(self, people: int) -> float:
        """See :class:`DecisionRule`; one pair of strangers in five galleries is as much alike."""
        pairs = max(1, people * (people - 1) // 2)
        return self._strangers.tail.score_at(min(0.5, 0.2 / pairs)) + self._strangers.tail.median_normalization

    def describe(self, people: int) -> str:
        """See :class:`DecisionRule`."""
        similarity = self.threshold(people) + self._strangers.tail.median_normalization
        return f"FPIR {self._fpir:g}, about similarity {similarity:.3f} among {people} people"


class Gallery:
    """One template per person: the mean of their embeddings, weighted by quality, of unit length."""

    def __init__(
        self,
        names: list[str],
        templates: Floats,
        negatives: Floats | None = None,
        whose: NDArray[np.int64] | None = None,
    ) -> None:
        """Take who can be named.

        Args:
            names: of ``P`` people.
            templates: ``(P, D)`` of unit length.
            negatives: ``(M, D)`` faces of people who were taken for somebody in the gallery, and are not.
            whose: ``(M,)`` for whom: indices into ``names``.
        """
        self.names = names
        self.templates = templates
        self._nearest = NearestNeighbors(templates)
        self._negatives = templates[:0] if negatives is None else negatives
        self._whose = np.empty(0, np.int64) if whose is None else whose

    @classmethod
    def of(cls, embedded: Embedded) -> Gallery:
        """Make the templates of everybody who has a picture; better pictures count for more."""
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
        )

    def match(self, embedding: Floats, rule: DecisionRule) -> Match:
        """Compare a unit embedding ``(D,)`` with everybody (open set: nobody is a possible answer)."""
        if not self.names:
            return Match(None, 0.0, 0.0, 0.0, None)
        rows, similarities = self._nearest.search(embedding)
        if len(self._whose):
            # More like somebody who was mistaken for this person than like this person: not this person.
            worst = np.full(len(self.names), -np.inf, np.float32)
            np.maximum.at(worst, self._whose, self._negatives @ embedding)
            similarities = np.where(worst[rows] >= similarities - ROUNDING, -1.0, similarities)
        best = int(np.argmax(similarities))
        similarity = float(similarities[best])
        second = float(np.delete(similarities, best).max()) if len(rows) > 1 else 0.0
        score = similarity - float(rule.normalization(embedding[None])[0])
        people = len(self.names)
        return Match(
            name=self.names[rows[best]] if score >= rule.threshold(people) else None,
            similarity=similarity,
            margin=similarity - second,
            score=score,
            fpir=rule.fpir(score, people),
        )


def quality_weight(quality: NDArray[np.int64]) -> Floats:
    """How much pictures of these qualities (0..100) count in a template or a visit."""
    found: Floats = (quality / 100 + 0.05).astype(np.float32)
    return found


def choose_rule(
    threshold: float | None, fpir: float, strangers: ImpostorModel | None, usual: float
) -> tuple[DecisionRule, str | None]:
    """Choose how faces are named; return the rule, and a warning where it promises nothing.

    Args:
        threshold: a similarity that somebody has asked for.
        fpir: the rate to be promised otherwise.
        strangers: what is known of the recognizer's.
        usual: similarity of the recognizer's card, for one of whose strangers nothing is known.
    """
    if threshold is not None:
        return FixedThresholdRule(threshold), None
    if strangers is not None:
        return FpirRule(strangers, fpir, chances=CHANCES_PER_VISIT), None
    return FixedThresholdRule(usual), (
        "nothing is known of this recognizer's strangers, so no rate of false names can be promised: "
        "'facegate evaluate --open-set --tail' finds out"
    )
