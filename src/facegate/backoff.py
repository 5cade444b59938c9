"""Retry times: exponential backoff of cameras, outputs and processes."""

from __future__ import annotations

CAMERA_RETRY_S = (0.25, 3.0)
OUTPUT_RETRY_S = (0.5, 30.0)
PROCESS_RETRY_S = (0.5, 5.0)
"""First and longest delay before another attempt, s."""


class Backoff:
    """Delays that double from the first to the longest."""

    def __init__(self, delays_s: tuple[float, float]) -> None:
        self._first_s, self._longest_s = delays_s
        self._next_s = self._first_s

    def next_s(self) -> float:
        """Return the delay before the next attempt; the one after it is twice as long."""
        delay_s = self._next_s
        self._next_s = min(2 * delay_s, self._longest_s)
        return delay_s

    def reset(self) -> None:
        """Start over, after a success."""
        self._next_s = self._first_s
