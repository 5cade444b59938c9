"""Verification of an audit log.

What was changed, removed or reordered breaks the chain. A log whose newest entries were cut off is a sound chain
too: SQLite's count of the rows ever inserted finds a cut by statements, and the head of an earlier verification or
of a log line finds any, such as an older copy of the file.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

import msgspec

from facegate.audit.log import COLUMNS, TRIMMED, AuditLog, Head, chained, trim_details
from facegate.database import connect
from facegate.errors import StoreError, os_reason

PARALLEL_FROM = 200_000
"""Number of entries from which several processes verify a log."""
CHUNK = 100_000
"""Number of entries that a process verifies at a time."""
MAX_FAULTS = 20


class Verification(msgspec.Struct, frozen=True):
    """Result of verifying a log."""

    entries: int
    first: int
    """Id of the oldest entry; the expired ones before it are recorded."""
    head: Head
    faults: tuple[str, ...]
    """What is wrong, at most :data:`MAX_FAULTS` lines."""


def verify(path: Path, witness: Head | None = None, *, processes: int = 1) -> Verification:
    """Verify a log, which may be in use.

    Args:
        path: the file.
        witness: its head at an earlier time.
        processes: maximum number of processes.

    Raises:
        StoreError: the file is missing, or cannot be read.
    """
    if not path.is_file():
        raise StoreError(f"no audit log at {path}: {AuditLog.remedy}")
    try:
        with closing(connect(path, read_only=True)) as db:
            if db.execute("PRAGMA application_id").fetchone()[0] != AuditLog.application:
                raise StoreError(f"{path} is not an audit log: give the audit.db of a data folder")
            # Lines that are appended meanwhile wait for the next verification.
            db.execute("BEGIN")
            first, last = db.execute("SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM audit").fetchone()
            head = Head(*(db.execute("SELECT id, digest FROM audit WHERE id = ?", (last,)).fetchone() or (0, "")))
            faults = [*_ends(db, first, last), *_witnessed(db, witness)]
            db.execute("COMMIT")
        chunks = [(path, start, min(start + CHUNK - 1, last)) for start in range(first, last + 1, CHUNK)]
        entries = 0
        if last - first < PARALLEL_FROM or processes < 2:
            results = map(_verify_chunk, chunks)
            entries, faults = _gather(results, faults)
        else:
            with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
                entries, faults = _gather(pool.map(_verify_chunk, chunks), faults)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"cannot read audit log {path}: {os_reason(error)}") from error
    return Verification(entries, first, head, tuple(faults[:MAX_FAULTS]))


def _gather(results: Iterator[tuple[int, list[str]]], faults: list[str]) -> tuple[int, list[str]]:
    entries = 0
    for count, found in results:
        entries += count
        faults += found
    return entries, faults


def _ends(db: sqlite3.Connection, first: int, last: int) -> Iterator[str]:
    """Faults at both ends of the log."""
    inserted = (db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'audit'").fetchone() or (0,))[0]
    if inserted != last:
        low, high = sorted((last, inserted))
        yield f"entries {low + 1} to {high} were removed" if inserted > last else "the count of entries was changed"
    gone = _trimmed(db)
    if first > gone[0] + 1:
        yield f"entries {gone[0] + 1} to {first - 1} were removed"
    if gone[0]:
        said = db.execute("SELECT method, details FROM audit WHERE id = ?", (gone[2],)).fetchone()
        if said != (TRIMMED, trim_details(gone[0], gone[1])):
            yield f"entries through {gone[0]} were removed, and no entry says that they had expired"


def _trimmed(db: sqlite3.Connection) -> tuple[int, str, int]:
    if db.execute("PRAGMA user_version").fetchone()[0] < 2:
        return 0, "", 0
    found: tuple[int, str, int] = db.execute("SELECT last, digest, entry FROM trimmed").fetchone() or (0, "", 0)
    return found


def _witnessed(db: sqlite3.Connection, witness: Head | None) -> Iterator[str]:
    if witness is None:
        return
    if witness.id <= _trimmed(db)[0]:
        return  # expired since
    row = db.execute("SELECT digest FROM audit WHERE id = ?", (witness.id,)).fetchone()
    if row is None:
        yield f"entry {witness.id}, which an earlier head names, is missing: the newest entries were cut off"
    elif row[0] != witness.digest:
        yield f"entry {witness.id} is not the one that an earlier head names: the log up to it was replaced"


def _verify_chunk(chunk: tuple[Path, int, int]) -> tuple[int, list[str]]:
    """Number of entries from an id to another, and the faults among them; a process of its own may call it."""
    path, first, last = chunk
    faults: list[str] = []
    encode, sha256, count = msgspec.json.encode, hashlib.sha256, 0
    with closing(connect(path, read_only=True)) as db:
        number, digest, _ = _trimmed(db)
        if first > number + 1:
            row = db.execute(
                "SELECT id, digest FROM audit WHERE id < ? ORDER BY id DESC LIMIT 1", (first,)
            ).fetchone()
            number, digest = row or (first - 1, "")
        for row in db.execute(
            f"SELECT id, digest, {COLUMNS} FROM audit WHERE id BETWEEN ? AND ? ORDER BY id", (first, last)
        ):
            count += 1
            known = digest
            found, digest, *values = row
            if found != number + 1:
                faults.append(f"entries {number + 1} to {found - 1} were removed")
            # msgspec writes the same JSON as chained(), ten times as fast, but for numbers of unusual size.
            elif digest != sha256(encode([known, *values])).hexdigest() and digest != chained(known, *values):
                faults.append(f"entry {found} does not follow from the one before it: one of them was changed")
            number = found
    return count, faults[:MAX_FAULTS]
