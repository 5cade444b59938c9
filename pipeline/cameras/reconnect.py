"""Reconnection: backoff, and one continuous stream of frame numbers and times. Pure logic."""

from __future__ import annotations

import random

import msgspec

from facegate.backoff import CAMERA_RETRY_S, Backoff
from facegate.pipeline.records import Frame, FrameRef

UNAUTHORIZED_RETRY_S = 60.0
"""Seconds between two attempts with rejected credentials; many cameras lock out clients that retry too often."""
STABLE_AFTER_S = 10.0
"""Seconds of live frames after which the backoff starts over."""


class ReconnectDelay:
    """Backoff with jitter, so that many cameras do not come back at the same moment."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)
        self._backoff = Backoff(CAMERA_RETRY_S)

    def wait_s(self, *, unauthorized: bool, live_for_s: float) -> float:
        """Seconds until the next attempt, after one that was live for ``live_for_s``."""
        if unauthorized:
            return UNAUTHORIZED_RETRY_S
        if live_for_s >= STABLE_AFTER_S:
            self._backoff.reset()
        return self._backoff.next_s() * self._random.uniform(0.5, 1.0)


class TimestampStitcher:
    """Continues frame numbers and media times over reconnections; sources start both at zero.

    The gap between two connections is as long as it was on this host's monotonic clock.
    """

    def __init__(self) -> None:
        self._first = True
        self._last: FrameRef | None = None
        self._seq, self._pts_s = 0, 0.0

    def reconnected(self) -> None:
        """The next frame comes from a new connection."""
        self._first = True

    def stitch(self, frame: Frame) -> Frame:
        """Return the frame with its number and media time in the whole stream."""
        ref, last = frame.ref, self._last
        if last is not None and self._first:
            self._seq = last.seq + 1 - ref.seq
            self._pts_s = last.pts_s + max(ref.received_s - last.received_s, 1e-3) - ref.pts_s
        self._first = False
        if self._seq or self._pts_s:
            ref = msgspec.structs.replace(ref, seq=ref.seq + self._seq, pts_s=ref.pts_s + self._pts_s)
            frame = Frame(ref=ref, image=frame.image, large=frame.large)
        self._last = ref
        return frame
