"""Notices that the host's clock was set: by more than a minute, forward or back. Pure: times are arguments."""

from __future__ import annotations

from facegate.console.alarms.conditions import Condition

LEAP_S = 60.0
"""Smaller steps are corrections by a time server."""
SHOWN_S = 86_400.0
"""The alarm of a leap ends after this time, or when the clock is back."""
REMEDY = "check the host's date and its time server; times of visits before and after do not fit together"


class ClockCheck:
    """Compares the wall clock with the monotonic one."""

    def __init__(self, seen: float | None) -> None:
        """``seen`` is the last Unix time of an earlier process: time does not run backward across a restart."""
        self._seen = seen
        self._offset: float | None = None
        self._original: float | None = None
        """Offset before the first leap."""

    def check(self, wall: float, elapsed: float, since: float | None) -> Condition:
        """Return the finding now.

        Args:
            wall: Unix time.
            elapsed: monotonic time, see :func:`facegate.clock.elapsed_s`.
            since: Unix time since when the alarm is open; ``None`` if it is not.
        """
        offset = wall - elapsed
        if self._offset is None:
            back = 0.0 if self._seen is None else min(0.0, wall - self._seen)
            self._offset = offset - back
        moved, self._offset = offset - self._offset, offset
        if self._original is not None and abs(offset - self._original) <= LEAP_S:
            self._original = None
            return Condition("clock", "")
        if abs(moved) > LEAP_S:
            if self._original is None:
                self._original = offset - moved
            way = "forward" if moved > 0 else "back"
            return Condition("clock", "", f"the clock was set {way} by {abs(moved):.0f} s", REMEDY)
        return Condition("clock", "", is_known=since is None or not 0 <= wall - since <= SHOWN_S)
