"""A quality threshold with a target recall of identifications, learned from recognition feedback. Pure.

A visit whose best face has quality ``b`` is lost by every threshold above ``b``. So of the visits that were
named with the threshold at its floor, the share with ``b`` below ``t`` is the loss of a threshold ``t``: a
proportion, with an exact confidence interval. A sample of visits, selected by their track ids, always keeps the
floor (exploration), so that the loss can still be measured after the threshold has risen.

The threshold is the highest one whose loss is, with 95 % confidence (Clopper and Pearson, Biometrika 26, 1934), at
most ``LOSS_TOLERANCE`` times the allowed one. With too few visits for that it stays at the floor.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections import deque
from functools import cached_property

import msgspec
import structlog

from facegate.pipeline.gating.beta_quantile import beta_quantile
from facegate.pipeline.gating.drift import DriftDetector
from facegate.pipeline.records import RecognitionFeedback

MAX_VISITS = 5000
"""Maximum number of visits remembered; the oldest are dropped first."""
UPDATE_INTERVAL = 25
"""Named visits between two updates of the threshold."""
LOSS_TOLERANCE = 1.5
"""Upper confidence bound of the loss, as a multiple of the allowed loss."""
RECOGNIZER_CHANGE_AFTER = 20
"""Consecutive feedback of another recognizer after which the learned state is reset."""

log = structlog.get_logger(__name__)


class RecallSettings(msgspec.Struct, frozen=True):
    """Settings of the learned threshold."""

    target_recall: float
    """Share of identifications that must survive the threshold, 0..1."""
    exploration_rate: float
    """Share of visits that keep the floor, 0..1."""
    floor: int
    max_threshold: int
    """Bounds of the threshold, 0..100."""


class RecallState(msgspec.Struct):
    """State kept between runs: numbers only. Files use the name passed to ``field``."""

    recognizer: str = msgspec.field(name="recogniser")
    best: list[int]
    """Best quality of each named visit with the floor as its threshold, oldest first."""
    threshold: int
    reference: list[tuple[int, float]] = []
    recent: list[tuple[int, float]] = []
    """Qualities and similarities of named shots; see :mod:`facegate.pipeline.gating.drift`."""


class RecallLoss(msgspec.Struct, frozen=True):
    """Loss of a threshold: share (0..1) of named visits that it loses, with a 95 % interval."""

    visits: int
    """Named visits with the threshold at its floor."""
    lost: float
    low: float
    high: float
    visits_needed: int
    """Further named visits needed before the threshold can leave its floor."""


class RecallThreshold:
    """Learned threshold of one camera."""

    def __init__(
        self, settings: RecallSettings, run_id: str, camera: str, state: RecallState | None = None
    ) -> None:
        """Start at the floor, or from a saved state."""
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
        """Lower bound of the threshold."""
        return self._settings.floor

    def is_explored(self, track_id: int) -> bool:
        """Whether a visit keeps the floor; by a hash of its track id, so that a replay selects the same."""
        if self.threshold == self._settings.floor:
            return True
        digest = hashlib.blake2b(f"{self._name}/{track_id}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2**64 < self._settings.exploration_rate

    def threshold_for(self, track_id: int) -> int:
        """Return the minimum quality of the faces of a visit."""
        return self._settings.floor if self.is_explored(track_id) else self.threshold

    def on_feedback(self, quality: int, answer: RecognitionFeedback) -> None:
        """Take feedback on a shot of this quality; a change of the recognizer resets the learned state."""
        recognizer = answer.recognizer
        if answer.named:
            self.drift.add(quality, answer.similarity)
            self._warn()
        self._others = self._others + 1 if recognizer != self._recognizer else 0
        if self._others and (not self._recognizer or self._others >= RECOGNIZER_CHANGE_AFTER):
            if self._recognizer:
                log.warning("recognizer changed, learned threshold reset", camera=self._camera)
            self._recognizer, self._others, self.threshold = recognizer, 0, self._settings.floor
            self._best.clear()
            self.drift = DriftDetector([], [])

    def on_named_visit(self, best: int) -> None:
        """Take a named visit with the floor as its threshold; ``best``: its best quality."""
        self._best.append(best)
        self._since += 1
        if self._since < UPDATE_INTERVAL:
            return
        self._since = 0
        target = self.target_threshold()
        if target != self.threshold:
            loss = self.loss(target)
            log.info(
                "threshold changed", camera=self._camera, before=self.threshold, now=target, visits=loss.visits,
                lost=round(loss.lost, 4), at_most=round(loss.high, 4),
            )  # fmt: skip
            self.threshold = target

    def loss(self, threshold: int | None = None) -> RecallLoss:
        """Return the loss of ``threshold``, by default of the current one (Jeffreys interval)."""
        visits = len(self._best)
        lost = sum(best < (self.threshold if threshold is None else threshold) for best in self._best)
        low = 0.0 if not lost else beta_quantile(lost + 0.5, visits - lost + 0.5, 0.025)
        high = 1.0 if not visits else beta_quantile(lost + 0.5, visits - lost + 0.5, 0.975)
        return RecallLoss(visits, lost / max(visits, 1), low, high, max(0, self._min_visits - visits))

    def state(self) -> RecallState:
        """Return the state to save."""
        return RecallState(
            self._recognizer, list(self._best), self.threshold, list(self.drift.reference), list(self.drift.recent)
        )

    def _warn(self) -> None:
        shift = self.drift.shift()
        if shift is not None and not self._warned:
            log.warning(
                "similarity drift detected", camera=self._camera, before=shift.before, after=shift.after,
                remedy="check the lens and lighting",
            )  # fmt: skip
        self._warned = shift is not None

    @cached_property
    def _min_visits(self) -> int:
        """Named visits needed for a statement when none is lost."""
        return next(
            n
            for n in range(10, 10**7, 10)
            if _upper_bound(0, n) <= LOSS_TOLERANCE * (1 - self._settings.target_recall)
        )

    def target_threshold(self) -> int:
        """Return the threshold that follows from the visits so far."""
        settings, best = self._settings, sorted(self._best)
        target = settings.floor
        for threshold in range(settings.floor + 1, settings.max_threshold + 1):
            lost = bisect_left(best, threshold)
            if _upper_bound(lost, len(best)) > LOSS_TOLERANCE * (1 - settings.target_recall):
                break
            target = threshold
        return target


def _upper_bound(lost: int, visits: int) -> float:
    """Upper 95 % confidence bound of the loss, with ``lost`` of ``visits`` lost."""
    return 1.0 if lost >= visits else beta_quantile(lost + 1, visits - lost, 0.95)
