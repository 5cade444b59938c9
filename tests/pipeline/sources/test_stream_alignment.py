"""The offset of two streams of one camera is found by what moves in them, and not claimed where nothing does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from facegate.pipeline.sources.stream_alignment import STEP_S, StreamAlignment, most_alike, offset

RNG = np.random.default_rng(3)
PATH = np.cumsum(RNG.normal(0, 1.2, 400)).clip(-40, 40)
"""Where somebody is at each tenth of a second."""


def scene(at_s: float, seed: int, moving: bool = True) -> NDArray[np.float32]:
    """A gray thumbnail: a block at its place, on a still background with noise."""
    noise = np.random.default_rng(seed)
    gray = 100 + 20 * np.sin(np.arange(96) / 7.0)[None, :].repeat(54, 0)
    left = 45 + (int(np.interp(at_s * 10, np.arange(len(PATH)), PATH)) if moving else 0)
    gray[15:40, max(0, left) : max(0, left) + 10] = 190
    return np.asarray(gray + noise.normal(0, 2, gray.shape), np.float32)


def series(
    fps: float, start_s: float, delay_s: float, moving: bool = True
) -> list[tuple[float, NDArray[np.float32]]]:
    """Three seconds of a stream whose pictures arrive late."""
    times = start_s + np.arange(int(3 * fps)) / fps
    return [(at + delay_s, scene(at, int(1000 * at + 7919 * fps), moving)) for at in times.tolist()]


@given(delay_s=st.floats(-0.5, 0.5), start_s=st.floats(0, 30), fps=st.sampled_from([10.0, 15.0, 25.0]))
def test_the_offset_is_found_or_not_claimed(delay_s: float, start_s: float, fps: float) -> None:
    found = offset(series(5.0, start_s, 0.0), series(fps, start_s, delay_s))
    # Where nothing moves between two pictures of the large stream, either of them may be meant.
    assert found is None or found == pytest.approx(delay_s, abs=1 / fps + STEP_S)


@pytest.mark.parametrize("delay_s", [-0.4, -0.12, 0.0, 0.28, 0.5])
def test_the_offset_of_somebody_who_walks_is_found(delay_s: float) -> None:
    found = [offset(series(5.0, start, 0.0), series(25.0, start, delay_s)) for start in (2.0, 7.0, 12.0, 19.0)]
    assert sum(each is not None for each in found) >= 3
    assert all(each == pytest.approx(delay_s, abs=0.04) for each in found if each is not None)


def test_a_still_scene_has_no_offset() -> None:
    assert offset(series(5.0, 2.0, 0.0, moving=False), series(25.0, 2.0, 0.3, moving=False)) is None


def test_two_different_scenes_have_no_offset() -> None:
    assert (
        offset(
            series(5.0, 2.0, 0.0),
            [
                (at, gray)
                for (at, _), (_, gray) in zip(series(25.0, 2.0, 0.0), series(25.0, 21.0, 0.0), strict=True)
            ],
        )
        is None
    )


def test_an_offset_is_measured_once_and_verified_later() -> None:
    alignment = StreamAlignment()
    for delay_s, start_s in ((0.2, 2.0), (0.4, 100.0)):
        assert alignment.measuring(start_s)
        events = [(at, 0, gray) for at, gray in series(25.0, start_s % 40, delay_s)]
        events += [(at, 1, gray) for at, gray in series(5.0, start_s % 40, 0.0)]
        for at, small, gray in sorted(events, key=lambda event: event[:2]):
            (alignment.add_small if small else alignment.add_large)(
                at - start_s % 40 + start_s, gray.astype(np.uint8)
            )
        assert alignment.offset_s == pytest.approx(delay_s, abs=0.04)
        assert not alignment.measuring(start_s + 5)


@pytest.mark.parametrize("moving", [True, False])
def test_before_the_offset_is_known_a_picture_is_found_by_what_it_shows(moving: bool) -> None:
    large = [gray.astype(np.uint8) for _, gray in series(25.0, 7.0, 0.0, moving)[:12]]
    found = []
    for index in range(12):
        small = scene(7.0 + index / 25, 4242 + index, moving).astype(np.uint8)
        found.append(most_alike(small, large))
    if not moving:
        assert found == [None] * 12
        return
    places = [int(np.interp(70 + index / 2.5, np.arange(len(PATH)), PATH)) for index in range(12)]
    apart = [abs(places[each] - place) for each, place in zip(found, places, strict=True) if each is not None]
    assert len(apart) >= 6 and max(apart) <= 1
