"""A threshold that keeps a stated share of identifications, learned from what the recognizer says. Pure.

A visit whose best face has quality ``b`` is lost by every threshold above ``b``. So of the visits that were
named with the threshold at its floor, the share with ``b`` below ``t`` is what a threshold ``t`` costs: a
proportion, with an exact interval. A sample of visits, chosen by their track's number alone, always has the floor:
it goes on telling what the threshold costs after that has risen.

The threshold is the highest one that loses, with 95 % confidence (Clopper and Pearson, Biometrika 26, 1934), at
most half as much again as it may. Where the evidence is too thin for that it stays at the floor.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections import deque
from functools import cached_property

import msgspec
import structlog
from scipy.special import betaincinv

from facegate.pipeline.gating.drift import DriftDetector
from facegate.pipeline.records import RecognitionFeedback

MAX_VISITS = 5000
"""Remembered; the oldest are forgotten first."""
UPDATE_INTERVAL = 25
"""The threshold is set anew after so many more."""
LOSS_TOLERANCE = 1.5
"""Of the share that may be lost: what is excluded with 95 % confidence."""
RECOGNIZER_CHANGE_AFTER = 20
"""Answers of another recognizer in a row after which what was learned from the one before is forgotten."""

log = structlog.get_logger(__name__)


class RecallSettings(msgspec.Struct, frozen=True):
    """What is to be kept."""

    target_recall: float
    """Share of identifications that must survive the threshold, 0..1."""
    exploration_rate: float
    """Share of visits that always have the floor."""
    floor: int
    max_threshold: int
    """The threshold never leaves these."""


class RecallState(msgspec.Struct):
    """What must be kept from run to run: numbers alone. Files hold the name given to ``field``."""

    recognizer: str = msgspec.field(name="recogniser")
    best: list[int]
    """Best quality of each named visit that had the floor, oldest first."""
    threshold: int
    reference: list[tuple[int, float]] = []
    recent: list[tuple[int, float]] = []
    """Qualities and similarities of named shots; see :mod:`facegate.pipeline.gating.drift`."""


class RecallLoss(msgspec.Struct, frozen=True):
    """What a threshold costs, of the visits that are named without it; shares 0..1 with a 95 % interval."""

    visits: int
    """Named ones that were looked at with the threshold at its floor."""
    lost: float
    low: float
    high: float
    visits_needed: int
    """Named visits that are still needed before the threshold may leave its floor."""


class RecallThreshold:
    """One camera's threshold."""

    def __init__(
        self, settings: RecallSettings, run_id: str, camera: str, state: RecallState | None = None
    ) -> None:
        """Begin at the floor, or where a kept state left off."""
        self._settings = settings
        self._name, self._camera = f"{run_id}/{camera}", camera
        self._best: deque[int] = deque([] if state is None else state.best[-MAX_VISITS:], MAX_VISITS)
        self._recognizer = "" if state is None else state.recognizer
        self._others = 0
        self._since = 0
        self.drift = DriftDetector([], []) if state is None else DriftDetector(state.reference, state.recent)
        self._warned = False
        kept = settings.floor if state is None else state.threshold
        self.threshold = min(max(kept, settings.floor), settings.max_threshold)

    @property
    def floor(self) -> int:
        """Where it began."""
        return self._settings.floor

    def is_explored(self, track_id: int) -> bool:
        """Whether a visit has the floor, to learn from; by its number alone, so that a replay chooses the same."""
        if self.threshold == self._settings.floor:
            return True
        digest = hashlib.blake2b(f"{self._name}/{track_id}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2**64 < self._settings.exploration_rate

    def threshold_for(self, track_id: int) -> int:
        """The quality from which faces of a visit pass."""
        return self._settings.floor if self.is_explored(track_id) else self.threshold

    def on_feedback(self, quality: int, answer: RecognitionFeedback) -> None:
        """An answer to a shot of this quality has come; what was learned from another recognizer does not hold."""
        recognizer = answer.recognizer
        if answer.named:
            self.drift.add(quality, answer.similarity)
            self._warn()
        self._others = self._others + 1 if recognizer != self._recognizer else 0
        if self._others and (not self._recognizer or self._others >= RECOGNIZER_CHANGE_AFTER):
            if self._recognizer:
                log.warning("another recognizer: the threshold is learned anew", camera=self._camera)
            self._recognizer, self._others, self.threshold = recognizer, 0, self._settings.floor
            self._best.clear()
            self.drift = DriftDetector([], [])

    def on_named_visit(self, best: int) -> None:
        """A visit that had the floor is over and got a name; ``best`` is the best quality it has shown."""
        self._best.append(best)
        self._since += 1
        if self._since < UPDATE_INTERVAL:
            return
        self._since = 0
        wanted = self.target_threshold()
        if wanted != self.threshold:
            loss = self.loss(wanted)
            log.info(
                "threshold moved", camera=self._camera, before=self.threshold, now=wanted, visits=loss.visits,
                lost=round(loss.lost, 4), at_most=round(loss.high, 4),
            )  # fmt: skip
            self.threshold = wanted

    def loss(self, threshold: int | None = None) -> RecallLoss:
        """What ``threshold`` (this camera's by default) costs in identifications (Jeffreys interval)."""
        visits = len(self._best)
        lost = sum(best < (self.threshold if threshold is None else threshold) for best in self._best)
        low = 0.0 if not lost else float(betaincinv(lost + 0.5, visits - lost + 0.5, 0.025))
        high = 1.0 if not visits else float(betaincinv(lost + 0.5, visits - lost + 0.5, 0.975))
        return RecallLoss(visits, lost / max(visits, 1), low, high, max(0, self._min_visits - visits))

    def state(self) -> RecallState:
        """For the next run."""
        return RecallState(
            self._recognizer, list(self._best), self.threshold, list(self.drift.reference), list(self.drift.recent)
        )

    def _warn(self) -> None:
        moved = self.drift.shift()
        if moved is not None and not self._warned:
            log.warning(
                "similarity has moved: look at the camera's picture", camera=self._camera, before=moved.before,
                after=moved.after,
            )  # fmt: skip
        self._warned = moved is not None

    @cached_property
    def _min_visits(self) -> int:
        """Visits of which none may be lost before anything can be said."""
        return next(
            n
            for n in range(10, 10**7, 10)
            if _upper_bound(0, n) <= LOSS_TOLERANCE * (1 - self._settings.target_recall)
        )

    def target_threshold(self) -> int:
        """The threshold that follows from what was seen so far."""
        settings, best = self._settings, sorted(self._best)
        wanted = settings.floor
        for threshold in range(settings.floor + 1, settings.max_threshold + 1):
            lost = bisect_left(best, threshold)
            if _upper_bound(lost, len(best)) > LOSS_TOLERANCE * (1 - settings.target_recall):
                break
            wanted = threshold
        return wanted


def _upper_bound(lost: int, visits: int) -> float:
    """The share that is exceeded with 5 % probability, where ``lost`` of ``visits`` were."""
    return 1.0 if lost >= visits else float(betaincinv(lost + 1, visits - lost, 0.95))
