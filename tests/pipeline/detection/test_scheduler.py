"""How frames are looked at: new faces in time, known ones where they go, still scenes seldom."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from facegate.pipeline.detection.scheduler import (
    IDLE_AFTER_S,
    MAX_DISCOVERY_DELAY_S,
    MOTION_THRESHOLD,
    STATIC_SCENE_INTERVAL_S,
    DetectionMode,
    DetectionScheduler,
)
from facegate.pipeline.records import Box, Detection, Image

GRAY = np.full((36, 64, 3), 90, np.uint8)


def face(x: float, y: float = 100.0, side: float = 50.0) -> Detection:
    box = (x, y, x + side, y + side)
    return Detection(box=box, confidence=0.99, landmarks=np.full((5, 2), x, np.float32))


@given(
    fps=st.floats(2.5, 60),
    appears_s=st.floats(0, 8),
    trembling=st.lists(st.floats(-0.005, 0.005), min_size=1, max_size=9),
)
def test_a_new_face_is_found_in_time_and_most_looks_are_no_search(
    fps: float, appears_s: float, trembling: list[float]
) -> None:
    attention = DetectionScheduler(idle_fps=None)
    times = [i / fps + trembling[i % len(trembling)] for i in range(int(10 * fps))]
    first_s = next(t for t in times if t >= appears_s)
    looks = []
    for t in times:
        looks.append(attention.step(GRAY, t))
        if looks[-1] is DetectionMode.SEARCH:
            attention.update([], t, searched=True)
        else:
            attention.update([], t, searched=False)
    found_s = next(t for t, look in zip(times, looks, strict=True) if t >= first_s and look is DetectionMode.SEARCH)
    assert found_s - first_s <= MAX_DISCOVERY_DELAY_S + 0.05
    if fps >= 4:
        assert looks.count(DetectionMode.SEARCH) <= 0.51 * len(looks) + 1


def test_a_known_face_is_expected_where_it_goes() -> None:
    attention = DetectionScheduler(idle_fps=None)
    assert attention.step(GRAY, 0.0) is DetectionMode.SEARCH
    attention.update([face(100)], 0.0, searched=True)
    for step in range(1, 3):
        assert attention.step(GRAY, 0.1 * step) is DetectionMode.TRACK_ONLY
        attention.update([face(100 + 10 * step)], 0.1 * step, searched=False)
    (box,) = attention.expected_boxes(0.3)
    assert 125 <= box[0] <= 130 and box[2] - box[0] == 50
    assert attention.step(GRAY, 0.3) is DetectionMode.TRACK_ONLY
    attention.update([face(400), face(130)], 0.3, searched=True)
    places: list[Box] = attention.expected_boxes(0.4)
    assert places[0] == face(400).box, "a face that is new stands still"
    assert places[1][0] > 130, "one that was known keeps its speed"


def test_a_cut_and_a_clock_that_jumps_back_forget_every_face() -> None:
    for cut, pts_s in ((True, 0.1), (False, -5.0)):
        attention = DetectionScheduler()
        attention.step(GRAY, 0.0)
        attention.update([face(100)], 0.0, searched=True)
        assert attention.step(GRAY, pts_s, cut=cut) is DetectionMode.SEARCH
        assert attention.expected_boxes(pts_s) == []


def test_without_following_every_look_is_a_search() -> None:
    attention = DetectionScheduler(follow=False, idle_fps=None)
    for step in range(9):
        assert attention.step(GRAY, step / 25) is DetectionMode.SEARCH
        attention.update([face(100)], step / 25, searched=True)


def scene() -> list[Image]:
    """The same picture with a camera's noise."""
    rng = np.random.default_rng(0)
    base = rng.integers(0, 200, (36, 64, 3)).repeat(10, 0).repeat(10, 1)
    return [(base + rng.normal(0, 4, base.shape)).clip(0, 255).astype(np.uint8) for _ in range(10)]


def looks(attention: DetectionScheduler, pictures: list[Image], start_s: float, seconds: float) -> list[float]:
    """The seconds, at ten frames each, at which an empty scene was looked at."""
    seen = []
    for step in range(round(10 * seconds)):
        t = start_s + step / 10
        look = attention.step(pictures[step % len(pictures)], t)
        if look is not DetectionMode.SKIP:
            seen.append(t)
        if look is DetectionMode.SEARCH:
            attention.update([], t, searched=True)
    return seen


