"""Channels: bounded, fair between lanes, and over only when every lane is closed and empty."""

from __future__ import annotations

from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facegate.pipeline.flow.channel import Aborted, Channel, EndOfStream


def test_an_overwriting_lane_keeps_the_newest_and_counts_the_rest() -> None:
    channel: Channel[int] = Channel()
    lane = channel.lane(1, overwrite=True)
    for number in range(5):
        lane.put(number)
    assert (channel.take(10), lane.overwritten) == ([4], 4)


def test_the_last_word_of_a_closing_lane_displaces_nothing() -> None:
    channel: Channel[str] = Channel()
    lane = channel.lane(1, overwrite=True)
    lane.put("frame")
    lane.close("ended")
    assert channel.take(10) == ["frame", "ended"]
    with pytest.raises(EndOfStream):
        channel.take()


def test_lanes_are_taken_in_turn_so_a_busy_one_cannot_starve_the_others() -> None:
    channel: Channel[str] = Channel()
    busy, quiet = channel.lane(10), channel.lane(10)
    for _ in range(8):
        busy.put("busy")
    quiet.put("quiet")
    assert "quiet" in channel.take(2)


def test_a_full_blocking_lane_waits_for_the_consumer_and_loses_nothing() -> None:
    channel: Channel[int] = Channel()
    lane = channel.lane(2)

    def produce() -> None:
        for number in range(50):
            lane.put(number)
        lane.close()

    producer = Thread(target=produce)
    producer.start()
    taken: list[int] = []
    with pytest.raises(EndOfStream):
        while True:
            taken += channel.take(3)
    producer.join()
    assert taken == list(range(50))


def test_abort_wakes_a_waiting_producer_and_a_waiting_consumer() -> None:
    channel: Channel[int] = Channel()
    lane = channel.lane(1)
    lane.put(1)
    caught: list[str] = []

    def produce() -> None:
        try:
            lane.put(2)
        except Aborted:
            caught.append("producer")

    producer = Thread(target=produce)
    producer.start()
    channel.abort()
    producer.join()
    with pytest.raises(Aborted):
        channel.take()
    assert caught == ["producer"]


def test_a_timed_take_returns_empty_handed() -> None:
    channel: Channel[int] = Channel()
    channel.lane(1)
    assert channel.take(timeout_s=0.01) == []


@given(st.lists(st.lists(st.integers(), max_size=8), min_size=1, max_size=4), st.integers(1, 5))
def test_everything_put_is_taken_once_and_in_order_within_its_lane(puts: list[list[int]], limit: int) -> None:
    channel: Channel[tuple[int, int]] = Channel()
    for index, numbers in enumerate(puts):
        lane = channel.lane(10)
        for number in numbers:
            lane.put((index, number))
        lane.close()
    taken: list[tuple[int, int]] = []
    with pytest.raises(EndOfStream):
        while True:
            taken += channel.take(limit)
    for index, numbers in enumerate(puts):
        assert [number for lane_index, number in taken if lane_index == index] == numbers
