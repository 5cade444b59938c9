"""What is old, or too much, goes: from the store, and of the recordings beside it."""

from __future__ import annotations

from math import inf, nextafter
from pathlib import Path

import msgspec

from facegate.errors import StoreError
from facegate.store.file import StoreFile

CHUNK = 500
"""Rows that go in one step, so that nobody waits long for the file."""


TABLES = (("visits", "last"), ("shots", "seen"), ("tracks", "last"))


class Limits(msgspec.Struct, frozen=True):
    """How much is kept."""

    days: float
    max_mb: int
    """Of the store and of the recordings, each."""


class Gone(msgspec.Struct, frozen=True):
    """What was removed."""

    visits: int
    shots: int
    tracks: int
    pieces: int
    """Of recordings."""


class Retention(StoreFile):
    """Removes from the store."""

    def tidy(self, recordings: Path, limits: Limits, now: float) -> Gone:
        """Remove what is older than the limits allow, then the oldest while there is more.

        Args:
            recordings: the folder of recordings, a folder for each run.
            limits: what is kept.
            now: Unix time.

        Raises:
            StoreError: the store cannot be written.
        """
        oldest = now - 86_400 * limits.days
        gone = self._before(oldest)
        while self._bytes() > 1_000_000 * limits.max_mb and (next_ := self._chunk_end()) is not None:
            gone = [have + more for have, more in zip(gone, self._before(next_), strict=True)]
        with self._errors():
            self._db.executescript("PRAGMA incremental_vacuum")  # "execute" would free a single page
        visits, shots, tracks = gone
        return Gone(visits, shots, tracks, _tidy_pieces(recordings, oldest, 1_000_000 * limits.max_mb))

    def _before(self, oldest: float) -> list[int]:
        """Remove what is older from every table, so that no visit is left without its shots; how much of each."""
        return [self._older(table, time, oldest) for table, time in TABLES]

    def _older(self, table: str, time: str, oldest: float) -> int:
        total = 0
        while True:
            with self._transaction():
                gone = self._db.execute(
                    f"DELETE FROM {table} WHERE rowid IN "
                    f"(SELECT rowid FROM {table} WHERE {time} < ? ORDER BY {time} LIMIT {CHUNK})",
                    (oldest,),
                ).rowcount
            total += gone
            if gone < CHUNK:
                return total

    def _chunk_end(self) -> float | None:
        """A time before which there is a chunk of one table and not more of another; ``None``: nothing is left."""
        with self._errors():
            ends = [
                self._db.execute(
                    f"SELECT max({time}) FROM (SELECT {time} FROM {table} ORDER BY {time} LIMIT {CHUNK})"
                ).fetchone()[0]
                for table, time in TABLES
            ]
        return min((nextafter(end, inf) for end in ends if end is not None), default=None)

    def _bytes(self) -> int:
        """In use; free pages go back to the disk at the end."""
        with self._errors():
            return (self._pragma("page_count") - self._pragma("freelist_count")) * self._pragma("page_size")


def _tidy_pieces(recordings: Path, oldest: float, max_bytes: int) -> int:
    try:
        found = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in recordings.glob("*/*.rec"))
        newest = {
            run: max(path for _, _, path in found if path.parent == run) for run in {p.parent for *_, p in found}
        }
        total, gone = sum(size for _, size, _ in found), 0
        for changed, size, path in found:
            # The piece that is being written stays, whatever its size.
            if path == newest[path.parent] and changed >= oldest:
                continue
            if changed < oldest or total > max_bytes:
                path.unlink()
                total, gone = total - size, gone + 1
                if not any(path.parent.iterdir()):
                    path.parent.rmdir()
        return gone
    except OSError as error:
        raise StoreError(
            f"recordings in {recordings} cannot be tidied: {(error.strerror or 'error').lower()}"
        ) from error
