"""Batches: a file's never depend on timing, a live camera's never wait."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from facegate.pipeline.flow.batching import Batcher

Item = tuple[str, int, bool]
"""Camera, number, whether it is the camera's last."""


def batcher(size: int) -> Batcher[Item]:
    return Batcher(frozenset({"live"}), size, lambda item: (item[0], item[2]))


@st.composite
def arrivals(draw: st.DrawFn) -> list[list[Item]]:
    """Three cameras' items in any interleaving that keeps each camera's order, taken in any portions."""
    streams = {
        name: [(name, n, n == count - 1) for n in range(count)] for name, count in (("live", 7), ("a", 9), ("b", 5))
    }
    order = draw(st.permutations([name for name, items in streams.items() for _ in items]))
    items = [streams[name].pop(0) for name in order]
    portions: list[list[Item]] = []
    while items:
        size = draw(st.integers(1, 6))
        portions.append(items[:size])
        items = items[size:]
    return portions


@given(arrivals(), st.integers(1, 6))
def test_a_files_batches_are_the_same_however_its_frames_come(portions: list[list[Item]], size: int) -> None:
    subject = batcher(size)
    batches = [batch for portion in portions for batch in subject.split(portion)]
    for name, count in (("a", 9), ("b", 5)):
        mine = [[n for _, n, _ in batch] for batch in batches if batch[0][0] == name]
        assert mine == [list(range(i, min(i + size, count))) for i in range(0, count, size)]
    assert all(len({item[0] for item in batch}) == 1 for batch in batches), "nobody shares a batch with a file"


@given(arrivals(), st.integers(1, 6))
def test_live_items_leave_at_once_and_in_order(portions: list[list[Item]], size: int) -> None:
    subject = batcher(size)
    for portion in portions:
        live = [item for item in portion if item[0] == "live"]
        assert [batch for batch in subject.split(portion) if batch[0][0] == "live"] == ([live] if live else [])
