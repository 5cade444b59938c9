"""Slows down who guesses. Pure logic."""

from __future__ import annotations

from collections import OrderedDict

FREE_ATTEMPTS = 3
"""Wrong attempts without a wait."""
FIRST_S, LONGEST_S = 1.0, 60.0
FORGET_S = 900.0
MAX_ADDRESSES = 10_000


class LoginThrottle:
    """Of each who tries, when they may again: after some failures each wait is twice the one before."""

    def __init__(self) -> None:
        self._failed: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait_s(self, who: str, now: float) -> float:
        """How long they still have to wait, seconds; 0 where they may try."""
        count, last = self._failed.get(who, (0, 0.0))
        if count < FREE_ATTEMPTS or now - last > FORGET_S:
            return 0.0
        return max(0.0, last + min(FIRST_S * 2.0 ** min(count - FREE_ATTEMPTS, 10), LONGEST_S) - now)

    def record_failure(self, who: str, now: float) -> None:
        """An attempt was wrong."""
        count, last = self._failed.pop(who, (0, 0.0))
        self._failed[who] = (1 if now - last > FORGET_S else count + 1, now)
        while len(self._failed) > MAX_ADDRESSES:
            self._failed.popitem(last=False)

    def record_success(self, who: str) -> None:
        """One was right."""
        self._failed.pop(who, None)
