"""Which pictures of a stream are kept, how late a decoder is, and when it has to hurry. Pure logic.

Lateness is never read from a camera's clock: a decoder is late when packets wait for it, by as much as they do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

HURRY_S, RUSH_S = 0.5, 2.0
"""This far behind, pictures that no other needs are not decoded; this far, key frames alone are."""
CALM_S = 0.2
DRAINED_S = 1.0
"""A decoder that will have worked off what waits within this time need not leave anything out."""
WINDOW_S = 5.0
SETTLED_S = 1.0
"""Arrivals over this time tell the rate better than what the stream says of itself."""


def sampler(max_fps: float | None, *, early: float = 0.0) -> Callable[[float], bool]:
    """Return a function of a picture's media time that says whether to keep it: at most ``max_fps`` on average.

    Args:
        max_fps: all are kept where it is ``None``.
        early: share of the interval by which a picture may come early, for clocks that waver.
    """
    if max_fps is None:
        return lambda pts_s: True
    interval, due = 1.0 / max_fps, float("-inf")

    def keep(pts_s: float) -> bool:
        nonlocal due
        if due - interval * 2 <= pts_s < due - 1e-3 - early * interval:
            return False
        # After a gap or a jump of the clock the beat starts anew.
        due = (due if abs(pts_s - due) < interval else pts_s) + interval
        return True

    return keep


class Arrivals:
    """The mean time between two packets of a stream, as they arrive here."""

    def __init__(self, stated_s: float) -> None:
        """Begin with what the stream says of itself."""
        self._times: deque[float] = deque()
        self.period_s = stated_s

    def step(self, arrived_s: float) -> None:
        """Take the next packet's time of arrival (monotonic)."""
        times = self._times
        times.append(arrived_s)
        while len(times) > 2 and arrived_s - times[0] > WINDOW_S:
            times.popleft()
        if arrived_s - times[0] >= SETTLED_S:
            self.period_s = (arrived_s - times[0]) / (len(times) - 1)


class Backlog:
    """How far behind a decoder is, and what FFmpeg may leave undecoded (``skip_frame``) so that it catches up."""

    def __init__(self) -> None:
        self.skip_frame = "DEFAULT"
        self.behind_s = 0.0
        self._cost_s = 0.0

    def record_decode_time(self, seconds: float) -> None:
        """Note how long a packet took, from being taken to the next being asked for."""
        if self.skip_frame == "DEFAULT":
            self._cost_s += 0.1 * (seconds - self._cost_s)

    def step(self, *, waited_s: float, waiting: int, period_s: float) -> str:
        """Take the state of the queue; return FFmpeg's name for what to decode.

        Args:
            waited_s: how long the packet now taken has waited.
            waiting: packets that wait behind it.
            period_s: mean time between two packets.

        Returns:
            everything, all but pictures that no other needs, or key frames alone.
        """
        self.behind_s = max(waited_s, waiting * period_s)
        spare = 1.0 - self._cost_s / max(period_s, 1e-6)
        drained_s = waiting * self._cost_s / spare if spare > 0 or not waiting else float("inf")
        if self.behind_s < CALM_S:
            self.skip_frame = "DEFAULT"
        elif self.skip_frame != "DEFAULT" or drained_s > DRAINED_S:
            if self.behind_s >= RUSH_S:
                self.skip_frame = "NONKEY"
            elif self.behind_s >= HURRY_S and self.skip_frame == "DEFAULT":
                self.skip_frame = "NONREF"
        return self.skip_frame
