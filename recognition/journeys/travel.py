"""How long people take from one camera to another: learned from journeys that faces have made sure, or given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
import numpy as np

MIN_WALKS = 5
"""Sure walks from one camera to another before their times count."""
TRIMMED = 0.05
"""Share of the shortest and of the longest walks that do not count, once there are enough."""
MIN_SLACK_S = 2.0
SLACK_SHARE = 0.5
"""Tolerance around learned times: this share of their spread, or at least ``MIN_SLACK_S``."""
SAME_CAMERA_S = 30.0
"""Seconds within which somebody who turned away is seen again by the same camera."""
OVERLAP_S = 10.0
"""Seconds that two cameras may see the same person at once, where only the longest time is given."""


class Walk(msgspec.Struct, frozen=True):
    """From the end of a visit at one camera to the beginning of the next one at another."""

    start: str
    end: str
    seconds: float
    """Negative where both cameras see the person at once."""


class TravelTime(msgspec.Struct, frozen=True):
    """Times of walks from one camera to another that count as plausible."""

    start: str
    end: str
    least_s: float
    most_s: float
    walks: int
    """Number of walks it was learned from; 0 if it is given."""


class TravelTimes:
    """Which cameras neighbor which."""

    def __init__(self, times: Iterable[TravelTime] = ()) -> None:
        self._times = {(each.start, each.end): each for each in times}

    def plausible(self, start: str, end: str, seconds: float) -> bool:
        """Whether a person may be seen at ``end`` this many seconds after having left ``start``."""
        if start == end:
            return 0 <= seconds <= SAME_CAMERA_S
        known = self._times.get((start, end))
        return known is not None and known.least_s <= seconds <= known.most_s

    def all(self) -> list[TravelTime]:
        """All of them, in order of the cameras."""
        return [self._times[key] for key in sorted(self._times)]


def learn(walks: Iterable[Walk], given: Mapping[str, Mapping[str, float]] | None = None) -> TravelTimes:
    """Learn from sure walks.

    Args:
        walks: of journeys that faces have made sure.
        given: seconds that the way from one camera to another takes at most; replaces what is learned, both ways.
    """
    found: dict[tuple[str, str], list[float]] = {}
    for walk in walks:
        found.setdefault((walk.start, walk.end), []).append(walk.seconds)
    times = [_learned(start, end, seconds) for (start, end), seconds in found.items() if len(seconds) >= MIN_WALKS]
    for start, ends in (given or {}).items():
        for end, most_s in ends.items():
            times += [TravelTime(a, b, -OVERLAP_S, most_s, 0) for a, b in ((start, end), (end, start))]
    return TravelTimes(times)


def _learned(start: str, end: str, seconds: list[float]) -> TravelTime:
    least, most = (float(np.quantile(seconds, share)) for share in (TRIMMED, 1 - TRIMMED))
    slack = max(MIN_SLACK_S, SLACK_SHARE * (most - least))
    return TravelTime(start, end, least - slack, most + slack, len(seconds))
