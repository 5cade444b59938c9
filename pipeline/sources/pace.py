"""Which pictures of a stream are kept, and when a decoder has to hurry. Pure logic."""

from __future__ import annotations

from collections.abc import Callable

HURRY_S, RUSH_S = 0.5, 2.0
"""This far behind, pictures that no other needs are not decoded; this far, key frames alone are."""
CALM_S = 0.2
DRIFT = 1e-3
"""A camera's clock may run this much slower than ours without looking late."""
JUMP_S = 10.0


def sampler(max_fps: float | None) -> Callable[[float], bool]:
    """Return a function of a picture's media time that says whether to keep it: at most ``max_fps`` on average."""
    if max_fps is None:
        return lambda pts_s: True
    interval, due = 1.0 / max_fps, float("-inf")

    def keep(pts_s: float) -> bool:
        nonlocal due
        if due - interval * 2 <= pts_s < due - 1e-3:
            return False
        # After a gap or a jump of the clock the beat starts anew.
        due = (due if abs(pts_s - due) < interval else pts_s) + interval
        return True

    return keep


class Backlog:
    """How far a live stream's pictures are behind the newest that could be had.

    The media clock tells when a picture was due. The least difference between arrival and media time stands for "on
    time"; what comes later than that has waited in a buffer.
    """

    def __init__(self) -> None:
        self._on_time: float | None = None
        self._last_s = 0.0

    def step(self, pts_s: float, now_s: float) -> float:
        """Return by how many seconds a picture with media time ``pts_s`` is late at ``now_s`` (monotonic)."""
        offset = now_s - pts_s
        if self._on_time is None or abs(offset - self._on_time) > JUMP_S:
            self._on_time = offset
        else:
            self._on_time = min(offset, self._on_time + DRIFT * (now_s - self._last_s))
        self._last_s = now_s
        return offset - self._on_time


class Hurry:
    """What FFmpeg may leave undecoded (``skip_frame``), by how far the decoder is behind."""

    def __init__(self) -> None:
        self.skip = "DEFAULT"

    def step(self, behind_s: float) -> str:
        """Return FFmpeg's name: nothing, pictures that no other needs, or all but key frames."""
        if behind_s >= RUSH_S:
            self.skip = "NONKEY"
        elif behind_s >= HURRY_S and self.skip == "DEFAULT":
            self.skip = "NONREF"
        elif behind_s < CALM_S:
            self.skip = "DEFAULT"
        return self.skip
