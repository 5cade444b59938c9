"""What is old, or too much, goes: from the store, and of the recordings beside it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from facegate.errors import StoreError
from facegate.store.file import StoreFile

CHUNK = 500
"""Rows that go in one step, so that nobody waits long for the file."""


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
        shots = self._older("shots", "seen", oldest)
        visits = self._older("visits", "last", oldest)
        tracks = self._older("tracks", "last", oldest)
        while self._bytes() > 1_000_000 * limits.max_mb:
            gone = (self._first("shots", "seen"), self._first("visits", "last"), self._first("tracks", "last"))
            if not any(gone):
                break
            shots, visits, tracks = shots + gone[0], visits + gone[1], tracks + gone[2]
        with self._errors():
            self._db.executescript("PRAGMA incremental_vacuum")  # "execute" would free a single page
        return Gone(visits, shots, tracks, _tidy_pieces(recordings, oldest, 1_000_000 * limits.max_mb))

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

    def _first(self, table: str, time: str) -> int:
        with self._transaction():
            return self._db.execute(
                f"DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} ORDER BY {time} LIMIT {CHUNK})"
            ).rowcount

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
