"""What a peer is refused is told once a minute, however often it knocks."""

from __future__ import annotations

from time import monotonic

import structlog

QUIET_S = 60.0
MOST_PEERS = 1000

log = structlog.get_logger(__name__)


class Refusals:
    """Logs refusals, one line per peer and minute. One thread at a time."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def tell(self, what: str, peer: str, reason: str) -> None:
        """Log a refusal unless this peer's was logged a moment ago.

        Args:
            what: the event, such as ``worker refused``.
            peer: whoever is refused.
            reason: why, in words.
        """
        now = monotonic()
        if now - self._told.get(peer, -QUIET_S) < QUIET_S:
            return
        if len(self._told) >= MOST_PEERS:
            self._told.clear()
        self._told[peer] = now
        log.warning(what, peer=peer[:8], reason=reason)
