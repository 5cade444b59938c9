"""Conditional writes and their outcomes: made, refused, rejected (certainly not made), or lost. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

LOST_S = 2.0
"""A write without an answer for this long counts as lost; updates of the bucket show its outcome."""
RETRY_AFTER_S = 0.5
"""Delay before a rejected write is repeated."""
UNOBSERVED_S = 1.0
"""The watch has stalled if it does not report a revision for this long."""


class Write(msgspec.Struct, frozen=True):
    """Conditional write of a value, valid if the key still has the expected revision (0: the key is new)."""

    key: str
    value: bytes
    expected: int
    sent_s: float


class PendingWrites:
    """Writes of one node; at most one per key is in flight."""

    def __init__(self) -> None:
        self.answered_s = float("-inf")
        """When a write was last answered; ``-inf`` while there is no leader."""
        self._in_flight: dict[str, Write] = {}
        self._refused: dict[str, tuple[int, float]] = {}
        """Key -> expected revision of a refused write, and since when it has been refused."""
        self._observed = 0
        self._unobserved: tuple[int, float] | None = None
        """First revision written here that the watch has not reported, and since when."""

    def __contains__(self, key: str) -> bool:
        """Whether a write to this key is in flight."""
        return key in self._in_flight

    def is_pending(self, word: str) -> int:
        """Number of writes in flight to keys with this prefix."""
        return sum(key.startswith(f"{word}.") for key in self._in_flight)

    def send(self, writes: Iterable[Write | None]) -> list[Write]:
        """Return the writes that can be sent now; they count as in flight."""
        found = [write for write in writes if write is not None and write.key not in self]
        self._in_flight |= {write.key: write for write in found}
        return found

    def forget(self) -> None:
        """Forget all writes in flight: they will not be answered."""
        self._in_flight.clear()
        self._refused.clear()
        self.answered_s, self._unobserved = float("-inf"), None

    def forget_lost(self, now: float) -> None:
        """Forget writes that have waited too long for an answer, so that they can be repeated."""
        for key, write in list(self._in_flight.items()):
            if now - write.sent_s >= LOST_S:
                del self._in_flight[key]

    def observed_revision(self, revision: int) -> None:
        """Record a revision reported by the watch."""
        self._observed = max(self._observed, revision)
        if self._unobserved is not None and self._observed >= self._unobserved[0]:
            self._unobserved = None

    def answered(self, write: Write, revision: int | None, now: float) -> None:
        """Record the answer to a write: its revision, or ``None`` if it was refused."""
        self._in_flight.pop(write.key, None)
        self.answered_s = now
        if revision is None:
            if self._refused.get(write.key, (None, now))[0] != write.expected:
                self._refused[write.key] = (write.expected, now)
        elif self._unobserved is None and revision > self._observed:
            self._unobserved = (revision, now)

    def write_rejected(self, write: Write, now: float) -> bool:
        """Record that a write was certainly not made; return whether it is still the last one to its key."""
        self.answered_s = float("-inf")
        last = self._in_flight.get(write.key) is write
        if last:
            self._in_flight[write.key] = msgspec.structs.replace(write, sent_s=now - LOST_S + RETRY_AFTER_S)
        return last

    def stale(self, now: float, revision_of: Callable[[str], int]) -> bool:
        """Whether the watch lags behind the bucket.

        The bucket refuses a write that is valid by the reported revisions, or the watch does not report a write
        made here.
        """
        return (self._unobserved is not None and now - self._unobserved[1] > UNOBSERVED_S) or any(
            now - since > UNOBSERVED_S and revision_of(key) == expected
            for key, (expected, since) in self._refused.items()
        )
