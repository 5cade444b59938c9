"""A worker's visits on disk, for the next worker process to resume or end."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from facegate.database import Database
from facegate.errors import DeliveryError
from facegate.recognition.worker.visit_state import VisitEvent, VisitState
from facegate.recognition.worker.visits import MAX_ENDED

MAX_WORKERS = 64
"""Maximum number of workers on one host with the same outputs; each has its own file."""
TIDY_EVERY = 1000
"""Number of changes after which old ended visits are deleted."""

_FIRST = """
CREATE TABLE visits (
    visit TEXT PRIMARY KEY,
    open INTEGER NOT NULL,
    number INTEGER NOT NULL,
    state BLOB NOT NULL
) STRICT;
CREATE INDEX visits_by_number ON visits (number);
CREATE INDEX visits_open ON visits (open) WHERE open;
CREATE TABLE untold (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event BLOB NOT NULL
) STRICT
"""


class Kept(msgspec.Struct, frozen=True):
    """State of an earlier process."""

    opened: list[VisitState]
    ended: list[VisitState]
    untold: list[VisitEvent]
    """Events that may not have reached every output."""


class OpenVisits(Database):
    """One worker's visits. Commits survive the process; a power cut may lose the last ones."""

    what = "visits file"
    remedy = "'facegate recognize' creates one"
    application = 0x66675649
    steps = (_FIRST,)
    pragmas = ("synchronous=NORMAL", "secure_delete=ON")
    failure = DeliveryError

    def _prepare(self) -> None:
        super()._prepare()
        row = self._db.execute("SELECT coalesce(max(number), 0) FROM visits").fetchone()
        self._number = int(row[0])

    def load(self) -> Kept:
        """Read everything; unreadable entries are skipped.

        Raises:
            DeliveryError: the file is damaged.
        """
        with self._errors():
            rows = self._db.execute("SELECT open, state FROM visits ORDER BY number").fetchall()
            untold = self._db.execute("SELECT event FROM untold ORDER BY id").fetchall()
        states = [(opened, _state(packed)) for opened, packed in rows]
        return Kept(
            [state for opened, state in states if opened and state is not None],
            [state for opened, state in states if not opened and state is not None],
            [event for (packed,) in untold if (event := _event(packed)) is not None],
        )

    def save(self, changes: Sequence[tuple[VisitState, bool]], events: Sequence[VisitEvent] = ()) -> None:
        """Save visits, each with whether it is open, and the events about to be published; one transaction.

        Raises:
            DeliveryError: the file cannot be written.
        """
        if not changes and not events:
            return
        with self._transaction():
            for state, opened in changes:
                self._number += 1
                self._db.execute(
                    "INSERT OR REPLACE INTO visits VALUES (?, ?, ?, ?)",
                    (state.visit, opened, self._number, msgspec.msgpack.encode(state)),
                )
                if self._number % TIDY_EVERY == 0:
                    self._db.execute(
                        "DELETE FROM visits WHERE NOT open AND number < ?", (self._number - 2 * MAX_ENDED,)
                    )
            self._db.executemany(
                "INSERT INTO untold (event) VALUES (?)", [(msgspec.json.encode(event),) for event in events]
            )

    def mark_published(self) -> None:
        """Mark all saved events as published.

        Raises:
            DeliveryError: the file cannot be written.
        """
        with self._transaction():
            self._db.execute("DELETE FROM untold")

    def scrub(self) -> None:
        """Truncate the write-ahead log, which may hold changed or deleted data.

        Raises:
            DeliveryError: the file cannot be written.
        """
        with self._errors():
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def clear(self) -> None:
        """Delete everything, after another file has taken it over.

        Raises:
            DeliveryError: the file cannot be written.
        """
        with self._transaction():
            self._db.execute("DELETE FROM visits")
            self._db.execute("DELETE FROM untold")

    def open_ids(self) -> set[str]:
        """Ids of the open visits.

        Raises:
            DeliveryError: the file is damaged.
        """
        with self._errors():
            return {row[0] for row in self._db.execute("SELECT visit FROM visits WHERE open").fetchall()}

    def names(self) -> dict[str, str]:
        """Names of the open visits that have one, by visit id."""
        return {state.visit: state.best.name for state in self.load().opened if state.best.name is not None}


def claim_visits(folder: Path, outputs: Sequence[str]) -> tuple[OpenVisits, Kept, ExitStack]:
    """Lock a visits file, and take over the visits of dead workers with the same outputs.

    Args:
        folder: folder of the files.
        outputs: identify the worker's outputs: the next worker with the same ones takes its visits over.

    Returns:
        The file, the state to resume, and a stack for the owner to close.

    Raises:
        DeliveryError: all files are in use.
    """
    key = hashlib.sha256("\n".join(outputs).encode()).hexdigest()[:16]
    own: OpenVisits | None = None
    kept = Kept([], [], [])
    with ExitStack() as stack:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for number in range(MAX_WORKERS):
            path = folder / f"{key}.{number}.visits"
            if own is not None and not path.is_file():
                continue
            lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                continue
            if own is None:
                stack.callback(os.close, lock)
                own = stack.enter_context(OpenVisits(path, create=True))
                kept = own.load()
                continue
            try:
                with OpenVisits(path) as other:
                    found = other.load()
                    kept = Kept(kept.opened + found.opened, found.ended + kept.ended, kept.untold + found.untold)
                    own.save(
                        [(state, True) for state in found.opened] + [(state, False) for state in found.ended],
                        found.untold,
                    )
                    other.clear()
            finally:
                os.close(lock)
        if own is None:
            raise DeliveryError(f"{folder} is used by {MAX_WORKERS} workers: give another folder with --spool-dir")
        return own, kept, stack.pop_all()


def _state(packed: bytes) -> VisitState | None:
    try:
        return msgspec.msgpack.decode(packed, type=VisitState)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _event(packed: bytes) -> VisitEvent | None:
    try:
        return msgspec.json.decode(packed, type=VisitEvent)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
