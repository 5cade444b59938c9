"""A clock that is moved deletes nothing; one that runs does. Everything here has its own clocks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facegate.clock import (
    JUMP_S,
    MAX_GAP_S,
    SETTLE_S,
    ClockGuard,
    ClockState,
    FileClock,
    elapsed_s,
    expired,
    expired_row,
)
from facegate.database import connect
from facegate.recognition.enrollment.unknowns import UnknownStore
from facegate.sinks.spool import Spool
from facegate.sinks.wire import EncodedShot
from facegate.store.reader import StoreReader
from facegate.store.records import VisitUpdate
from facegate.store.retention import Retention, RetentionLimits
from facegate.store.writer import StoreWriter

DAY = 86_400.0
NOW = 1_900_000_000.0
leaps = st.floats(JUMP_S + 1, 1000 * DAY) | st.floats(-1000 * DAY, -JUMP_S - 1)
small = st.floats(-JUMP_S / 2 + 1, JUMP_S / 2 - 1)


def test_time_that_only_runs() -> None:
    assert elapsed_s() <= elapsed_s()


@given(leaps, st.lists(st.floats(0, 3600), min_size=1, max_size=20), small)
def test_a_leap_is_doubted_until_it_is_taken_back(leap: float, steps: list[float], slew: float) -> None:
    guard, elapsed = ClockGuard(ClockState(trusted=NOW - 60)), 5000.0
    assert guard.check(NOW, elapsed)
    for step in steps:
        elapsed += step
        if sum(steps) < SETTLE_S:
            assert not guard.check(NOW + elapsed - 5000 + leap, elapsed)
    assert guard.check(NOW + elapsed - 5000 + slew, elapsed), "it is right again"


@given(leaps, st.floats(1, 3600), st.booleans())
def test_a_clock_that_stays_where_it_was_moved_is_trusted_after_a_day(
    leap: float, step: float, restarted: bool
) -> None:
    guard, elapsed, wall = ClockGuard(ClockState(trusted=NOW)), 10.0, NOW + leap
    if not restarted:
        assert guard.check(NOW, elapsed)
    elif -JUMP_S <= leap <= MAX_GAP_S:
        return  # a night off
    began = elapsed
    while not guard.check(wall, elapsed):
        assert elapsed - began <= SETTLE_S + step
        elapsed, wall = elapsed + step, wall + step
    # After a restart, a clock that was set back runs on until it is within the tolerated jump of the trusted time.
    caught_up_s = -leap - JUMP_S if restarted and leap < 0 else SETTLE_S
    assert elapsed - began >= min(caught_up_s, SETTLE_S) - 1e-3


@given(st.lists(st.floats(600, 20 * 3600), min_size=1, max_size=60))
def test_a_host_that_restarts_every_day_deletes_some_day(runs: list[float]) -> None:
    """The day of a steady clock may be made of pieces."""
    state, wall = ClockState(trusted=NOW), NOW + 60 * DAY
    waited = 0.0
    for run in runs:
        guard = ClockGuard(state)
        trusted = guard.check(wall, 0.0)
        assert trusted == (waited >= SETTLE_S) or waited == pytest.approx(SETTLE_S)
        if trusted:
            return
        wall, waited = wall + run, waited + run
        guard.check(wall, run)
        state = guard.state
        wall += 4 * 3600
        if state.doubted is None:
            return


def test_a_restart_while_the_clock_is_wrong() -> None:
    assert not ClockGuard(ClockState(trusted=NOW)).check(NOW + 60 * DAY, 3.0)
    assert not ClockGuard(ClockState(trusted=NOW)).check(0.0, 3.0), "an empty battery"
    guard = ClockGuard(ClockState(trusted=NOW))
    assert not guard.check(0.0, 3.0) and guard.check(NOW + 90, 40.0), "the time server has answered"
    assert ClockGuard(ClockState(trusted=NOW)).check(NOW + DAY, 3.0)


times = st.lists(st.floats(0, 200), max_size=40)


@given(times, st.floats(0, 200), st.floats(0, 100))
def test_tables_and_lists_agree_on_what_goes(found: list[float], oldest: float, ahead: float) -> None:
    now = oldest + ahead - JUMP_S
    db = connect(Path(gettempdir()) / f"clock-{os.getpid()}.db", create=True)
    try:
        db.execute("DROP TABLE IF EXISTS t")
        db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, at REAL)")
        db.executemany("INSERT INTO t (at) VALUES (?)", [(at,) for at in found])
        assert (expired_row(db, "t", "at", oldest, now) or 0) == expired(found, oldest, now)
    finally:
        name = db.execute("PRAGMA database_list").fetchone()[2]
        db.close()
        Path(name).unlink()


@given(st.lists(st.floats(0, 90 * DAY), min_size=1, max_size=60), st.floats(0, 90 * DAY), leaps, st.data())
def test_what_came_while_the_clock_was_wrong_stays_and_goes_with_its_neighbors(
    came: list[float], began: float, leap: float, data: Any
) -> None:
    came = sorted(came)
    wrong = {at for at in came if began <= at <= began + 120}
    kept = 30 * DAY
    now = data.draw(st.floats(came[-1], came[-1] + 60 * DAY))
    stamps = [at + leap if at in wrong else at for at in came]
    gone = expired(stamps, now - kept, now)
    right = expired(came, now - kept, now)
    if not wrong:
        assert gone == right
    # Nothing goes that is right and not old.
    assert all(at < now - kept for at in came[:gone] if at not in wrong)
    if max(stamps) < now - kept:
        assert gone == len(came), "all is gone some day"


Put = Callable[[float], object]


def _store(path: Path) -> tuple[Put, Callable[[float, float], object], Callable[[], int]]:
    writer, reader = StoreWriter(path / "store.db", create=True), StoreReader(path / "store.db")
    clock, number = FileClock("store"), iter(range(10_000))

    def put(now: float) -> None:
        one = next(number)
        writer.update_visits([VisitUpdate(f"r/door/{one}", "door", one, None, None, None, None, now, "ended")])

    def tidy(now: float, elapsed: float) -> None:
        with Retention(path / "store.db") as retention:
            by_age = retention.trusts(clock, now, elapsed)
            retention.apply(path / "recordings", RetentionLimits(30, 1000), now, by_age=by_age)

    return put, tidy, lambda: reader.count()["visits"]


def _pieces(path: Path) -> tuple[Put, Callable[[float, float], object], Callable[[], int]]:
    put_visit, tidy, _ = _store(path)
    number = iter(range(10_000))

    def put(now: float) -> None:
        one = next(number)
        piece = path / "recordings" / f"run{one // 3}" / f"{one:06}.rec"
        piece.parent.mkdir(parents=True, exist_ok=True)
        piece.write_bytes(b"piece")
        os.utime(piece, (now, now))
        put_visit(now)

    return put, tidy, lambda: len(list((path / "recordings").glob("*/*.rec")))


def _unknowns(path: Path) -> tuple[Put, Callable[[float, float], object], Callable[[], int]]:
    unknowns, clock = UnknownStore(path / "people.db", create=True), FileClock("unknown faces")
    number = iter(range(10_000))
    crop = np.zeros((112, 112, 3), np.uint8)
    vector = np.ones(3, np.float32)

    def put(now: float) -> None:
        unknowns.keep(f"r/door/{next(number)}", "door", now, 90, crop, "v", vector)

    def count() -> int:
        return int(unknowns._db.execute("SELECT count(*) FROM unknowns").fetchone()[0])

    return put, lambda now, elapsed: unknowns.tidy(clock, now, elapsed), count


@pytest.mark.parametrize("kind", [_store, _pieces, _unknowns])
@pytest.mark.parametrize("leap", [60 * DAY, -60 * DAY])
def test_sixty_days_either_way_and_back_lose_nothing(kind: Any, leap: float, tmp_path: Path) -> None:
    put, tidy, count = kind(tmp_path)
    began = NOW - 20 * DAY
    elapsed = 0.0
    while elapsed <= 20 * DAY:
        put(began + elapsed)
        tidy(began + elapsed, elapsed)
        elapsed += DAY / 2
    kept = count()
    assert kept == 41
    for second in range(0, 300, 60):  # wrong for five minutes, in which things come too
        put(began + elapsed + second + leap)
        tidy(began + elapsed + second + leap, elapsed + second)
    assert count() == kept + 5
    for hour in range(1, 48):
        tidy(began + elapsed + 3600 * hour, elapsed + 3600 * hour)
    assert count() == kept + 5, "right again: nothing is lost"
    elapsed += 2 * DAY
    while elapsed <= 60 * DAY:
        put(began + elapsed)
        tidy(began + elapsed, elapsed)
        elapsed += DAY / 2
    assert 60 <= count() <= 62, "and everything goes in its time, what came in between too"


def test_a_spool_keeps_what_waits_when_the_clock_leaps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [NOW, 0.0]
    monkeypatch.setattr("facegate.sinks.spool.time", lambda: clock[0])
    monkeypatch.setattr("facegate.sinks.spool.elapsed_s", lambda: clock[1])
    spool = Spool(tmp_path / "s.db", max_age_s=7 * DAY)
    spool.put([EncodedShot("a", "door", 7, b"h", b"crop")])
    for leap in (60 * DAY, -60 * DAY):
        clock[0] = NOW + 60 + leap
        spool.put([EncodedShot(f"wrong {leap}", "door", 7, b"h", b"crop")])
        spool.expire(NOW + 60 + leap, 60.0)
        spool.expire(NOW + 120, 120.0)
        assert "a" in {entry.shot_id for entry in spool.after(0, 9)}
    assert len(spool) == 3
    clock[:] = [NOW + DAY, DAY]
    spool.close()
    spool = Spool(tmp_path / "s.db", max_age_s=7 * DAY)
    clock[:] = [NOW + 8 * DAY, 8 * DAY]
    spool.put([EncodedShot("b", "door", 7, b"h", b"crop")])
    spool.expire(NOW + 9 * DAY, 9 * DAY)
    assert [entry.shot_id for entry in spool.after(0, 9)] == ["b"], "what is old goes where the clock only ran"
    spool.close()
