"""Where frames are searched: everything once, then what changes, never more than the budget, nothing never."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facegate.pipeline.detection import search_plan
from facegate.pipeline.detection.change_map import CELLS_ACROSS, ChangeMap
from facegate.pipeline.detection.search_plan import MAX_BUDGET_PX, SearchPlan
from facegate.pipeline.detection.windows import MAX_SIDE, SIDE_STEP, Window, cover, distinct
from facegate.pipeline.records import Box, Detection, Image

SIZES = ((360, 640), (240, 320), (1080, 1920), (1440, 2560), (2160, 3840), (1920, 1080), (211, 333), (97, 1203))
FPS = 5.0


def room(shape: tuple[int, int], seed: int = 0) -> Image:
    """A room of smooth surfaces."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(60, 180, (9, 16, 3)).astype(np.uint8)
    rows, columns = -(-shape[0] // 9), -(-shape[1] // 16)
    return np.ascontiguousarray(cells.repeat(rows, 0).repeat(columns, 1)[: shape[0], : shape[1]])


NOISE = np.random.default_rng(7).integers(0, 7, (400, 700, 3)).astype(np.uint8)


def noisy(picture: Image, rng: np.random.Generator) -> Image:
    """A camera's noise of three gray levels; the picture has room for it at both ends."""
    y, x = rng.integers(0, 16, 2)
    rows, columns = -(-picture.shape[0] // 360), -(-picture.shape[1] // 640)
    noise = np.tile(NOISE[y : y + 360, x : x + 640], (rows, columns, 1))[: picture.shape[0], : picture.shape[1]]
    return np.subtract(cv2.add(picture, noise), 3)


def new_plan(min_face_px: float = 24.0, max_side: int | None = None) -> SearchPlan:
    return SearchPlan(smallest_px=24.0, min_face_px=min_face_px, max_side=max_side)


def holds(window: Window, box: Box) -> bool:
    """Whether the box is in the window as a whole."""
    return window.left <= box[0] and window.top <= box[1] and box[2] <= window.right and box[3] <= window.bottom


def sees(windows: list[Window], box: Box) -> bool:
    """Whether a window shows a face whole, and neither too small nor too large for a detector."""
    width = box[2] - box[0]
    return any(holds(w, box) and 20 <= width * w.scale <= 400 for w in windows)


@settings(deadline=None, max_examples=8)
@given(
    shape=st.sampled_from(SIZES),
    size=st.floats(24, 150),
    x=st.floats(0, 1),
    y=st.floats(0, 1),
    fps=st.sampled_from((2.0, 5.0, 25.0)),
)
def test_somebody_who_sits_still_from_the_start_is_searched_within_three_seconds(
    shape: tuple[int, int], size: float, x: float, y: float, fps: float
) -> None:
    plan, picture = new_plan(), room(shape)
    size = min(size, min(shape) / 2)
    box = (x * (shape[1] - size), y * (shape[0] - size), x * (shape[1] - size) + size, y * (shape[0] - size) + size)
    found = None
    for step in range(int(3 * fps) + 1):
        windows = plan.plan(picture, step / fps, search=step % 3 == 0)
        assert sum(window.cost_px for window in windows) <= MAX_BUDGET_PX + MAX_SIDE**2
        if found is None and sees(windows, box):
            found = step / fps
    assert found is not None and plan.is_complete


@settings(deadline=None, max_examples=8)
@given(
    shape=st.sampled_from(SIZES[:5]),
    size=st.integers(24, 120),
    x=st.floats(0, 1),
    y=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_what_changes_is_searched_in_the_next_search_and_nothing_else(
    shape: tuple[int, int], size: int, x: float, y: float, seed: int
) -> None:
    plan, picture, rng = new_plan(), room(shape, seed), np.random.default_rng(seed)
    # A face alone, without the body that moves with it, is noticed from the size of a cell on.
    size = max(min(size, min(shape) // 3), shape[1] // CELLS_ACROSS)
    for step in range(20):
        plan.plan(noisy(picture, rng), step / FPS, search=True)
    before = plan.counts.searched_px
    for step in range(20, 24):
        plan.plan(noisy(picture, rng), step / FPS, search=True)
    assert plan.counts.searched_px - before <= 500_000, "a camera's noise is no change"
    left, top = int(x * (shape[1] - size)), int(y * (shape[0] - size))
    after = picture.copy()
    face = rng.integers(20, 230, (6, 6, 3)).astype(np.uint8).repeat(-(-size // 6), 0).repeat(-(-size // 6), 1)
    after[top : top + size, left : left + size] = face[:size, :size]
    windows = plan.plan(noisy(after, rng), 24 / FPS, search=True)
    assert sees(windows, (left, top, left + size, top + size))
    assert sum(window.cost_px for window in windows) < 0.2 * MAX_BUDGET_PX


def test_a_picture_that_moves_everywhere_costs_no_more_than_the_budget_and_all_of_it_has_its_turn() -> None:
    plan, rng = new_plan(), np.random.default_rng(0)
    shape = (2160, 3840)
    seen = np.zeros((216, 384), np.bool_)
    for step in range(100):
        picture = rng.integers(0, 256, (90, 160, 3)).astype(np.uint8).repeat(24, 0).repeat(24, 1)
        assert picture.shape[:2] == shape
        windows = plan.plan(picture, step / FPS, search=step % 3 == 0)
        assert sum(window.cost_px for window in windows) <= MAX_BUDGET_PX + MAX_SIDE**2
        if step >= 50:
            for window in windows:
                if window.scale == 1:
                    seen[window.top // 10 : window.bottom // 10, window.left // 10 : window.right // 10] = True
    assert seen.mean() > 0.99, "at the finest scale too"
    assert plan.counts.deferred_px > 0


def test_light_that_changes_a_little_and_a_tree_that_sways_long_enough_are_no_change() -> None:
    picture, changes = room((360, 640)), ChangeMap()
    rng = np.random.default_rng(1)
    changes.step(picture)
    tree = (slice(40, 200), slice(60, 200))
    flagged = []
    for step in range(80):
        now = noisy(picture, rng)
        leaves = rng.integers(80, 120, (20, 28, 1)).repeat(8, 0)[:160].repeat(5, 1)[:, :140]
        now[tree] = np.clip(leaves.repeat(3, 2), 0, 255)
        if step > 70:
            now = (now * 0.9).astype(np.uint8)
        flagged.append(changes.step(now).mean())
        changes.accept(np.ones(changes.shape, np.bool_))
    assert max(flagged[60:]) < 0.02
    now[100:180, 100:140] = 250
    assert changes.step(now)[12:23, 12:18].mean() > 0.7, "somebody before the tree"


def test_a_lost_face_is_searched_around_its_place_at_once() -> None:
    plan, picture = new_plan(), room((1080, 1920))
    for step in range(20):
        plan.plan(picture, step / FPS, search=True)
    for size in (26.0, 60.0, 200.0, 700.0):
        box = (1000.0, 200.0, 1000.0 + size, 200.0 + size)
        windows = plan.plan(picture, 4.2, search=True, lost=[box])
        assert sees(windows, box)


def test_known_faces_and_their_bodies_are_not_searched_all_the_time() -> None:
    rng, spent = np.random.default_rng(0), {}
    picture = room((1080, 1920))
    for known in ((), ((900.0, 200.0, 960.0, 270.0),)):
        plan, costs = new_plan(), 0
        for step in range(60):
            now = picture.copy()
            now[280:600, 830:1030] = rng.integers(0, 256, (32, 20, 3)).astype(np.uint8).repeat(10, 0).repeat(10, 1)
            windows = plan.plan(now, step / FPS, search=step % 3 == 0, known=known)
            costs += sum(window.cost_px for window in windows) if step >= 15 else 0
        spent[len(known)] = costs
    assert spent[1] < 0.8 * spent[0], spent


@pytest.mark.parametrize("place", [(815, 210), (970, 210), (880, 100)])
def test_somebody_who_appears_beside_a_known_face_does_not_wait(place: tuple[int, int]) -> None:
    plan, picture, rng = new_plan(), room((1080, 1920)), np.random.default_rng(5)
    known = (880.0, 200.0, 960.0, 300.0)
    left, top = place
    for step in range(40):
        now = picture.copy()
        if step == 39:
            face = rng.integers(20, 230, (6, 6, 3)).astype(np.uint8).repeat(10, 0).repeat(10, 1)
            now[top : top + 60, left : left + 60] = face
        windows = plan.plan(now, step / FPS, search=step % 3 == 0, known=[known])
    assert sees(windows, (left, top, left + 60, top + 60))


def test_what_moves_for_ever_and_shows_no_face_is_searched_now_and_then_and_the_rest_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng, picture, spent = np.random.default_rng(3), room((1080, 1920)), []
    face = rng.integers(20, 230, (6, 6, 3)).astype(np.uint8).repeat(10, 0).repeat(10, 1)
    for pause_s in (search_plan.MAX_PAUSE_S, 0.0):
        monkeypatch.setattr(search_plan, "MAX_PAUSE_S", pause_s)
        plan = new_plan()
        for step in range(100):
            now = picture.copy()
            # It sways slowly: hardly anything changes from picture to picture, and much since it was searched.
            shift = int(60 * np.sin(step / 2.5))
            now[200:800, 160 + shift : 560 + shift] = np.roll(picture[200:800, 900:1300], 7, 0)
            if step == 99:
                now[500:560, 1500:1560] = face
            windows = plan.plan(now, step / FPS, search=step % 2 == 1)
        assert sees(windows, (1500, 500, 1560, 560)), "what appears elsewhere does not wait"
        spent.append(plan.counts.searched_px)
    assert spent[0] < 0.85 * spent[1], spent


@pytest.mark.parametrize(
    ("min_face_px", "max_side", "finest"), [(24, None, 1.0), (72, None, 1 / 3), (24, 960, 0.5)]
)
def test_the_smallest_face_is_in_pixels_of_the_camera(
    min_face_px: int, max_side: int | None, finest: float
) -> None:
    plan, picture, scales = new_plan(min_face_px, max_side), room((1080, 1920)), set()
    for step in range(20):
        scales |= {window.scale for window in plan.plan(picture, step / FPS, search=True)}
    assert max(scales) == pytest.approx(finest)
    assert min(scales) == pytest.approx(216 / 1920)


@settings(deadline=None)
@given(
    places=st.lists(st.tuples(st.integers(0, 44), st.integers(0, 79)), min_size=1, max_size=12),
    scale=st.sampled_from((1.0, 0.5, 1 / 3, 0.25)),
)
def test_windows_cover_their_cells_with_a_margin_inside_the_picture(
    places: list[tuple[int, int]], scale: float
) -> None:
    cells = np.zeros((45, 80), np.bool_)
    for row, column in places:
        cells[row, column] = True
    windows = cover(cells, (1080, 1920), scale, 36.0)
    margin = 36 / scale - 2
    for row, column in places:
        left, top = column * 24, row * 24
        wanted = (
            max(0, left - margin),
            max(0, top - margin),
            min(1920, left + 24 + margin),
            min(1080, top + 24 + margin),
        )
        assert any(holds(window, wanted) for window in windows)
    for window in windows:
        assert 0 <= window.left < window.right <= 1920 and 0 <= window.top < window.bottom <= 1080
        assert max(window.right - window.left, window.bottom - window.top) * scale <= MAX_SIDE + 2 * SIDE_STEP


def test_faces_cut_off_by_a_window_do_not_count_and_those_seen_twice_count_once() -> None:
    picture = room((360, 640))

    def face(x: float, y: float, side: float = 40, confidence: float = 0.9) -> Detection:
        return Detection(
            box=(x, y, x + side, y + side), confidence=confidence, landmarks=np.full((5, 2), x, np.float32)
        )

    window = Window(100, 0, 300, 200, 0.5)
    placed = window.placed([face(0, 20), face(30, 0), face(61, 20), face(20, 30)], picture)
    assert [found.box for found in placed] == [(160, 0, 240, 80), (140, 60, 220, 140)]
    known, same, other = face(100, 100), face(104, 98, confidence=0.99), face(300, 100)
    assert distinct([known], [same, other]) == [known, other]
    assert distinct([], [face(100, 100, 80), face(110, 110, 50, 0.8)])[0].width == 80, "one face inside another"
