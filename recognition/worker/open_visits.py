"""The visits of a worker on disk, so that the next one goes on with them or ends them."""

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
from facegate.recognition.worker.visit import VisitEvent, VisitState
from facegate.recognition.worker.visits import MAX_ENDED

MAX_WORKERS = 64
"""Workers on one host with the same outputs; each has a file of its own."""
TIDY_EVERY = 1000
"""Changes after which visits that ended long ago are removed."""

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
    """What an earlier process knew."""

    opened: list[VisitState]
    ended: list[VisitState]
    untold: list[VisitEvent]
    """Events that may not have reached every output."""


class OpenVisits(Database):
    """One worker's visits. A commit does not wait for the disk: it outlives the process, not a power cut."""

    what = "file of visits"
    remedy = "'facegate recognize' makes one"
    application = 0x66675649
    steps = (_FIRST,)
    pragmas = ("synchronous=NORMAL", "secure_delete=ON")
    failure = DeliveryError

    def _prepare(self) -> None:
        super()._prepare()
        row = self._db.execute("SELECT coalesce(max(number), 0) FROM visits").fetchone()
        self._number = int(row[0])

    def load(self) -> Kept:
        """Read everything; what cannot be read is left out.

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
        """Keep visits, each with whether it is open, and what is about to be told of them, all or none.

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

    def told(self) -> None:
        """Everything that was about to be told has been.

        Raises:
            DeliveryError: the file cannot be written.
        """
        with self._transaction():
            self._db.execute("DELETE FROM untold")

    def scrub(self) -> None:
        """Let nothing that was changed or deleted live on in the log beside the file.

        Raises:
            DeliveryError: the file cannot be written.
        """
        with self._errors():
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def clear(self) -> None:
        """Forget everything: another file has it.

        Raises:
            DeliveryError: the file cannot be written.
        """
        with self._transaction():
            self._db.execute("DELETE FROM visits")
            self._db.execute("DELETE FROM untold")

    def open_ids(self) -> set[str]:
        """The visits that are open now.

        Raises:
            DeliveryError: the file is damaged.
        """
        with self._errors():
            return {row[0] for row in self._db.execute("SELECT visit FROM visits WHERE open").fetchall()}

    def names(self) -> dict[str, str]:
        """The names of the open visits that have one, by visit."""
        return {state.visit: state.best.name for state in self.load().opened if state.best.name is not None}


def claim_visits(folder: Path, outputs: Sequence[str]) -> tuple[OpenVisits, Kept, ExitStack]:
    """Become the owner of a file of visits, and take over those of workers with the same outputs that are gone.

    Args:
        folder: where the files are.
        outputs: what tells where events go: the next worker with the same ones takes the visits over.

    Returns:
        The file, what is to be gone on with, and what the owner closes.

    Raises:
        DeliveryError: no file can be used.
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
            raise DeliveryError(f"{folder} is used by {MAX_WORKERS} workers: give another with --spool-dir")
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
