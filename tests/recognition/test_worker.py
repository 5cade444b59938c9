"""The recognition worker, between real gates and a real gallery."""

from __future__ import annotations

import io
from collections.abc import Iterator
from threading import Event, Thread

import msgspec
import numpy as np
import pytest

from facegate.errors import DeliveryError
from facegate.recognition.embedders import load_embedder
from facegate.recognition.matching.decision_rule import FixedThresholdRule
from facegate.recognition.matching.gallery import Gallery
from facegate.recognition.worker.zmq_worker import Recognizer, Worker
from facegate.sinks.zeromq import ZmqSink

from ..helpers import PATIENCE_S, shots_of
from ..sinks.test_wire import entries, make_shot


@pytest.fixture(scope="module")
def recognizer_parts() -> Iterator[tuple[Gallery, object]]:
    model = load_embedder("builtin")
    known = model.embed([make_shot(1).crop])
    yield Gallery(["one"], known / np.linalg.norm(known)), model


def make(parts: tuple[Gallery, object], output: io.StringIO) -> Recognizer:
    gallery, model = parts
    return Recognizer(lambda: gallery, model, FixedThresholdRule(0.9), output)  # type: ignore[arg-type]


def test_one_worker_serves_several_gates_until_all_have_ended(recognizer_parts: tuple[Gallery, object]) -> None:
    output, gates = io.StringIO(), [ZmqSink("tcp://127.0.0.1:*") for _ in range(2)]
    for number, gate in enumerate(gates):
        gate.put(entries(2 * number, 2 * number + 1))
    worker = Worker([gate.endpoint for gate in gates], make(recognizer_parts, output))
    thread = Thread(target=worker.run, args=(Event(),), kwargs={"once": True})
    thread.start()
    reports = [gate.close(PATIENCE_S) for gate in gates]
    thread.join(PATIENCE_S)
    assert not thread.is_alive() and [report.acknowledged for report in reports] == [2, 2]
    lines = shots_of(output.getvalue())
    assert sorted(line["shot_id"] for line in lines) == [entry.shot_id for entry in entries(0, 1, 2, 3)]
    assert [line["name"] for line in sorted(lines, key=lambda line: line["shot_id"])][1] == "one"


def test_a_shot_that_comes_twice_is_written_once_and_a_damaged_one_is_acknowledged(
    recognizer_parts: tuple[Gallery, object],
) -> None:
    output, lives = io.StringIO(), []
    recognizer, stop = make(recognizer_parts, output), Event()
    for _ in range(2):  # a gate that comes back does not know what was acknowledged
        gate = ZmqSink("tcp://127.0.0.1:*")
        gate.put([*entries(0), msgspec.structs.replace(entries(1)[0], crop=b"no picture")])
        worker = Worker([gate.endpoint], recognizer)
        thread = Thread(target=worker.run, args=(stop,), kwargs={"once": True})
        thread.start()
        lives.append(gate.close(PATIENCE_S).acknowledged)
        thread.join(PATIENCE_S)
    assert lives == [2, 2] and len(shots_of(output.getvalue())) == recognizer.results == 1


def test_an_endpoint_that_is_none_is_refused_and_nothing_stays_open(
    recognizer_parts: tuple[Gallery, object],
) -> None:
    with pytest.raises(DeliveryError, match="cannot connect to nowhere: use tcp://HOST:PORT"):
        Worker(["tcp://127.0.0.1:5570", "nowhere"], make(recognizer_parts, io.StringIO()))
