"""All alarms on disk, so that a restart forgets none."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

import msgspec

from facegate.console.alarms.conditions import AlarmKey, AlarmKind, Changes
from facegate.database import Database
from facegate.errors import StoreError

MAX_ENDED = 10_000
"""Ended alarms that are kept."""
_FIRST = """
CREATE TABLE alarms (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    problem TEXT NOT NULL,
    remedy TEXT NOT NULL,
    since REAL NOT NULL,
    ended REAL
) STRICT;
CREATE UNIQUE INDEX alarms_open ON alarms (kind, subject) WHERE ended IS NULL;
CREATE TABLE members (
    name TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
CREATE TABLE clock (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seen REAL NOT NULL
) STRICT
"""


class Alarm(msgspec.Struct, frozen=True):
    """An alarm; times are Unix times (UTC)."""

    id: int
    kind: AlarmKind
    subject: str
    problem: str
    remedy: str
    since: float
    ended: float | None = None
    """``None`` while it is open."""


_ALARM = ", ".join(Alarm.__struct_fields__)


class AlarmJournal(Database):
    """The alarms of a console, for any thread."""

    what = "file of alarms"
    remedy = "'facegate serve' creates one"
    application = 0x6667414C
    steps = (_FIRST,)
    pragmas = ("synchronous=NORMAL",)
    failure = StoreError

    def _prepare(self) -> None:
        self._lock = Lock()
        super()._prepare()

    def record(self, changes: Changes, now: float, wall: float) -> list[Alarm]:
        """Store alarms that begin and end; return them as they are afterwards.

        Args:
            changes: what changed.
            now: monotonic time.
            wall: Unix time.
        """
        rows = []
        with self._lock, self._transaction():
            for finding, began in changes.raised:
                rows += self._db.execute(
                    "INSERT INTO alarms (kind, subject, problem, remedy, since) VALUES (?, ?, ?, ?, ?) "
                    f"ON CONFLICT DO NOTHING RETURNING {_ALARM}",
                    (finding.kind, finding.subject, finding.problem, finding.remedy, wall - (now - began)),
                ).fetchall()
            for kind, subject in changes.ended:
                rows += self._end("kind = ? AND subject = ?", (kind, subject), wall)
            self._db.execute(
                "DELETE FROM alarms WHERE ended IS NOT NULL AND id <= (SELECT max(id) FROM alarms) - ?",
                (MAX_ENDED,),
            )
        return [Alarm(*row) for row in rows]

    def dismiss(self, alarm: int, wall: float) -> Alarm | None:
        """End an alarm by hand; a node of the fleet is forgotten with it. ``None`` if it is not open."""
        with self._lock, self._transaction():
            rows = self._end("id = ?", (alarm,), wall)
            if rows and rows[0][1] == "fleet":
                self._db.execute("DELETE FROM members WHERE name = ?", (rows[0][2],))
        return Alarm(*rows[0]) if rows else None

    def open(self) -> list[Alarm]:
        """Open alarms, oldest first."""
        return self._read("ended IS NULL ORDER BY id", ())

    def page(self, before: int | None = None, limit: int = 50) -> list[Alarm]:
        """All alarms, newest first, before that id."""
        return self._read("id < ? ORDER BY id DESC LIMIT ?", (2**62 if before is None else before, limit))

    def between(self, since: float, until: float) -> list[Alarm]:
        """Alarms that began in a period, oldest first."""
        return self._read("since >= ? AND since < ? ORDER BY id", (since, until))

    def members(self, present: Sequence[str] = ()) -> list[str]:
        """Remember the present nodes of the fleet; return all that were ever present."""
        with self._lock, self._transaction():
            self._db.executemany("INSERT OR IGNORE INTO members VALUES (?)", [(name,) for name in present])
            return [name for (name,) in self._db.execute("SELECT name FROM members ORDER BY name")]

    def swap_clock(self, wall: float) -> float | None:
        """Remember the Unix time; return the one remembered before."""
        with self._lock, self._transaction():
            row = self._db.execute("SELECT seen FROM clock").fetchone()
            self._db.execute("INSERT OR REPLACE INTO clock VALUES (1, ?)", (wall,))
        return None if row is None else float(row[0])

    def _end(self, condition: str, values: Sequence[object], wall: float) -> list[Any]:
        # The clock may have been set back since it began.
        return self._db.execute(
            f"UPDATE alarms SET ended = max(since, ?) WHERE ended IS NULL AND {condition} RETURNING {_ALARM}",
            (wall, *values),
        ).fetchall()

    def _read(self, condition: str, values: Sequence[object]) -> list[Alarm]:
        with self._lock, self._errors():
            rows = self._db.execute(f"SELECT {_ALARM} FROM alarms WHERE {condition}", values).fetchall()
        return [Alarm(*row) for row in rows]


def keys(alarms: Sequence[Alarm]) -> set[AlarmKey]:
    """Kinds and subjects of alarms."""
    return {(alarm.kind, alarm.subject) for alarm in alarms}
