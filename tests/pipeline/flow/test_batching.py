"""Batches: a file's frames are alone in theirs, live cameras give one frame each."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from facegate.pipeline.flow.batching import rounds

LIVE = frozenset({"live", "other"})
Item = tuple[str, int]
"""Camera and number."""


@given(st.lists(st.sampled_from(["live", "other", "a", "b"]), max_size=30))
def test_a_file_shares_with_nobody_and_a_live_camera_never_with_itself(cameras: list[str]) -> None:
    items: list[Item] = [(camera, index) for index, camera in enumerate(cameras)]
    batches = list(rounds(items, LIVE, lambda item: item[0]))
    for batch in batches:
        names = [camera for camera, _ in batch]
        assert len(set(names)) == len(names)
        assert len(batch) == 1 or set(names) <= LIVE
    for name in set(cameras):
        came = [item for batch in batches for item in batch if item[0] == name]
        assert came == [item for item in items if item[0] == name], "each camera's order is kept"


def test_live_cameras_share_although_a_file_comes_between() -> None:
    items = [("live", 0), ("a", 1), ("other", 2), ("live", 3)]
    assert list(rounds(items, LIVE, lambda item: item[0])) == [[items[1]], [items[0], items[2]], [items[3]]]
