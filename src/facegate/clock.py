"""Guards deletion by age against a wall clock that was moved: bad time servers and empty batteries do that."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence

import msgspec
import structlog

JUMP_S = 3600.0
"""Larger steps of the clock suspend deletion; corrections by time servers are smaller."""
MAX_GAP_S = 2 * 86_400.0
"""Gap across a restart that is accepted without suspending deletion."""
SETTLE_S = 86_400.0
"""Time that a moved clock must run steadily before anything is deleted by it."""
SAVE_S = 600.0

log = structlog.get_logger(__name__)


def elapsed_s() -> float:
    """Monotonic seconds, including time in which the host slept if the system counts that."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class ClockState(msgspec.Struct, frozen=True):
    """State of a :class:`ClockGuard` that survives restarts."""

    trusted: float | None = None
    """Unix time of the last check at which it was trusted."""
    doubted: float | None = None
    """Unix time of the last check at which it was not, if that is the newest one."""
    steady_s: float = 0.0
    """Time that it has run steadily since it was moved, s."""


class ClockGuard:
    """Compares the wall clock with a monotonic one. Pure: both readings are arguments."""

    def __init__(self, state: ClockState | None = None) -> None:
        """Start with the state of an earlier process, if there is one."""
        self.state = ClockState() if state is None else state
        self._offset: float | None = None
        """Wall clock minus elapsed time while it is trusted."""
        self._moved: float | None = None
        """The same while it is not."""
        self._checked = self._began = 0.0

    def check(self, wall: float, elapsed: float) -> bool:
        """Whether to delete by age now.

        Args:
            wall: Unix time.
            elapsed: monotonic seconds, see :func:`elapsed_s`.
        """
        offset = wall - elapsed
        first = self._offset is None and self._moved is None
        if first:
            self._checked = self._began = elapsed
        if self._offset is None:
            trusted = self.state.trusted
            known = trusted is None or -JUMP_S <= wall - trusted <= MAX_GAP_S + elapsed - self._began
        else:
            known = abs(offset - self._offset) <= JUMP_S
        steady_s = self._steady(wall, elapsed, offset)
        self._checked = elapsed
        if known or steady_s >= SETTLE_S:
            self._offset = offset if self._offset is None or not known else self._offset
            self._moved = None
            self.state = ClockState(trusted=wall)
            return True
        if self._moved is None or abs(offset - self._moved) > JUMP_S:
            self._moved = offset
        self.state = msgspec.structs.replace(self.state, doubted=wall, steady_s=steady_s)
        return False

    def _steady(self, wall: float, elapsed: float, offset: float) -> float:
        if self._moved is not None:
            is_steady = abs(offset - self._moved) <= JUMP_S
            return self.state.steady_s + elapsed - self._checked if is_steady else 0.0
        doubted = self.state.doubted
        if self._offset is None and doubted is not None and -JUMP_S <= wall - doubted <= MAX_GAP_S:
            return self.state.steady_s  # an earlier process waited for this too
        return 0.0


_TABLE = """CREATE TABLE IF NOT EXISTS clock (
    id INTEGER PRIMARY KEY CHECK (id = 1), trusted REAL, doubted REAL, steady_s REAL NOT NULL
) STRICT"""


class FileClock:
    """A :class:`ClockGuard` that keeps its state in a SQLite file. For one thread at a time."""

    def __init__(self, what: str) -> None:
        """``what`` names the data in logs."""
        self._what = what
        self._guard: ClockGuard | None = None
        self._saved: ClockState | None = None
        self._logged = False

    def check(self, db: sqlite3.Connection, newest: float | None, wall: float, elapsed: float) -> bool:
        """Whether to delete by age now; see :meth:`ClockGuard.check`. Call outside transactions.

        Args:
            db: a connection to the file; it is written to.
            newest: Unix time of the newest entry, for files without saved state; ``None`` if there is nothing to
                delete.
            wall: Unix time.
            elapsed: see :func:`elapsed_s`.

        Raises:
            sqlite3.Error: the file cannot be read or written.
        """
        if self._guard is None:
            self._guard = ClockGuard(_load(db, newest))
        trusted = self._guard.check(wall, elapsed)
        state = self._guard.state
        if not trusted and not self._logged:
            log.warning(
                "deletion by age suspended",
                of=self._what,
                reason="the host's clock was moved, or the host was off for days",
                remedy=f"check the host's date; deletion resumes after {SETTLE_S / 3600:.0f} h of steady clock",
            )
        self._logged = not trusted
        if _differ(state, self._saved):
            _save(db, state)
            self._saved = state
        return trusted


def _differ(state: ClockState, saved: ClockState | None) -> bool:
    """Whether the states differ enough to be saved."""
    if saved is None or (state.doubted is None) != (saved.doubted is None):
        return True
    at, before = (found.trusted if found.doubted is None else found.doubted for found in (state, saved))
    return at is None or before is None or abs(at - before) >= SAVE_S


def _load(db: sqlite3.Connection, newest: float | None) -> ClockState:
    db.execute(_TABLE)
    row = db.execute("SELECT trusted, doubted, steady_s FROM clock").fetchone()
    return ClockState(trusted=newest) if row is None or newest is None else ClockState(*row)


def _save(db: sqlite3.Connection, state: ClockState) -> None:
    db.execute("INSERT OR REPLACE INTO clock VALUES (1, ?, ?, ?)", msgspec.structs.astuple(state))


def expired_row(db: sqlite3.Connection, table: str, column: str, oldest: float, now: float) -> int | None:
    """Last expired row of a table with increasing row ids, see :func:`expired`; all rows before it expire too.

    Args:
        db: a connection.
        table: name of the table.
        column: indexed column of Unix times.
        oldest: see :func:`expired`.
        now: see :func:`expired`.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    if db.execute(f"SELECT 1 FROM {table} WHERE {column} < ? LIMIT 1", (oldest,)).fetchone() is None:
        return None
    (stays,) = db.execute(
        f"SELECT min(rowid) FROM {table} WHERE {column} >= ? AND {column} <= ?", (oldest, now + JUMP_S)
    ).fetchone()
    (row,) = db.execute(
        f"SELECT max(rowid) FROM {table} WHERE {column} < ?1 AND (?2 IS NULL OR rowid < ?2)", (oldest, stays)
    ).fetchone()
    return None if row is None else int(row)


def expired(times: Sequence[float], oldest: float, now: float) -> int:
    """How many of the first entries are expired.

    Entries are in order of arrival. Those that arrived while the clock was wrong have wrong times, so neighbors
    decide: what arrived after an entry that stays stays too, and what arrived before an expired one is expired.

    Args:
        times: Unix times by the host's clock at arrival.
        oldest: older entries expire, Unix time.
        now: Unix time; later times are wrong.
    """
    gone = 0
    for index, time_ in enumerate(times):
        if oldest <= time_ <= now + JUMP_S:
            break
        if time_ < oldest:
            gone = index + 1
    return gone
