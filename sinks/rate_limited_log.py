"""What a peer is refused is told once a minute, however often it knocks."""

from __future__ import annotations

from time import monotonic

import structlog

MIN_INTERVAL_S = 60.0
MAX_PEERS = 1000

log = structlog.get_logger(__name__)


class RateLimitedLog:
    """Logs refusals, one line per peer and minute. One thread at a time."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def warn(self, what: str, peer: str, reason: str) -> None:
        """Log a refusal unless this peer's was logged a moment ago.

        Args:
            what: the event, such as ``worker refused``.
            peer: whoever is refused.
            reason: why, in words.
        """
        now = monotonic()
        if now - self._told.get(peer, -MIN_INTERVAL_S) < MIN_INTERVAL_S:
            return
        if len(self._told) >= MAX_PEERS:
            self._told.clear()
        self._told[peer] = now
        log.warning(what, peer=peer[:8], reason=reason)
