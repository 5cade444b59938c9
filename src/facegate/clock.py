"""Whether the wall clock may delete: a bad time server or an empty battery moves it by months."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence

import msgspec
import structlog

JUMP_S = 3600.0
"""Time servers correct by less; who moves the clock by more has to wait."""
MAX_GAP_S = 2 * 86_400.0
"""After a restart, time may have gone on by this much without a question."""
SETTLE_S = 86_400.0
"""How long a clock that was moved has to run steadily before anything is deleted by it."""
SAVE_S = 600.0

log = structlog.get_logger(__name__)


def elapsed_s() -> float:
    """Seconds that no one can set, those in which the host slept included where the system counts them."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class ClockState(msgspec.Struct, frozen=True):
    """What is known of the wall clock, across restarts."""

    trusted: float | None = None
    """Unix time of the last check at which it was trusted."""
    doubted: float | None = None
    """Unix time of the last check at which it was not, if that is the newest one."""
    steady_s: float = 0.0
    """For how long it has run steadily since it was moved."""


class ClockGuard:
    """Compares the wall clock with one that only runs. Pure: both readings are arguments."""

    def __init__(self, state: ClockState | None = None) -> None:
        """Go on with what an earlier process knew."""
        self.state = ClockState() if state is None else state
        self._offset: float | None = None
        """Wall clock less elapsed time while it is trusted."""
        self._moved: float | None = None
        """The same while it is not."""
        self._checked = self._began = 0.0

    def check(self, wall: float, elapsed: float) -> bool:
        """Whether to delete by age now.

        Args:
            wall: Unix time.
            elapsed: seconds since any fixed moment, see :func:`elapsed_s`; never less than before.
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
            going_on = abs(offset - self._moved) <= JUMP_S
            return self.state.steady_s + elapsed - self._checked if going_on else 0.0
        doubted = self.state.doubted
        if self._offset is None and doubted is not None and -JUMP_S <= wall - doubted <= MAX_GAP_S:
            return self.state.steady_s  # an earlier process waited for this too
        return 0.0


_TABLE = """CREATE TABLE IF NOT EXISTS clock (
    id INTEGER PRIMARY KEY CHECK (id = 1), trusted REAL, doubted REAL, steady_s REAL NOT NULL
) STRICT"""


class FileClock:
    """A :class:`ClockGuard` for one SQLite file, which keeps its state there. Of one thread at a time."""

    def __init__(self, what: str) -> None:
        """``what`` is named in logs: what is not deleted."""
        self._what = what
        self._guard: ClockGuard | None = None
        self._saved: ClockState | None = None
        self._told = False

    def check(self, db: sqlite3.Connection, newest: float | None, wall: float, elapsed: float) -> bool:
        """Whether to delete by age now; see :meth:`ClockGuard.check`. In no transaction.

        Args:
            db: a connection to the file; it is written to.
            newest: Unix time of what came last into the file, for files from before this was kept; ``None``: there
                is nothing to delete.
            wall: Unix time.
            elapsed: of :func:`elapsed_s`.

        Raises:
            sqlite3.Error: the file cannot be read or written.
        """
        if self._guard is None:
            self._guard = ClockGuard(_load(db, newest))
        trusted = self._guard.check(wall, elapsed)
        state = self._guard.state
        if not trusted and not self._told:
            log.warning(
                "nothing is deleted by age",
                of=self._what,
                reason="the host's clock was moved, or this host was off for days",
                remedy=f"check the host's date; deleting goes on after {SETTLE_S / 3600:.0f} h of a steady clock",
            )
        self._told = not trusted
        if _differ(state, self._saved):
            _save(db, state)
            self._saved = state
        return trusted


def _differ(state: ClockState, saved: ClockState | None) -> bool:
    """By enough to be written."""
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
    """The same for a table whose row ids grow: the last row that is to go, with all before it.

    Args:
        db: a connection.
        table: which.
        column: with Unix times; indexed.
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
    """How many of the first are to go, of things in the order in which they came.

    What came while the clock was wrong has a wrong time, and its neighbors tell: what came after something that is
    to stay stays too, and what came before something old is old, whatever its time says.

    Args:
        times: Unix times by the clock of the host, as it was.
        oldest: what is older goes.
        now: Unix time; later times are wrong ones.
    """
    gone = 0
    for index, time_ in enumerate(times):
        if oldest <= time_ <= now + JUMP_S:
            break
        if time_ < oldest:
            gone = index + 1
    return gone
