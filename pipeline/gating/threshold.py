"""Quality thresholds: with hysteresis per track, and one that follows a camera's own distribution."""

from __future__ import annotations

import msgspec
import numpy as np

LEVELS = 101
"""Qualities are the integers 0..100."""
ALARM_PSI = 0.25
"""Population stability index from which a distribution counts as moved, by the usual rule of thumb."""


class Hysteresis:
    """Opens at the threshold and closes only below ``threshold - band``, so that a track does not flap."""

    def __init__(self, band: int) -> None:
        self._band = band

    def admits(self, was_open: bool, quality: int, threshold: int) -> bool:
        """Whether a face passes; also the track's new state."""
        return quality >= (threshold - self._band if was_open else threshold)


class OnlineSettings(msgspec.Struct, frozen=True):
    """What an online threshold holds."""

    discard: float
    """Share of faces to drop, 0..1."""
    low: int = 0
    high: int = 100
    """The threshold never leaves these."""
    warm_up: int = 500
    """Faces before it moves at all."""
    memory: int = 5000
    """Faces after which the past counts half."""
    step: int = 2
    """It moves only when it is off by this much."""


class OnlineState(msgspec.Struct):
    """What must be kept from run to run."""

    counts: list[float]
    reference: list[float] | None
    seen: int
    threshold: int


class OnlineThreshold:
    """Holds a share of discarded faces under drift, and raises an alarm when the distribution has moved."""

    EVERY = 50

    def __init__(self, settings: OnlineSettings, start: int, state: OnlineState | None = None) -> None:
        """Begin at ``start``, or where a kept state left off."""
        self._settings = settings
        self._decay = 0.5 ** (1 / settings.memory)
        self._counts = np.zeros(LEVELS) if state is None else np.array(state.counts)
        self._reference = None if state is None or state.reference is None else np.array(state.reference)
        self._seen = 0 if state is None else state.seen
        self.threshold = start if state is None else state.threshold
        self.moved = 0.0
        """Population stability index against the distribution at the end of the warm-up."""

    @property
    def alarm(self) -> bool:
        """Whether the distribution has moved."""
        return self.moved >= ALARM_PSI

    def observe(self, quality: int) -> None:
        """Take one face's quality."""
        self._counts *= self._decay
        self._counts[quality] += 1
        self._seen += 1
        settings = self._settings
        if self._seen < settings.warm_up or self._seen % self.EVERY:
            return
        if self._reference is None:
            self._reference = self._counts.copy()
        self.moved = _psi(self._reference, self._counts)
        below = np.cumsum(self._counts) / self._counts.sum()
        wanted = int(np.searchsorted(below, settings.discard)) + 1 if settings.discard > 0 else 0
        wanted = min(max(wanted, settings.low), settings.high)
        if abs(wanted - self.threshold) >= settings.step:
            self.threshold = wanted

    def state(self) -> OnlineState:
        """For the next run."""
        reference = None if self._reference is None else self._reference.tolist()
        return OnlineState(self._counts.tolist(), reference, self._seen, self.threshold)


def _psi(
    a: np.ndarray[tuple[int, ...], np.dtype[np.float64]], b: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
) -> float:
    """Population stability index of two histograms over ten bins of quality."""
    edges = np.linspace(0, LEVELS, 11).astype(int)
    p = np.add.reduceat(a, edges[:-1]) + 0.5
    q = np.add.reduceat(b, edges[:-1]) + 0.5
    p, q = p / p.sum(), q / q.sum()
    return float(((p - q) * np.log(p / q)).sum())
