"""Conditional writes, and what became of each: made, refused, certainly not made, or never heard of again. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

LOST_S = 2.0
"""A write without an answer for so long is as good as lost: what the bucket tells then counts."""
AGAIN_S = 0.5
"""A write that was certainly not made is made again after so long."""
UNTOLD_S = 1.0
"""What the bucket does not tell for so long it does not tell any more."""


class Write(msgspec.Struct, frozen=True):
    """A key is to get this value if its revision still is the expected one (0: it has never been)."""

    key: str
    value: bytes
    expected: int
    sent_s: float


class PendingWrites:
    """Those of one gate. Of each key there is one on its way at most."""

    def __init__(self) -> None:
        self.answered_s = float("-inf")
        """When one was last answered; long ago where it is known that nobody decides on writes now."""
        self._on_the_way: dict[str, Write] = {}
        self._refused: dict[str, tuple[int, float]] = {}
        """The revision that was expected in vain, and since when."""
        self._told = 0
        self._untold: tuple[int, float] | None = None
        """The first revision that was made here and that the bucket has not told of, and since when."""

    def __contains__(self, key: str) -> bool:
        """Whether a write to this key is on its way."""
        return key in self._on_the_way

    def is_pending(self, word: str) -> int:
        """How many to keys of this kind are on their way."""
        return sum(key.startswith(f"{word}.") for key in self._on_the_way)

    def send(self, writes: Iterable[Write | None]) -> list[Write]:
        """Return those that can be sent now; they are on their way from here on."""
        found = [write for write in writes if write is not None and write.key not in self]
        self._on_the_way |= {write.key: write for write in found}
        return found

    def forget(self) -> None:
        """Nothing will be heard any more of what is on its way."""
        self._on_the_way.clear()
        self._refused.clear()
        self.answered_s, self._untold = float("-inf"), None

    def forget_lost(self, now: float) -> None:
        """What has waited too long for its answer may be written once more."""
        for key, write in list(self._on_the_way.items()):
            if now - write.sent_s >= LOST_S:
                del self._on_the_way[key]

    def observed_revision(self, revision: int) -> None:
        """The bucket tells of a revision."""
        self._told = max(self._told, revision)
        if self._untold is not None and self._told >= self._untold[0]:
            self._untold = None

    def answered(self, write: Write, revision: int | None, now: float) -> None:
        """The revision that a write made, or ``None`` where it was refused."""
        self._on_the_way.pop(write.key, None)
        self.answered_s = now
        if revision is None:
            if self._refused.get(write.key, (None, now))[0] != write.expected:
                self._refused[write.key] = (write.expected, now)
        elif self._untold is None and revision > self._told:
            self._untold = (revision, now)

    def write_rejected(self, write: Write, now: float) -> bool:
        """A write was certainly not made; return whether none to its key was sent since it was as good as lost."""
        self.answered_s = float("-inf")
        last = self._on_the_way.get(write.key) is write
        if last:
            self._on_the_way[write.key] = msgspec.structs.replace(write, sent_s=now - LOST_S + AGAIN_S)
        return last

    def stale(self, now: float, revision_of: Callable[[str], int]) -> bool:
        """Whether the bucket tells less than has happened.

        It refuses what should work by all that it told, or does not tell of what was made.
        """
        return (self._untold is not None and now - self._untold[1] > UNTOLD_S) or any(
            now - since > UNTOLD_S and revision_of(key) == expected
            for key, (expected, since) in self._refused.items()
        )
