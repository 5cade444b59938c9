"""Spool: shots on disk from the decision to forward until the acknowledgement. SQLite in WAL mode.

A shot is committed before it is sent and deleted when it is acknowledged, so it survives a crash of the gate. A
batch is one transaction. With ``synchronous: normal`` commits survive the process, but a power cut may lose the
last few; ``full`` waits for the disk at every commit.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from time import time
from typing import Any, Literal

import msgspec

from facegate.clock import FileClock, elapsed_s, expired_row
from facegate.database import Database
from facegate.errors import DeliveryError
from facegate.sinks.wire import EncodedShot

Synchronous = Literal["normal", "full"]
Header = bytes
"""Alias of ``bytes``, which is a property within :class:`Spool`."""
WhenFull = Literal["block", "drop_oldest", "stop"]

_STEPS = (
    """
    CREATE TABLE shots (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        shot_id TEXT NOT NULL UNIQUE,
        camera TEXT NOT NULL,
        track_id INTEGER NOT NULL,
        created REAL NOT NULL,
        size INTEGER NOT NULL,
        header BLOB NOT NULL,
        crop BLOB NOT NULL
    );
    CREATE INDEX shots_by_time ON shots (created)
    """,
    "ALTER TABLE shots ADD COLUMN context BLOB NOT NULL DEFAULT x''",
    "ALTER TABLE shots ADD COLUMN dead INTEGER NOT NULL DEFAULT 0",
    "CREATE TABLE IF NOT EXISTS notes (key TEXT PRIMARY KEY, value BLOB)",
)
VERSION = len(_STEPS)
APPLICATION = 0x66675351
"""SQLite application id of a spool."""
MAX_BYTES = 1_000_000_000
Note = bytes | None
TIDY_S = 60.0
"""Interval at which the owner of a spool deletes expired shots."""


class SpoolStatus(msgspec.Struct, frozen=True):
    """Content of a spool."""

    shots: int
    bytes: int
    oldest_s: float | None
    """Age of the oldest shot, s."""
    cameras: dict[str, int]
    dead: int
    """Dead letters: delivered repeatedly, never acknowledged."""


class Spool(Database):
    """One file; its owner closes it. Thread-safe."""

    what = "spool"
    application = APPLICATION
    steps = _STEPS
    pragmas = ("page_size=8192", "secure_delete=ON")
    """A crop is about a page; erased faces leave no pixels in the file."""
    failure = DeliveryError

    def __init__(
        self,
        path: Path,
        *,
        synchronous: Synchronous = "normal",
        max_bytes: int = MAX_BYTES,
        max_age_s: float | None = None,
    ) -> None:
        """Open or create ``path``.

        Args:
            path: the file; two more appear beside it while it is open.
            synchronous: what a commit survives.
            max_bytes: size at which the spool is full, bytes of headers and pictures.
            max_age_s: age at which a shot is deleted, s; never by default.

        Raises:
            DeliveryError: not a spool, or not writable.
        """
        self._lock = Lock()
        self._max_age_s = max_age_s
        self._claim: int | None = None
        self._clock = FileClock(f"spool {path}")
        self.max_bytes = max_bytes
        super().__init__(path, create=True)
        with self._errors():
            self._db.execute(f"PRAGMA synchronous={synchronous}")
            self._expired(time(), elapsed_s())  # starts watching the clock
        self._bytes = self._count = 0
        self._version = self._pragma("data_version")
        self._recount()

    def _is_own(self, application: int) -> bool:
        columns = {row[1] for row in self._db.execute("PRAGMA table_info(shots)")}
        # Spools of earlier versions have no application id.
        return super()._is_own(application) or (not application and columns >= {"shot_id", "crop", "header"})

    def lock(self) -> None:
        """Take the exclusive right to deliver from this file, until ``close``.

        Raises:
            DeliveryError: another process has it.
        """
        lock = os.open(self._path.with_name(self._path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise DeliveryError(f"spool {self._path} is in use: another gate delivers from it") from error
        self._claim = lock

    @property
    def bytes(self) -> int:
        """Bytes of headers and pictures."""
        return self._bytes

    @property
    def full(self) -> bool:
        """Whether there is no room for another shot."""
        return self._bytes >= self.max_bytes

    def __len__(self) -> int:
        """Number of unacknowledged shots."""
        return self._count

    @property
    def newest(self) -> int:
        """Row of the newest shot; 0 if there is none."""
        with self._lock:
            return int(self._one("SELECT COALESCE(MAX(id), 0) FROM shots"))

    def put(self, entries: Sequence[EncodedShot]) -> list[EncodedShot]:
        """Commit shots, all or none; return those that are new, with their rows.

        Raises:
            DeliveryError: the disk is full or gone.
        """
        added: list[EncodedShot] = []
        now = time()
        with self._lock:
            with self._transaction():
                for entry in entries:
                    cursor = self._db.execute(
                        "INSERT OR IGNORE INTO shots "
                        "(shot_id, camera, track_id, header, crop, context, created, size) "
                        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                        (*msgspec.structs.astuple(entry)[:-1], now, entry.size),
                    )
                    if cursor.rowcount:
                        added.append(msgspec.structs.replace(entry, row=cursor.lastrowid))
            self._bytes += sum(entry.size for entry in added)
            self._count += len(added)
        return added

    def after(self, row: int, limit: int, *, dead: bool = False) -> list[EncodedShot]:
        """Up to ``limit`` shots after ``row``, oldest first; with ``dead`` the dead letters."""
        with self._lock:
            found = self._db.execute(
                "SELECT shot_id, camera, track_id, header, crop, context, id FROM shots "
                "WHERE id > ? AND dead = ? ORDER BY id LIMIT ?",
                (row, dead, limit),
            ).fetchall()
        return [EncodedShot(*item) for item in found]

    def delete(self, entries: Sequence[EncodedShot]) -> int:
        """Delete acknowledged shots; return how many were still there."""
        if not entries:
            return 0
        removed: list[EncodedShot] = []
        with self._lock:
            with self._transaction():
                for item in entries:
                    if self._db.execute("DELETE FROM shots WHERE id = ?", (item.row,)).rowcount:
                        removed.append(item)
            self._bytes -= sum(item.size for item in removed)
            self._count -= len(removed)
        return len(removed)

    def dead_letter(self, entry: EncodedShot) -> bool:
        """Make a shot a dead letter; return whether it was still there."""
        with self._lock, self._transaction():
            found = self._db.execute("UPDATE shots SET dead = 1 WHERE id = ?", (entry.row,)).rowcount
            self._recount()
        return bool(found)

    def requeue_dead(self) -> int:
        """Deliver dead letters again when this file is next delivered from; return their number."""
        with self._lock, self._transaction():
            found = self._db.execute("UPDATE shots SET dead = 0 WHERE dead").rowcount
            self._recount()
        return found

    def drop_oldest(self) -> str | None:
        """Delete the oldest shot to make room; return its id, ``None`` if there is none."""
        with self._lock:
            with self._transaction():
                found = self._db.execute(
                    "SELECT id, shot_id, size FROM shots WHERE NOT dead ORDER BY id LIMIT 1"
                ).fetchone()
                if found is None:
                    return None
                self._db.execute("DELETE FROM shots WHERE id = ?", (found[0],))
            self._bytes -= found[2]
            self._count -= 1
        return str(found[1])

    def erase(
        self, *, camera: str | None = None, track_id: int | None = None, before: float | None = None
    ) -> list[str]:
        """Delete shots by camera, track or time of decision (Unix), pixels too; return their ids."""
        with self._lock:
            with self._transaction():
                erased = self._db.execute(
                    "DELETE FROM shots WHERE (?1 IS NULL OR camera = ?1) AND (?2 IS NULL OR track_id = ?2) "
                    "AND (?3 IS NULL OR created < ?3) RETURNING shot_id",
                    (camera, track_id, before),
                ).fetchall()
            self._recount()
            # Deleted pixels must not remain in the write-ahead log.
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return [shot_id for (shot_id,) in erased]

    def erase_rows(self, rows: Sequence[int]) -> int:
        """Delete these rows, pixels too; return how many there were."""
        with self._lock:
            with self._transaction():
                gone = sum(self._db.execute("DELETE FROM shots WHERE id = ?", (row,)).rowcount for row in rows)
            self._recount()
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return gone

    def rewrite(self, change: Callable[[EncodedShot], Header | None]) -> int:
        """Replace each header by ``change(entry)``; delete entries where that is ``None``, return their number.

        Nothing that was delivered or changed before remains in the write-ahead log.
        """
        gone = 0
        with self._lock:
            with self._transaction():
                for item in self._db.execute(
                    "SELECT shot_id, camera, track_id, header, crop, context, id FROM shots"
                ).fetchall():
                    entry = EncodedShot(*item)
                    header = change(entry)
                    if header == entry.header:
                        continue
                    if header is None:
                        self._db.execute("DELETE FROM shots WHERE id = ?", (entry.row,))
                        gone += 1
                    else:
                        size = msgspec.structs.replace(entry, header=header).size
                        self._db.execute(
                            "UPDATE shots SET header = ?, size = ? WHERE id = ?", (header, size, entry.row)
                        )
            self._recount()
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return gone

    def expire(self, now: float, elapsed: float) -> None:
        """Delete expired shots unless the clock was moved, and recount: other processes may have deleted some.

        Args:
            now: Unix time.
            elapsed: see :func:`facegate.clock.elapsed_s`.

        Raises:
            DeliveryError: the file cannot be written.
        """
        with self._lock:
            try:
                old = self._expired(now, elapsed)
            except sqlite3.Error as error:
                raise DeliveryError(f"cannot delete expired shots from spool {self._path}: {error}") from error
            if old is not None:
                with self._transaction():
                    self._db.execute("DELETE FROM shots WHERE id <= ?", (old,))
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._recount()

    def _expired(self, now: float, elapsed: float) -> int | None:
        """The newest expired row."""
        if self._max_age_s is None:
            return None
        newest = self._db.execute("SELECT created FROM shots ORDER BY id DESC LIMIT 1").fetchone()
        if not self._clock.check(self._db, None if newest is None else newest[0], now, elapsed):
            return None
        return expired_row(self._db, "shots", "created", now - self._max_age_s, now)

    def changed_elsewhere(self) -> bool:
        """Whether another connection has written to the file since the last call."""
        with self._lock:
            version = self._pragma("data_version")  # changes only with commits of other connections
            touched, self._version = version != self._version, version
        return bool(touched)

    def contains(self, entry: EncodedShot) -> bool:
        """Whether a shot is still there."""
        with self._lock:
            return (
                self._db.execute("SELECT 1 FROM shots WHERE id = ? AND NOT dead", (entry.row,)).fetchone()
                is not None
            )

    def remember(self, key: str, value: Note) -> None:
        """Save a note for the process that delivers from this file next.

        Raises:
            DeliveryError: the disk is full or gone.
        """
        with self._lock, self._transaction():
            self._db.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (key, value))

    def remembered(self) -> dict[str, Note]:
        """All notes, oldest first."""
        with self._lock:
            return dict(self._db.execute("SELECT key, value FROM notes ORDER BY rowid").fetchall())

    def forget(self, key: str, value: Note = None) -> None:
        """Delete a note; if a value is given, only a note with that value.

        Raises:
            DeliveryError: the disk is gone.
        """
        with self._lock, self._transaction():
            self._db.execute("DELETE FROM notes WHERE key = ?1 AND (?2 IS NULL OR value = ?2)", (key, value))

    def status(self) -> SpoolStatus:
        """Count the shots."""
        with self._lock:
            oldest = self._one("SELECT MIN(created) FROM shots WHERE NOT dead")
            dead = self._one("SELECT COUNT(*) FROM shots WHERE dead")
            cameras = dict(
                self._db.execute("SELECT camera, COUNT(*) FROM shots WHERE NOT dead GROUP BY camera").fetchall()
            )
        age = None if oldest is None else max(0.0, time() - oldest)
        return SpoolStatus(shots=self._count, bytes=self._bytes, oldest_s=age, cameras=cameras, dead=dead)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            super().close()
            if self._claim is not None:
                os.close(self._claim)
                self._claim = None

    def _recount(self) -> None:
        self._count, self._bytes = self._db.execute(
            "SELECT COUNT(*), COALESCE(SUM(size), 0) FROM shots WHERE NOT dead"
        ).fetchone()

    def _one(self, statement: str) -> Any:
        return self._db.execute(statement).fetchone()[0]
