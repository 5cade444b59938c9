"""Log of refused peers, limited to one line per peer and minute."""

from __future__ import annotations

from time import monotonic

import structlog

MIN_INTERVAL_S = 60.0
MAX_PEERS = 1000

log = structlog.get_logger(__name__)


class RateLimitedLog:
    """Logs refusals, one line per peer and minute. One thread at a time."""

    def __init__(self) -> None:
        self._logged_s: dict[str, float] = {}

    def warn(self, what: str, peer: str, reason: str) -> None:
        """Log a refusal unless this peer was logged within the last minute.

        Args:
            what: what was refused, ``worker`` or ``message``.
            peer: name, key or identity; its first 8 characters are logged.
            reason: why.
        """
        now = monotonic()
        if now - self._logged_s.get(peer, -MIN_INTERVAL_S) < MIN_INTERVAL_S:
            return
        if len(self._logged_s) >= MAX_PEERS:
            self._logged_s.clear()
        self._logged_s[peer] = now
        log.warning("peer refused", what=what, peer=peer[:8], reason=reason)
