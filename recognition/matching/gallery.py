"""The gallery in memory, one template per person, and the decision rules."""

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
"""Default false-positive identification rate: one unknown visit in 1000 gets a name."""
ROUNDING = 1e-5
CONCLUSIVE_FPIR_SHARE, CONCLUSIVE_MARGIN = 1 / 3, 0.03
"""A name is conclusive at this fraction of the guaranteed rate, or this far above a fixed similarity threshold."""
IMPOSTOR_FRACTION = 0.4
"""Fraction of the threshold below which a good face is an impostor's. On the development clips 0 to 3 % of the good
mated faces are below, and two thirds to nine tenths of the non-mated ones."""
CHANCES_PER_VISIT = 2
"""Naming a visit at any of its first three shots errs as often as one shot among twice the people (measured)."""


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

    @property
    def runner_up_similarity(self) -> float:
        """Cosine to the second person's template; 0 or less if there is none."""
        return min(self.similarity, self.similarity - self.margin)


class DecisionRule(Protocol):
    """Decides whether a face is named."""

    def normalization(self, embeddings: Floats) -> Floats:
        """Amount ``(N,)`` subtracted from the similarities of unit embeddings ``(N, D)``."""
        ...

    def threshold(self, people: int) -> float:
        """Minimum score that is named in a gallery of ``people``."""
        ...

    def fpir(self, score: float, people: int) -> float | None:
        """Probability of a non-mated score of at least ``score`` among ``people``; ``None`` if unknown."""
        ...

    def is_conclusive(self, score: float, people: int) -> bool:
        """Whether more shots are unlikely to change a name with this score."""
        ...

    def is_impostor(self, score: float, people: int) -> bool:
        """Whether a good face with this score belongs to none of ``people``."""
        ...

    def duplicate_threshold(self, people: int) -> float:
        """Similarity from which two of ``people`` are probably one."""
        ...

    def describe(self, people: int) -> str:
        """Description of the rule for display."""
        ...


class FixedThresholdRule:
    """Fixed similarity threshold for galleries of any size; guarantees no rate."""

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
        return score >= self._similarity + CONCLUSIVE_MARGIN

    def is_impostor(self, score: float, people: int) -> bool:
        """See :class:`DecisionRule`."""
        return score <= IMPOSTOR_FRACTION * self._similarity

    def duplicate_threshold(self, people: int) -> float:
        """See :class:`DecisionRule`."""
        return self._similarity

    def describe(self, people: int) -> str:
        """See :class:`DecisionRule`."""
        return f"similarity {self._similarity:.3f}, no guaranteed FPIR"


class FpirRule:
    """Threshold that bounds the false-positive identification rate (FPIR)."""

    def __init__(self, impostors: ImpostorModel, fpir: float, *, chances: int = 1) -> None:
        """Create for a rate.

        Args:
            impostors: impostor model of the embedder.
            fpir: maximum probability that an unknown person gets a name, 0..1.
            chances: number of independent attempts; acts as a factor on the number of people.
        """
        self._impostors = impostors
        self._fpir = fpir
        self._chances = chances

    def normalization(self, embeddings: Floats) -> Floats:
        """See :class:`DecisionRule`."""
        return self._impostors.cohort_mean_similarity(embeddings)

    def threshold(self, people: int) -> float:
        """See :class:`DecisionRule`."""
        return self._impostors.tail.score_at(-math.expm1(math.log1p(-self._fpir) / max(people * self._chances, 1)))

    def fpir(self, score: float, people: int) -> float:
        """See :class:`DecisionRule`."""
        return -math.expm1(people * self._chances * math.log1p(-self._impostors.tail.rate(score)))

    def is_conclusive(self, score: float, people: int) -> bool:
        """See :class:`DecisionRule`."""
        return self.fpir(score, people) <= CONCLUSIVE_FPIR_SHARE * self._fpir

    def is_impostor(self, score: float, people: int) -> bool:
        """See :class:`DecisionRule`."""
        return score <= IMPOSTOR_FRACTION * self.threshold(people)

    def duplicate_threshold(self, people: int) -> float:
        """See :class:`DecisionRule`; exceeded by one non-mated pair in five galleries."""
        pairs = max(1, people * (people - 1) // 2)
        return self._impostors.tail.score_at(min(0.5, 0.2 / pairs)) + self._impostors.tail.median_normalization

    def describe(self, people: int) -> str:
        """See :class:`DecisionRule`."""
        similarity = self.threshold(people) + self._impostors.tail.median_normalization
        return f"FPIR {self._fpir:g}, about similarity {similarity:.3f} for {people} people"


class Gallery:
    """One template per person: the mean of their embeddings, weighted by quality, of unit length."""

    def __init__(
        self,
        names: list[str],
        templates: Floats,
        negatives: Floats | None = None,
        whose: NDArray[np.int64] | None = None,
    ) -> None:
        """Create from templates.

        Args:
            names: names of ``P`` people.
            templates: ``(P, D)`` of unit length.
            negatives: ``(M, D)`` faces of people who were mistaken for somebody in the gallery.
            whose: ``(M,)`` for whom: indices into ``names``.
        """
        self.names = names
        self.templates = templates
        self._nearest = NearestNeighbors(templates)
        self._negatives = templates[:0] if negatives is None else negatives
        self._whose = np.empty(0, np.int64) if whose is None else whose

    @classmethod
    def of(cls, embedded: Embedded) -> Gallery:
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
        )

    def match(self, embedding: Floats, rule: DecisionRule) -> Match:
        """Open-set identification of a unit embedding ``(D,)``."""
        if not self.names:
            return Match(None, 0.0, 0.0, 0.0, None)
        rows, similarities = self._nearest.search(embedding)
        if len(self._whose):
            # More similar to a negative of this person than to the person: not this person.
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
    """Weights of pictures by quality (0..100) in a template or visit."""
    found: Floats = (quality / 100 + 0.05).astype(np.float32)
    return found


def choose_rule(
    threshold: float | None, fpir: float, impostors: ImpostorModel | None, usual: float
) -> tuple[DecisionRule, str | None]:
    """Choose the decision rule; return it with a warning if it guarantees no rate.

    Args:
        threshold: fixed similarity threshold set by the user, or ``None``.
        fpir: rate to guarantee if there is no fixed threshold.
        impostors: impostor model of the embedder, if known.
        usual: similarity threshold of the embedder, used without an impostor model.
    """
    if threshold is not None:
        return FixedThresholdRule(threshold), None
    if impostors is not None:
        return FpirRule(impostors, fpir, chances=CHANCES_PER_VISIT), None
    return FixedThresholdRule(usual), (
        "no impostor score tail for this recognizer, so no false-positive rate is guaranteed: "
        "measure one with 'facegate evaluate --open-set --tail'"
    )
