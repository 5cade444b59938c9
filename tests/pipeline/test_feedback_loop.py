"""Gate and worker in a loop, over real sockets: shots are earned, bounds hold, and a replay decides the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
import zmq

from facegate.pipeline.config import CameraConfig, GateConfig, RunConfig, ScorerConfig
from facegate.pipeline.gating.gate import Decision
from facegate.pipeline.observability.report import RunReport
from facegate.pipeline.recording.record import Recording
from facegate.pipeline.recording.replay import decide, line
from facegate.pipeline.runner import Runner
from facegate.sinks import wire
from facegate.sinks.spooled_sink import FanOut
from facegate.sinks.zeromq import ZmqSink

from ..helpers import PATIENCE_S

Says = Callable[[np.random.Generator], wire.Feedback | None]
MORE = 3


def worker(endpoint: str, says: Says, stop: Event) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(endpoint)
    rng = np.random.default_rng(0)
    while not stop.is_set():
        socket.send_multipart([wire.READY, wire.encode(wire.Ready(4, feedback=True))])
        while socket.poll(200):
            kind, *rest = socket.recv_multipart()
            if kind == wire.SHOT:
                shot_id = wire.decode_header(rest[0]).shot_id
                socket.send_multipart([wire.ACK, wire.encode(wire.Ack(shot_id, 1.0, says(rng)))])
    context.destroy(linger=0)


def run(
    clip: Path, model: Path, says: Says, record: Path | None = None
) -> tuple[RunReport, list[Decision], dict[int, int]]:
    """A run whose worker says the same of everything; report, decisions, and shots of each track."""
    decisions: list[Decision] = []
    sink, stop = ZmqSink("tcp://127.0.0.1:*"), Event()
    thread = Thread(target=worker, args=(sink.endpoint, says, stop))
    thread.start()
    try:
        while not sink.feedback().expected:
            assert not stop.wait(0.01)
        config = RunConfig(
            cameras=(CameraConfig(name="cam", source=str(clip)),),
            scorer=ScorerConfig(weights=model, every_face=True),
            gate=GateConfig(min_quality=0, max_followups=MORE),
        )
        with Runner(config, lambda: FanOut(sink), on_decision=decisions.append, record=record) as runner:
            runner.wait()
            report = runner.close(linger_s=PATIENCE_S)
    finally:
        stop.set()
        thread.join()
    assert report.observed == sum(report.outcomes.values()) == len(decisions) + report.outcomes.get("untracked", 0)
    assert report.delivery.acknowledged == report.shots
    shots = [decision.shot for decision in decisions if decision.shot is not None]
    return report, decisions, Counter(shot.track_id for shot in shots)


def unsure(rng: np.random.Generator) -> wire.Feedback:
    del rng
    return wire.Feedback(named=False, conclusive=False, similarity=0.2, runner_up_similarity=0.1)


def test_unsure_answers_earn_shots_and_a_replay_decides_the_same(
    short_clip: Path, tiny_model: Path, tmp_path: Path
) -> None:
    report, decisions, shots = run(short_clip, tiny_model, unsure, tmp_path / "loop.rec")
    assert report.delivery.answered == report.delivery.inconclusive == report.shots
    assert set(shots.values()) == {1 + MORE}, "each track was asked to the end, after the clip's end too"
    reasons = Counter(decision.shot.reason.value for decision in decisions if decision.shot is not None)
    assert reasons["asked"] == MORE * len(shots)
    replayed = [line(at, decision) for at, decision in decide(Recording(tmp_path / "loop.rec"))]
    assert [(x.face_id, x.outcome, x.shot_id) for x in replayed] == [
        (d.face.face.face_id, d.outcome.value, None if d.shot is None else d.shot.shot_id) for d in decisions
    ]


@pytest.mark.parametrize(
    ("says", "most", "odd"),
    [
        (lambda rng: wire.Feedback(True, True, 1.0, 1.0), 1, False),
        (lambda rng: wire.Feedback(True, True, float("nan"), 0.0), 2, True),
        (lambda rng: wire.Feedback(True, bool(rng.random() < 0.5), rng.random(), 0.0), 1 + MORE, False),
    ],
    ids=["all ones", "not a number", "at random"],
)
def test_a_worker_that_lies_gets_no_more_than_the_bound_and_every_track_is_sent(
    says: Says, most: int, odd: bool, short_clip: Path, tiny_model: Path
) -> None:
    report, _, shots = run(short_clip, tiny_model, says)
    assert set(shots) == set(range(len(shots))) and max(shots.values()) <= most
    assert (report.delivery.invalid > 0) == odd
