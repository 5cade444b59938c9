"""Sampling, lateness and media time, whatever a camera's clock says. Pure logic."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facegate.pipeline.sources.backlog import Arrivals, Backlog, sampler
from facegate.pipeline.sources.media_clock import MAX_DRIFT_S, PAUSE_S, FileMediaClock, MediaClock


@given(st.floats(0.5, 60), st.lists(st.floats(0.001, 0.5), min_size=1, max_size=200))
def test_sampling_keeps_the_rate_and_nothing_is_lost_below_it(max_fps: float, steps: list[float]) -> None:
    keep, times = sampler(max_fps), np.cumsum(steps)
    kept = [at for at in times if keep(float(at))]
    assert kept[0] == times[0]
    assert len(kept) <= (times[-1] - times[0]) * max_fps + 2
    if min(steps) > 1.05 / max_fps:
        assert len(kept) == len(times)
    gaps = np.diff([*kept, times[-1]])
    assert all(gap <= 2 / max_fps + max(steps) for gap in gaps), "a sampled stream does not dry up"


def test_what_waits_is_lateness_and_leads_to_hurry_and_back() -> None:
    backlog = Backlog()
    for _ in range(50):
        backlog.record_decode_time(0.05)  # a decoder that is slower than 25 pictures a second

    def step(waiting: int) -> str:
        return backlog.step(waited_s=0.0, waiting=waiting, period_s=0.04)

    states = [step(waiting) for waiting in (2, 15, 10, 60, 15, 3)]
    assert states == ["DEFAULT", "NONREF", "NONREF", "NONKEY", "NONKEY", "DEFAULT"]
    assert backlog.behind_s == pytest.approx(0.12)
    assert backlog.step(waited_s=2.5, waiting=0, period_s=0.04) == "DEFAULT", (
        "nothing waits: nothing to catch up with"
    )


def test_a_burst_that_is_worked_off_at_once_costs_no_picture() -> None:
    backlog = Backlog()
    for _ in range(50):
        backlog.record_decode_time(0.004)
    assert backlog.step(waited_s=0.0, waiting=75, period_s=0.04) == "DEFAULT"
    assert backlog.behind_s == pytest.approx(3.0), "and its age is told"


def test_the_rate_is_what_arrives_and_not_what_is_stated() -> None:
    arrivals = Arrivals(1 / 25)
    for index in range(200):
        arrivals.step(100 + index * 0.06)
    assert arrivals.period_s == pytest.approx(0.06)
    for index in range(75):
        arrivals.step(115 + index * 1e-4)  # a stall of three seconds, then all at once
    assert arrivals.period_s == pytest.approx(0.06, rel=0.35)


PERIOD = 0.04


def played(stamps: list[float | None], arrivals: list[float], period_s: float = PERIOD) -> list[float]:
    clock = MediaClock()
    return [clock.step(stamp, at, period_s) for stamp, at in zip(stamps, arrivals, strict=True)]


def test_a_good_clock_is_taken_as_it_is_through_jitter_drops_and_a_stall() -> None:
    rng = np.random.default_rng(0)
    stamps = [i * PERIOD + 7 for i in range(1000) if i % 50 not in (7, 8, 9)]
    late = np.minimum(rng.exponential(0.02, len(stamps)), 0.2)
    arrivals = np.maximum.accumulate(np.array(stamps) + late)
    arrivals[400:475] = np.maximum(arrivals[400:475], arrivals[400] + 3.0)
    arrivals = np.maximum.accumulate(arrivals)
    media = played(list(stamps), [float(at) for at in arrivals])
    np.testing.assert_allclose(media, np.array(stamps) - 7, atol=0.1)
    assert media[:400] == pytest.approx([stamp - 7 for stamp in stamps[:400]])


@pytest.mark.parametrize("factor", [0.0, 0.05, 0.5, 0.83, 0.999, 1.2, 1.9, 3.0, 10.0, 1000.0])
def test_a_clock_of_any_rate_gives_media_time_as_fast_as_ours(factor: float) -> None:
    arrivals = [100 + i * PERIOD for i in range(1500)]
    media = played([i * PERIOD * factor for i in range(1500)], arrivals)
    assert all(b > a for a, b in pairwise(media))
    assert abs(media[-1] - 1499 * PERIOD) < MAX_DRIFT_S + 0.3
    keep = sampler(5.0)
    assert sum(keep(at) for at in media) == pytest.approx(5 * 60, rel=0.03)


@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.floats(-1e6, 1e6, allow_nan=False) | st.none()), min_size=1, max_size=30
    ),
    st.lists(st.tuples(st.integers(0, 400), st.floats(-1e5, 1e5)), max_size=4),
)
def test_whatever_single_stamps_and_steps_say_media_time_rises_with_ours(
    strays: list[tuple[int, float | None]], steps: list[tuple[int, float]]
) -> None:
    arrivals = [100 + i * PERIOD for i in range(401)]
    stamps: list[float | None] = [i * PERIOD + sum(by for at, by in steps if i >= at) for i in range(401)]
    for at, value in strays:
        stamps[at] = value
    media = played(stamps, arrivals)
    assert all(b > a for a, b in pairwise(media))
    assert np.abs(np.array(media) - np.arange(401) * PERIOD).max() < MAX_DRIFT_S + 3 * PERIOD


def read(stamps: list[float | None]) -> list[float]:
    clock = FileMediaClock()
    return [clock.step(now, after, PERIOD) for now, after in zip(stamps, [*stamps[1:], None], strict=True)]


WHOLE = [i * PERIOD for i in range(300)]


@pytest.mark.parametrize("first", [0.0, 1.4, -3.0, 9e4])
def test_a_files_own_stamps_are_its_media_time_as_long_as_they_rise(first: float) -> None:
    stamps = [first + at for at in (0.0, 0.04, 0.2, 0.24, 5.0, 3605.0, 3605.04)]
    assert read(list(stamps)) == stamps, "a variable rate and a pause are kept"


@given(st.lists(st.tuples(st.integers(1, 60), st.floats(-1e5, 1e5)), min_size=1, max_size=8))
def test_parts_that_each_begin_somewhere_play_one_after_the_other(parts: list[tuple[int, float]]) -> None:
    stamps = [first + i * PERIOD for count, first in parts for i in range(count)]
    media = read(list(stamps))
    steps = np.diff(media)
    assert (steps > 0).all()
    paused = [b - a > PAUSE_S for a, b in pairwise(stamps)]
    rises = [a < b for a, b in pairwise(stamps)]
    for step, pause, rising in zip(steps, paused, rises, strict=True):
        assert step < PAUSE_S + PERIOD or pause
        # A part of a single frame may look like a stray between two others, and then takes half of the way.
        assert rising or step <= PERIOD + 1e-6


@given(
    st.dictionaries(st.integers(1, 150).map(lambda i: 2 * i - 1), st.floats(-1e6, 1e6) | st.none(), max_size=60),
    st.sampled_from([0.0, 1.4]),
)
def test_stamps_that_are_missing_doubled_or_of_another_day_move_nothing_else(
    strays: dict[int, float | None], first: float
) -> None:
    stamps: list[float | None] = [first + at for at in WHOLE]
    for at, value in strays.items():
        if at < len(stamps):
            stamps[at] = value
    media = np.array(read(stamps))
    assert (np.diff(media) > 0).all()
    assert np.abs(media[:-1] - first - WHOLE[:-1]).max() <= 2 * PERIOD
    assert media[-1] - media[-2] <= PAUSE_S, "nothing tells whether the last one is a stray"


def test_a_picture_stamped_twice_is_shown_twice_and_the_next_is_on_time() -> None:
    assert read([0.0, 0.04, 0.04, 0.12, 0.16]) == pytest.approx([0.0, 0.04, 0.08, 0.12, 0.16])
    assert read([None] * 4) == pytest.approx([0.0, 0.04, 0.08, 0.12])
