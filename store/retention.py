"""Retention: deletes what is too old or too large from the store and the recordings beside it."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, nextafter
from pathlib import Path

import msgspec

from facegate.clock import JUMP_S, FileClock, expired, expired_row
from facegate.errors import StoreError, os_errors
from facegate.store.schema import StoreFile

CHUNK = 500
"""Rows deleted per transaction, so that other writers do not wait long."""


TABLES = (("visits", "last"), ("shots", "seen"), ("tracks", "last"), ("clips", "began"))
POOR_QUALITY = 20
"""Visits without a name whose best shot is below are poor: nobody can be recognized in them."""
POOR_PERIOD_S = 7 * 86_400.0
"""Poor visits are searched for in this period before their limit, so that each call reads few rows."""


class RetentionLimits(msgspec.Struct, frozen=True):
    """Limits of what is kept."""

    days: float
    max_mb: int
    """Size limit of the store and of the recordings, MB each."""
    poor_days: float = inf
    """Limit of poor visits."""


class CameraRetention(msgspec.Struct, frozen=True):
    """How many days the data of one camera is kept."""

    days: float
    """Visits with a name."""
    unknown_days: float
    """Visits without a name, and faces that were not sent."""
    scene_days: float
    """Whole pictures and clips."""


class Deleted(msgspec.Struct, frozen=True):
    """Numbers of what was deleted."""

    visits: int
    shots: int
    tracks: int
    segments: int
    """Segments of recordings."""


class Retention(StoreFile):
    """Deletes from the store."""

    def trusts(self, clock: FileClock, now: float, elapsed: float) -> bool:
        """Whether the clock may be trusted to delete by age.

        Args:
            clock: the same instance at every call.
            now: Unix time.
            elapsed: see :func:`facegate.clock.elapsed_s`.

        Raises:
            StoreError: the store cannot be written.
        """
        with self._errors():
            row = self._db.execute("SELECT last FROM visits ORDER BY id DESC LIMIT 1").fetchone()
            return clock.check(self._db, None if row is None else row[0], now, elapsed)

    def cameras(self) -> list[str]:
        """Cameras in the store.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._errors():
            rows = self._db.execute(
                "WITH RECURSIVE names (name) AS (SELECT min(camera) FROM tracks UNION ALL "
                "SELECT (SELECT min(camera) FROM tracks WHERE camera > name) FROM names WHERE name IS NOT NULL) "
                "SELECT name FROM names WHERE name IS NOT NULL UNION SELECT DISTINCT camera FROM visits"
            ).fetchall()
        return [camera for (camera,) in rows]

    def apply(
        self,
        recordings: Path,
        limits: RetentionLimits,
        now: float,
        *,
        by_age: bool = True,
        cameras: Mapping[str, CameraRetention] | None = None,
    ) -> Deleted:
        """Delete what is older than the limit, then the oldest while the size exceeds its limit.

        A recording holds all cameras, so that the shortest limit of any camera applies to recordings.

        Args:
            recordings: folder of recordings, with one folder per run.
            limits: the limits.
            now: Unix time.
            by_age: whether ``now`` can be trusted; if not, only the size limit applies.
            cameras: limits of cameras in the store; others have ``limits.days``.

        Raises:
            StoreError: the store cannot be written.
        """
        own = cameras or {}
        ages = [limits.days, *(age for each in own.values() for age in (each.days, each.unknown_days))]
        oldest = now - 86_400 * max(ages) if by_age else -inf
        gone = self._delete_before(oldest, now)
        if by_age:
            poor = self._delete_poor(now - 86_400 * limits.poor_days)
            gone = [have + one for have, one in zip(gone, poor, strict=True)]
        for camera, each in own.items() if by_age else ():
            gone = [have + one for have, one in zip(gone, self._delete_of(camera, each, now), strict=True)]
        while self._bytes() > 1_000_000 * limits.max_mb:
            before = self._chunk_end(now)
            more = self._first_chunks() if before is None else self._delete_before(before, now)
            if not any(more):
                break
            gone = [have + one for have, one in zip(gone, more, strict=True)]
        with self._errors():
            self._db.executescript("PRAGMA incremental_vacuum")  # "execute" would free a single page
            if any(gone):
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # nothing may remain in the write-ahead log
        visits, shots, tracks, _ = gone
        oldest = now - 86_400 * min(ages) if by_age else -inf
        segments = self._delete_segments(recordings, oldest, now, 1_000_000 * limits.max_mb)
        return Deleted(visits, shots, tracks, segments)

    def _delete_before(self, oldest: float, now: float) -> list[int]:
        """Delete older rows from every table, so that no visit is left without its shots; return the counts."""
        gone = []
        for table, time in TABLES:
            with self._errors():
                end = expired_row(self._db, table, time, oldest, now)
            gone.append(0 if end is None else self._through(table, end))
        return gone

    def _delete_of(self, camera: str, kept: CameraRetention, now: float) -> list[int]:
        """Delete what is too old of one camera; return the counts, as in ``TABLES``."""
        gone = [0, 0, 0, 0]
        for days, known in ((kept.days, True), (kept.unknown_days, False)):
            old = "camera = ?1 AND first < ?2 AND last < ?2 AND (name IS NOT NULL) = ?3"
            where = f"visit IN (SELECT visit FROM visits WHERE {old})"
            for index, table in ((3, "clips"), (1, "shots"), (2, "tracks"), (0, "visits")):
                gone[index] += self._delete_where(table, where, camera, now - 86_400 * days, known)
        before = now - 86_400 * kept.unknown_days
        gone[1] += self._delete_where("shots", "camera = ?1 AND seen < ?2 AND reason = 'shadow'", camera, before)
        alone = "NOT EXISTS (SELECT 1 FROM visits WHERE visits.visit = tracks.visit)"
        gone[2] += self._delete_where("tracks", f"camera = ?1 AND last < ?2 AND {alone}", camera, before)
        old = "shot IN (SELECT id FROM shots WHERE camera = ?1 AND seen < ?2)"
        self._delete_where("scenes", old, camera, now - 86_400 * kept.scene_days)
        gone[3] += self._delete_where("clips", "camera = ?1 AND began < ?2", camera, now - 86_400 * kept.scene_days)
        return gone

    def _delete_where(self, table: str, where: str, *values: object) -> int:
        """Delete rows; they are searched before other writers have to wait."""
        with self._errors():
            rows = self._db.execute(f"SELECT rowid FROM {table} WHERE {where}", values).fetchall()
        for start in range(0, len(rows), CHUNK):
            with self._transaction():
                self._db.executemany(f"DELETE FROM {table} WHERE rowid = ?", rows[start : start + CHUNK])
        return len(rows)

    def _delete_poor(self, before: float) -> list[int]:
        """Delete poor visits that ended before a Unix time, with their shots and tracks; return the counts."""
        counts = [0] * len(TABLES)
        while True:
            with self._transaction():
                visits = self._db.execute(
                    "SELECT visit FROM visits WHERE last >= ? AND last < ? AND ended AND name IS NULL "
                    f"AND quality < {POOR_QUALITY} LIMIT {CHUNK}",
                    (before - POOR_PERIOD_S, before),
                ).fetchall()
                for index, (table, _) in enumerate(TABLES if visits else ()):
                    counts[index] += self._db.executemany(f"DELETE FROM {table} WHERE visit = ?", visits).rowcount
            if len(visits) < CHUNK:
                return counts

    def _through(self, table: str, end: int) -> int:
        """Delete the rows up to ``end``; return how many there were."""
        total = 0
        while True:
            with self._transaction():
                gone = self._db.execute(
                    f"DELETE FROM {table} WHERE rowid IN "
                    f"(SELECT rowid FROM {table} WHERE rowid <= ? ORDER BY rowid LIMIT {CHUNK})",
                    (end,),
                ).rowcount
            total += gone
            if gone < CHUNK:
                return total

    def _chunk_end(self, now: float) -> float | None:
        """Unix time before which no table has more than a chunk of rows; ``None`` if unknown."""
        with self._errors():
            ends = [
                self._db.execute(
                    f"SELECT max({time}) FROM (SELECT {time} FROM {table} ORDER BY rowid LIMIT {CHUNK}) "
                    f"WHERE {time} <= ?",
                    (now + JUMP_S,),
                ).fetchone()[0]
                for table, time in TABLES
            ]
        return min((nextafter(end, inf) for end in ends if end is not None), default=None)

    def _first_chunks(self) -> list[int]:
        """Delete the first chunk of each table, where all times are implausible; return the counts."""
        gone = []
        for table, _ in TABLES:
            with self._errors():
                end = self._db.execute(
                    f"SELECT max(rowid) FROM (SELECT rowid FROM {table} ORDER BY rowid LIMIT {CHUNK})"
                ).fetchone()[0]
            gone.append(0 if end is None else self._through(table, end))
        return gone

    def _bytes(self) -> int:
        """Bytes in use; free pages are returned to the disk at the end."""
        with self._errors():
            return (self._pragma("page_count") - self._pragma("freelist_count")) * self._pragma("page_size")

    def _delete_segments(self, recordings: Path, oldest: float, now: float, max_bytes: int) -> int:
        with os_errors(StoreError, f"cannot delete old recordings in {recordings}"):
            found = {path: path.stat() for path in recordings.glob("*/*.rec")}
            order = self._arrived(recordings, {path: stat.st_mtime for path, stat in found.items()})
            newest = {path.parent: path for path in sorted(found)}
            total = sum(stat.st_size for stat in found.values())
            old = expired([found[path].st_mtime for path in order], oldest, now)
            gone = 0
            for index, path in enumerate(order):
                # The segment that is being written stays, whatever its size.
                if path == newest[path.parent] and index >= old:
                    continue
                if index < old or total > max_bytes:
                    path.unlink()
                    total, gone = total - found[path].st_size, gone + 1
                    if not any(path.parent.iterdir()):
                        path.parent.rmdir()
            return gone

    def _arrived(self, recordings: Path, found: dict[Path, float]) -> list[Path]:
        """Segments (with the times of their last change) in the order in which they were first seen."""
        names = {str(path.relative_to(recordings)): path for path in sorted(found, key=lambda path: found[path])}
        with self._errors():
            known = [name for (name,) in self._db.execute("SELECT piece FROM pieces ORDER BY id")]
        new, left = (
            [name for name in names if name not in set(known)],
            [name for name in known if name not in names],
        )
        if new or left:
            with self._transaction():
                self._db.executemany("DELETE FROM pieces WHERE piece = ?", [(name,) for name in left])
                self._db.executemany("INSERT INTO pieces (piece) VALUES (?)", [(name,) for name in new])
        return [names[name] for name in (*known, *new) if name in names]
