"""The audit log: who saw and changed what, and what the recognizer named.

Entries are only ever appended, and each carries the hash of all before it; the oldest go when they expire.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock
from time import monotonic, time
from typing import Any

import msgspec
import structlog

from facegate.clock import FileClock, elapsed_s, expired_row
from facegate.database import Database
from facegate.errors import StoreError

MIN_DAYS, DEFAULT_DAYS = 183, 365
"""The EU AI Act asks deployers to keep the logs of high-risk systems for at least six months (Art. 26)."""
TRIM_EVERY_S = 86_400.0
ANNOUNCE_EVERY_S = 3600.0
TRIMMED = "TRIM"
"""Method of the entry that says which entries have expired."""

_FIRST = """
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    who TEXT NOT NULL,
    address TEXT NOT NULL,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    details TEXT NOT NULL,
    status INTEGER NOT NULL,
    digest TEXT NOT NULL
) STRICT
"""
_TRIMMED = """
CREATE TABLE trimmed (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    last INTEGER NOT NULL,
    digest TEXT NOT NULL,
    entry INTEGER NOT NULL
) STRICT;
CREATE INDEX audit_by_time ON audit (at)
"""
"""The newest expired entry, and the entry that says so."""
_TRIGGER = """
CREATE TRIGGER IF NOT EXISTS audit_{verb} BEFORE {verb} ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
"""
COLUMNS = "at, who, address, method, path, details, status"

log = structlog.get_logger(__name__)


class AuditEntry(msgspec.Struct, frozen=True):
    """A request, or a use of the recognizer."""

    id: int
    at: float
    """Unix time (UTC)."""
    who: str
    """Name of the user or token, or ``worker``."""
    address: str
    """Address of the request, or camera of a match."""
    method: str
    """HTTP method, or what the recognizer did."""
    path: str
    """Path of the request, or visit of a match."""
    details: str
    """Fields of the request, or JSON."""
    status: int
    """HTTP status: from 400 on it was refused or failed; 0 for a use of the recognizer."""
    digest: str
    """SHA-256 of the entry before it and this one."""


class Use(msgspec.Struct, frozen=True, array_like=True):
    """An entry to append; see :class:`AuditEntry`."""

    at: float
    who: str
    address: str
    method: str
    path: str
    details: str
    status: int = 0


class Head(msgspec.Struct, frozen=True):
    """The newest entry of a log: witness of all entries up to it."""

    id: int
    digest: str

    def __str__(self) -> str:
        return f"{self.id}:{self.digest}"


FIELDS = AuditEntry.__struct_fields__


class AuditLog(Database):
    """The log, for any thread; processes may have one each."""

    what = "audit log"
    remedy = "'facegate serve' creates one"
    application = 0x66674155
    steps = (_FIRST, _TRIMMED)
    pragmas = ("synchronous=FULL",)
    failure = StoreError

    def __init__(self, path: Path, *, create: bool = False, days: float = DEFAULT_DAYS) -> None:
        """Open the log; see :class:`Database`. Entries expire after ``days``."""
        self._days = days
        self._clock = FileClock("audit log")
        self._trim_at = self._announce_at = 0.0
        self._lock = Lock()
        super().__init__(path, create=create)

    def _prepare(self) -> None:
        super()._prepare()
        for verb in ("UPDATE", "DELETE"):
            self._db.execute(_TRIGGER.format(verb=verb))

    def append(self, *uses: Use) -> None:
        """Append entries: all or none. They are on disk when this returns.

        Raises:
            StoreError: they cannot be written.
        """
        with self._lock:
            with self._transaction():
                head = self._append(uses)
            now = monotonic()
            if now >= self._announce_at:
                # The system's journal, or another host, then has a witness that this file's owner cannot change.
                log.info("audit log head", file=str(self._path), head=str(head))
                self._announce_at = now + ANNOUNCE_EVERY_S
            if now >= self._trim_at:
                self._trim_at = now + TRIM_EVERY_S
                try:
                    self._trim(time(), elapsed_s())
                except StoreError as error:  # what was to be appended is on disk
                    log.error("expired entries of the audit log not removed", reason=str(error))

    def trim(self, wall: float, elapsed: float) -> int:
        """Remove expired entries and append an entry that says so; return how many.

        Args:
            wall: Unix time.
            elapsed: see :func:`facegate.clock.elapsed_s`; nothing is removed while the clock is in doubt.
        """
        with self._lock:
            return self._trim(wall, elapsed)

    def page(self, before: int | None = None, limit: int = 100) -> list[AuditEntry]:
        """Entries before that id, newest first."""
        return self._read("id < ? ORDER BY id DESC LIMIT ?", (2**62 if before is None else before, limit))

    def entries(self) -> Iterator[AuditEntry]:
        """All entries, oldest first."""
        last = 0
        while found := self._read("id > ? ORDER BY id LIMIT 1000", (last,)):
            yield from found
            last = found[-1].id

    def _append(self, uses: Sequence[Use]) -> Head:
        row = self._db.execute("SELECT id, digest FROM audit ORDER BY id DESC LIMIT 1").fetchone()
        number, digest = row or (0, "")
        for use in uses:
            values = msgspec.structs.astuple(use)
            digest = chained(digest, *values)
            number = self._db.execute(
                f"INSERT INTO audit ({COLUMNS}, digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*values, digest)
            ).lastrowid
        return Head(number, digest)

    def _trim(self, wall: float, elapsed: float) -> int:
        with self._errors():
            newest = self._db.execute("SELECT max(at) FROM (SELECT at FROM audit ORDER BY id DESC LIMIT 1)")
            trusted = self._clock.check(self._db, newest.fetchone()[0], wall, elapsed)
            if not trusted:
                return 0
            last = _expired(self._db, wall - self._days * 86_400, wall)
        if last is None:
            return 0
        with self._transaction():
            digest = self._db.execute("SELECT digest FROM audit WHERE id = ?", (last,)).fetchone()[0]
            said = Use(wall, "facegate", "", TRIMMED, "", trim_details(last, digest))
            entry = self._append([said]).id
            self._db.execute("INSERT OR REPLACE INTO trimmed VALUES (1, ?, ?, ?)", (last, digest, entry))
            self._db.execute("DROP TRIGGER audit_DELETE")
            gone = self._db.execute("DELETE FROM audit WHERE id <= ?", (last,)).rowcount
            self._db.execute(_TRIGGER.format(verb="DELETE"))
        log.info("expired entries of the audit log removed", entries=gone, through=last)
        return gone

    def _read(self, condition: str, values: tuple[int, ...]) -> list[AuditEntry]:
        with self._lock, self._errors():
            rows = self._db.execute(f"SELECT {', '.join(FIELDS)} FROM audit WHERE {condition}", values).fetchall()
        return [AuditEntry(*row) for row in rows]


def _expired(db: sqlite3.Connection, oldest: float, now: float) -> int | None:
    """Last expired entry, of which there is always a newer one; see :func:`facegate.clock.expired_row`."""
    first = db.execute("SELECT at FROM audit ORDER BY id LIMIT 1").fetchone()
    if first is None or first[0] >= oldest:
        return None  # the usual case, without a scan
    return expired_row(db, "audit", "at", oldest, now)


def trim_details(last: int, digest: str) -> str:
    """Details of the entry that says which entries have expired."""
    return f"entries through {Head(last, digest)} have expired"


def chained(before: str, *values: Any) -> str:
    """Digest of an entry: SHA-256 over the digest before it and its values as a JSON array."""
    text = json.dumps([before, *values], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def to_csv(entries: Iterator[AuditEntry]) -> Iterator[str]:
    """Entries as CSV with a head, a piece at a time."""
    yield _line(FIELDS)
    for entry in entries:
        yield _line(msgspec.structs.astuple(entry))


def _line(values: Any) -> str:
    out = io.StringIO()
    # A cell that begins like a formula would be one in a spreadsheet.
    csv.writer(out).writerow([f"'{v}" if isinstance(v, str) and v[:1] in tuple("=+-@\t") else v for v in values])
    return out.getvalue()
