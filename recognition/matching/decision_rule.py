"""Decision rules: which match gives a visit its name."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from facegate.pipeline.records import Floats
from facegate.recognition.matching.score_tail import ImpostorModel

DEFAULT_FPIR = 1e-3
"""Default false-positive identification rate: one unknown visit in 1000 gets a name."""
CONCLUSIVE_FPIR_SHARE, CONCLUSIVE_MARGIN = 1 / 3, 0.03
"""A name is conclusive at this fraction of the guaranteed rate, or this far above a fixed similarity threshold."""
IMPOSTOR_FRACTION = 0.4
"""Fraction of the threshold below which a good face is an impostor's. On the development clips 0 to 3 % of the good
mated faces are below, and two thirds to nine tenths of the non-mated ones."""
CHANCES_PER_VISIT = 2
"""Naming a visit at any of its first three shots errs as often as one shot among twice the people (measured)."""


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

    def at_rate(self, fpir: float) -> DecisionRule:
        """The rule for another rate; itself if it guarantees none."""
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

    def at_rate(self, fpir: float) -> DecisionRule:
        """See :class:`DecisionRule`."""
        return self

    def describe(self, people: int) -> str:
        """See :class:`DecisionRule`."""
        return f"similarity {self._similarity:.3f}, no guaranteed FPIR"


class FpirRule:
    """Threshold that bounds the false-positive identification rate (FPIR)."""

    def __init__(self, impostors: ImpostorModel, fpir: float, *, chances: int = 1, min_people: int = 1) -> None:
        """Create for a rate.

        Args:
            impostors: impostor model of the embedder.
            fpir: maximum probability that an unknown person gets a name, 0..1.
            chances: number of independent attempts; acts as a factor on the number of people.
            min_people: size of smaller galleries too.
        """
        self._impostors = impostors
        self._fpir = fpir
        self._chances = chances
        self._min_people = max(min_people, 1)

    def normalization(self, embeddings: Floats) -> Floats:
        """See :class:`DecisionRule`."""
        return self._impostors.cohort_mean_similarity(embeddings)

    def threshold(self, people: int) -> float:
        """See :class:`DecisionRule`."""
        return self._impostors.tail.score_at(-math.expm1(math.log1p(-self._fpir) / self._attempts(people)))

    def fpir(self, score: float, people: int) -> float:
        """See :class:`DecisionRule`."""
        return -math.expm1(self._attempts(people) * math.log1p(-self._impostors.tail.rate(score)))

    def _attempts(self, people: int) -> int:
        return max(people, self._min_people) * self._chances

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

    def at_rate(self, fpir: float) -> DecisionRule:
        """See :class:`DecisionRule`."""
        return FpirRule(self._impostors, fpir, chances=self._chances, min_people=self._min_people)

    def describe(self, people: int) -> str:
        """See :class:`DecisionRule`."""
        similarity = self.threshold(people) + self._impostors.tail.median_normalization
        return f"FPIR {self._fpir:g}, about similarity {similarity:.3f} for {people} people"


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
