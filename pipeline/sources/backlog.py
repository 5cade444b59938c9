"""Frame sampling, the decoder's backlog, and when to skip decoding. Pure logic.

The backlog is never derived from a camera's clock: it is the time that packets wait for the decoder.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal

SKIP_NONREF_AFTER_S, SKIP_NONKEY_AFTER_S = 0.5, 2.0
"""Seconds behind from which non-reference frames are skipped, and from which all but key frames are."""
CAUGHT_UP_S = 0.2
"""Seconds behind below which everything is decoded again."""
DRAINED_S = 1.0
"""A backlog that the decoder works off within this many seconds needs no skipping."""
WINDOW_S = 5.0
"""Window over which the rate of arrivals is measured, seconds."""
SETTLED_S = 1.0
"""Seconds of arrivals after which the measured rate replaces the declared one."""


def sampler(max_fps: float | None, *, early: float = 0.0) -> Callable[[float], bool]:
    """Return a function of a frame's media time that returns whether to keep it: at most ``max_fps`` on average.

    Args:
        max_fps: ``None`` keeps all.
        early: share of the interval by which a frame may be early, for clocks with jitter.
    """
    if max_fps is None:
        return lambda pts_s: True
    interval, due = 1.0 / max_fps, float("-inf")

    def keep(pts_s: float) -> bool:
        nonlocal due
        if due - interval * 2 <= pts_s < due - 1e-3 - early * interval:
            return False
        # After a gap or a jump of the clock the sampling restarts.
        due = (due if abs(pts_s - due) < interval else pts_s) + interval
        return True

    return keep


class Arrivals:
    """Mean time between two packets of a stream, by their arrival."""

    def __init__(self, stated_s: float) -> None:
        """Start with the declared time between two frames."""
        self._times: deque[float] = deque()
        self.period_s = stated_s

    def step(self, arrived_s: float) -> None:
        """Take the next packet's arrival time (monotonic)."""
        times = self._times
        times.append(arrived_s)
        while len(times) > 2 and arrived_s - times[0] > WINDOW_S:
            times.popleft()
        if arrived_s - times[0] >= SETTLED_S:
            self.period_s = (arrived_s - times[0]) / (len(times) - 1)


SkipFrame = Literal["DEFAULT", "NONREF", "NONKEY"]


class Backlog:
    """How far behind a decoder is, and what FFmpeg may skip (``skip_frame``) to catch up."""

    def __init__(self) -> None:
        self.skip_frame: SkipFrame = "DEFAULT"
        self.behind_s = 0.0
        self._cost_s = 0.0

    def record_decode_time(self, seconds: float) -> None:
        """Record the time from taking a packet to asking for the next one."""
        if self.skip_frame == "DEFAULT":
            self._cost_s += 0.1 * (seconds - self._cost_s)

    def step(self, *, waited_s: float, waiting: int, period_s: float) -> SkipFrame:
        """Take the state of the queue; return FFmpeg's ``skip_frame``.

        Args:
            waited_s: seconds that the packet just taken has waited.
            waiting: number of packets behind it.
            period_s: mean seconds between two packets.

        Returns:
            ``DEFAULT``, ``NONREF`` or ``NONKEY``.
        """
        self.behind_s = max(waited_s, waiting * period_s)
        spare = 1.0 - self._cost_s / max(period_s, 1e-6)
        drained_s = waiting * self._cost_s / spare if spare > 0 or not waiting else float("inf")
        if self.behind_s < CAUGHT_UP_S:
            self.skip_frame = "DEFAULT"
        elif self.skip_frame != "DEFAULT" or drained_s > DRAINED_S:
            if self.behind_s >= SKIP_NONKEY_AFTER_S:
                self.skip_frame = "NONKEY"
            elif self.behind_s >= SKIP_NONREF_AFTER_S and self.skip_frame == "DEFAULT":
                self.skip_frame = "NONREF"
        return self.skip_frame
