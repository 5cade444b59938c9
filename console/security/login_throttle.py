"""Delays repeated failed logins. Pure logic."""

from __future__ import annotations

from collections import OrderedDict

FREE_ATTEMPTS = 3
"""Failed attempts without a delay."""
FIRST_DELAY_S, MAX_DELAY_S = 1.0, 60.0
FORGET_S = 900.0
MAX_ADDRESSES = 10_000


class LoginThrottle:
    """Delay per source (address or user name); it doubles with every failure after the first three."""

    def __init__(self) -> None:
        self._failed: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait_s(self, source: str, now: float) -> float:
        """Seconds until the next attempt is allowed; 0 if it is allowed now."""
        count, last = self._failed.get(source, (0, 0.0))
        if count < FREE_ATTEMPTS or now - last > FORGET_S:
            return 0.0
        return max(0.0, last + min(FIRST_DELAY_S * 2.0 ** min(count - FREE_ATTEMPTS, 10), MAX_DELAY_S) - now)

    def record_failure(self, source: str, now: float) -> None:
        """Record a failed login."""
        count, last = self._failed.pop(source, (0, 0.0))
        self._failed[source] = (1 if now - last > FORGET_S else count + 1, now)
        while len(self._failed) > MAX_ADDRESSES:
            self._failed.popitem(last=False)

    def record_success(self, source: str) -> None:
        """Record a successful login."""
        self._failed.pop(source, None)
