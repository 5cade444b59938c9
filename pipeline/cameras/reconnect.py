"""When to try a lost camera again, and how its frames go on as one stream. Pure logic."""

from __future__ import annotations

import random

import msgspec

from facegate.pipeline.records import Frame, FrameRef

FIRST_S, CAP_S = 0.25, 3.0
UNAUTHORISED_S = 60.0
"""A camera that refuses the credentials locks out who knocks too often."""
JUMP_S = 10.0
"""A media clock that differs by this much from ours between two frames has been set."""
STEADY_S = 10.0
"""A camera that was live for this long starts with the shortest wait again."""


class Backoff:
    """Waits that double up to a cap, with jitter, so that many cameras do not come back at the same moment."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)
        self._next_s = FIRST_S

    def wait_s(self, *, unauthorised: bool, live_for_s: float) -> float:
        """Seconds until the next attempt, after one that was live for ``live_for_s``."""
        if unauthorised:
            return UNAUTHORISED_S
        if live_for_s >= STEADY_S:
            self._next_s = FIRST_S
        wait = self._next_s * self._random.uniform(0.5, 1.0)
        self._next_s = min(2 * self._next_s, CAP_S)
        return wait


class OneStream:
    """Numbers and times that go on over a reconnection: both start at zero again in every connection.

    The media time of a live stream may also jump within a connection, when a camera sets its clock. Then, too, the
    gap is as long as it was on our clock.
    """

    def __init__(self, *, anchored: bool) -> None:
        """Start a stream.

        Args:
            anchored: hold the media time to our clock; for live streams.
        """
        self._anchored = anchored
        self._first = True
        self._last: FrameRef | None = None
        self._seq, self._pts_s = 0, 0.0

    def reconnected(self) -> None:
        """The next frame comes from a new connection."""
        self._first = True

    def place(self, frame: Frame) -> Frame:
        """The frame with its place in the whole stream."""
        ref, last = frame.ref, self._last
        if last is not None and (self._first or self._jumps(ref, last)):
            gap = max(ref.received_s - last.received_s, 1e-3)
            if self._first:
                self._seq = last.seq + 1 - ref.seq
            self._pts_s = last.pts_s + gap - ref.pts_s
        self._first = False
        if self._seq or self._pts_s:
            ref = msgspec.structs.replace(ref, seq=ref.seq + self._seq, pts_s=ref.pts_s + self._pts_s)
            frame = Frame(ref=ref, image=frame.image, large=frame.large)
        self._last = ref
        return frame

    def _jumps(self, ref: FrameRef, last: FrameRef) -> bool:
        if not self._anchored:
            return False
        passed = ref.pts_s + self._pts_s - last.pts_s
        return passed <= 0 or abs(passed - (ref.received_s - last.received_s)) > JUMP_S