def test_an_empty_still_scene_is_looked_at_seldom_and_at_once_when_something_moves() -> None:
    attention, pictures = DetectionScheduler(idle_fps=1.0), scene()
    assert len(looks(attention, pictures, 0.0, 10.0)) == 11, "noise is no movement"
    moved = pictures[0].copy()
    moved[100:110, 200:210] = np.clip(moved[100:110, 200:210].astype(int) + 6 * MOTION_THRESHOLD, 0, 255).astype(
        np.uint8
    )
    assert attention.step(moved, 10.1) is not DetectionMode.SKIP


def test_a_scene_counts_as_quiet_only_a_while_after_the_last_face() -> None:
    attention, pictures = DetectionScheduler(idle_fps=0.5), scene()
    attention.step(pictures[0], 0.0)
    attention.update([face(100)], 0.0, searched=True)
    seen = looks(attention, pictures, 0.1, IDLE_AFTER_S + 4.0)
    assert sum(t < IDLE_AFTER_S for t in seen) == round(10 * IDLE_AFTER_S) - 1
    assert sum(t >= IDLE_AFTER_S for t in seen) == 1 + 2, "one to compare with, then one every two seconds"


def test_a_still_face_may_be_looked_at_seldom_too() -> None:
    attention, pictures = DetectionScheduler(skip_still=True), scene()
    kept = []
    for step in range(40):
        look = attention.step(pictures[step % 10], step / 10)
        if look is DetectionMode.SEARCH:
            attention.update([face(100)], step / 10, searched=True)
        elif look is DetectionMode.TRACK_ONLY:
            attention.update([face(100)], step / 10, searched=False)
        kept.append(look is not DetectionMode.SKIP)
    assert sum(kept) == 1 + round(4 / STATIC_SCENE_INTERVAL_S)


def crowd(seed: int, places: list[tuple[int, int]], side: int = 40) -> tuple[Image, list[Detection]]:
    """A picture with a face of its own pattern at each place."""
    picture = np.full((360, 640, 3), 100, np.uint8)
    faces = []
    for index, (x, y) in enumerate(places):
        pattern = np.random.default_rng(seed + index).integers(0, 256, (8, 8, 3)).astype(np.uint8)
        picture[y : y + side, x : x + side] = pattern.repeat(side // 8, 0).repeat(side // 8, 1)
        faces.append(face(x, y, side))
    return picture, faces


@given(
    seed=st.integers(0, 1000),
    dx=st.integers(-48, 48),
    dy=st.integers(-48, 48),
    start=st.tuples(st.integers(60, 520), st.integers(60, 240)),
)
def test_a_face_that_jumps_is_expected_where_the_picture_looks_like_it(
    seed: int, dx: int, dy: int, start: tuple[int, int]
) -> None:
    attention = DetectionScheduler()
    before, faces = crowd(seed, [start])
    attention.step(before, 0.0)
    attention.update(faces, 0.0, searched=True)
    after, moved = crowd(seed, [(start[0] + dx, start[1] + dy)])
    attention.step(after, 0.2)
    (box,) = attention.expected_boxes(0.2)
    assert np.abs(np.subtract(box, moved[0].box)).max() <= 4, "within a tenth of the face"


def test_where_nothing_looks_like_the_face_it_is_expected_by_its_speed() -> None:
    attention = DetectionScheduler()
    picture, faces = crowd(3, [(200, 100)])
    attention.step(picture, 0.0)
    attention.update(faces, 0.0, searched=True)
    attention.step(np.full_like(picture, 100), 0.2)
    assert attention.expected_boxes(0.2) == [faces[0].box]


def test_a_face_half_outside_and_a_picture_of_another_size_are_followed_all_the_same() -> None:
    attention = DetectionScheduler()
    picture, _ = crowd(3, [(0, 0)])
    attention.step(picture, 0.0)
    attention.update([face(-20, -20, 40), face(700, 400, 40)], 0.0, searched=True)
    attention.step(picture[:90, :160], 0.2)
    assert len(attention.expected_boxes(0.2)) == 2


def test_under_overload_every_third_look_is_a_search() -> None:
    for frame_interval_s, searches in ((0.2, 4), (None, 12)):
        attention, found = DetectionScheduler(frame_interval_s=frame_interval_s), 0
        for step in range(12):
            t = step * 0.8
            if attention.step(GRAY, t) is DetectionMode.SEARCH:
                attention.update([face(10, 10, 10)], t, searched=True)
                found += 1
            else:
                attention.update([face(10, 10, 10)], t, searched=False)
        assert found == searches
