"""What a worker says of its shots comes back to who decides; what cannot be is counted and not believed."""

from __future__ import annotations

import math
from time import monotonic, sleep

import pytest

from facegate.pipeline.records import RecognitionFeedback
from facegate.sinks import wire
from facegate.sinks.feedback import FeedbackQueue
from facegate.sinks.zeromq import ZmqSink

from ..helpers import PATIENCE_S
from .test_wire import entries
from .test_zeromq import Peer, peers


def told(sink: ZmqSink, count: int) -> list[RecognitionFeedback]:
    given: list[RecognitionFeedback] = []
    until = monotonic() + PATIENCE_S
    while len(given) < count and monotonic() < until:
        given += sink.feedback().items
        sleep(0.01)
    return given


def expects(sink: ZmqSink, somebody: bool) -> bool:
    until = monotonic() + PATIENCE_S
    while sink.feedback().expected != somebody and monotonic() < until:
        sleep(0.01)
    return sink.feedback().expected == somebody


def answer(worker: Peer, shot_id: str, block: wire.Feedback | None) -> None:
    worker.socket.send_multipart([wire.ACK, wire.encode(wire.Ack(shot_id, 1.0, block))])


def test_answers_come_back_once_and_only_while_somebody_gives_them() -> None:
    sink = ZmqSink("tcp://127.0.0.1:*")
    try:
        sink.put(entries(1))
        sink.put(entries(2))
        assert not sink.feedback().expected
        with peers(sink.endpoint, 2) as (old, new):
            old.ready(1)
            old.ack(old.shot())
            old.socket.send_multipart([wire.BYE, b""])
            new.socket.send_multipart([wire.READY, wire.encode(wire.Ready(4, feedback=True))])
            shot_id = new.shot()
            assert expects(sink, True)
            answer(new, shot_id, wire.Feedback(True, False, 0.5, 0.25))
            (given,) = told(sink, 1)
            assert (given.shot_id, given.named, given.conclusive, given.similarity) == (shot_id, True, False, 0.5)
            new.socket.send_multipart([wire.BYE, b""])
            assert expects(sink, False)
        report = sink.close(PATIENCE_S)
        assert (report.acknowledged, report.answered, report.inconclusive, report.invalid) == (2, 1, 1, 0)
    finally:
        sink.abort()


@pytest.mark.parametrize(
    "block",
    [
        wire.Feedback(True, True, math.nan, 0.1),
        wire.Feedback(True, True, 0.5, math.nan),
        wire.Feedback(True, True, math.inf, 0.1),
        wire.Feedback(True, True, 1.5, 0.1),
        wire.Feedback(True, True, 0.1, 0.5),
    ],
)
def test_what_cannot_be_is_not_believed(block: wire.Feedback) -> None:
    box = FeedbackQueue()
    box.put(wire.Ack("a", 1.0, block))
    assert not box.fetch().items and (box.invalid, box.answered) == (1, 0)


def test_who_says_nothing_is_an_old_worker() -> None:
    box = FeedbackQueue()
    box.put(wire.Ack("a", 1.0))
    assert not box.fetch().items and (box.invalid, box.answered) == (0, 0)
