"""What gates tell each other: whom a group has let through, and what a camera has learned."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
import numpy as np

from facegate.fleet.peer_exchange import MAX_MESSAGE_BYTES, PeerExchange, SightingMessage
from facegate.pipeline.config import build_config
from facegate.pipeline.gating.factory import CameraGates, GateFactory, LearnedState
from facegate.pipeline.recording.record import Recorder, Recording, RunInfo
from facegate.pipeline.recording.replay import decide
from facegate.pipeline.records import FeedbackBatch, Outcome, PeerSighting, RecognitionFeedback
from facegate.pipeline.tracking.identity import IdentityThresholds

from ..pipeline.gating.faces import ANN, BOB, INFO, frame, seen

PEOPLE = (0.3, 0.6)


def gates(**gate: Any) -> GateFactory:
    camera = {"name": "cam", "source": "0", "gate": {"min_quality": 0} | gate}
    return GateFactory(build_config({"cameras": [camera]}), "run", INFO, IdentityThresholds(*PEOPLE))


class Two:
    """Two gates that hear each other."""

    def __init__(self) -> None:
        self.heard: list[PeerSighting] = []
        self.left = PeerExchange("left", lambda met: None)
        self.right = PeerExchange("right", self.heard.append)
        self.left.model = self.right.model = "m"

    def talk(self) -> None:
        for message in self.left.outgoing():
            self.right.on_message(message)


def test_whom_one_gate_has_sent_the_other_of_the_group_does_not() -> None:
    two = Two()
    one = gates(identity={"group": "hall", "merge_s": 0})
    one.connect_peers(two.left)
    deciders = CameraGates(one)
    now = monotonic()
    sent = frame(0, seen(0, 1, 50, who=ANN, pts_s=now - 5.0), ended=(1,), pts_s=now - 5.0)
    first = [d for step in deciders.step(sent) for d in step.decisions]
    assert [d.outcome for d in first] == [Outcome.FORWARDED]
    two.talk()
    talked_s = monotonic() - now
    (met,) = two.heard
    assert met.group == "hall" and np.frombuffer(met.embedding, "<f4") @ ANN > 0.999
    assert abs(met.at_s - (now - 5.0)) <= talked_s, "as long ago as it was"

    other = CameraGates(gates(identity={"group": "hall", "merge_s": 0}))
    list(other.on_feedback(FeedbackBatch(False, sightings=(met,))))
    faces = seen(1, 1, 50, who=ANN, pts_s=now), seen(1, 2, 50, who=BOB, pts_s=now)
    fates = {
        d.face.track_id: d.outcome
        for step in other.step(frame(1, *faces, ended=(1, 2), pts_s=now))
        for d in step.decisions
    }
    assert sorted(fates.items()) == [(0, Outcome.DUPLICATE), (1, Outcome.FORWARDED)]
    elsewhere = CameraGates(gates(identity={"group": "yard", "merge_s": 0}))
    list(elsewhere.on_feedback(FeedbackBatch(False, sightings=(met,))))
    (step,) = elsewhere.step(frame(1, faces[0], ended=(1,), pts_s=now))
    assert [d.outcome for d in step.decisions] == [Outcome.FORWARDED]


def test_a_replay_has_heard_the_same(tmp_path: Path) -> None:
    path = tmp_path / "cam.rec"
    config = build_config(
        {
            "cameras": [
                {
                    "name": "cam",
                    "source": "0",
                    "gate": {"min_quality": 0, "identity": {"group": "hall", "merge_s": 0}},
                }
            ]
        }
    )
    recorder = Recorder(path, config, RunInfo("run", INFO, PEOPLE), {})
    recorder.write(FeedbackBatch(False, sightings=(PeerSighting("hall", ANN.astype("<f4").tobytes(), 0.0),)))
    recorder.write(frame(1, seen(1, 1, 50, who=ANN), ended=(1,)))
    recorder.close()
    assert [decision.outcome for _, decision in decide(Recording(path))] == [Outcome.DUPLICATE]


def test_what_is_old_foreign_or_no_message_is_left_out() -> None:
    two = Two()
    said = SightingMessage("left", "m", "hall", 1.0, ANN.astype("<f2").tobytes())
    replace = msgspec.structs.replace
    wrong = [
        replace(said, gate="right"),
        replace(said, model="another"),
        replace(said, age_s=1e9),
        replace(said, age_s=-5.0),
        replace(said, age_s=float("nan")),
        replace(said, embedding=b"odd"),
    ]
    for each in wrong:
        two.right.on_message(msgspec.msgpack.encode(each))
    for each in (b"", b"nonsense", b"\x00" * (MAX_MESSAGE_BYTES + 1)):
        two.right.on_message(each)
    assert two.heard == []
    before = monotonic()
    two.right.on_message(msgspec.msgpack.encode(said))
    (met,) = two.heard
    assert before - 1.0 <= met.at_s <= monotonic() - 1.0


def test_what_a_camera_has_learned_goes_on_elsewhere() -> None:
    two = Two()
    settings: dict[str, Any] = {"target_recall": 0.99, "max_wait_s": 100}
    one = gates(**settings)
    one.connect_peers(two.left)
    deciders = CameraGates(one)
    list(deciders.on_feedback(FeedbackBatch(expected=True)))
    for seq in range(0, 600, 2):
        sent = list(deciders.step(frame(seq, seen(seq, seq, 50))))
        sent += deciders.step(frame(seq + 1, ended=(seq,)))
        shots = [decision.shot for step in sent for decision in step.decisions if decision.shot is not None]
        given = tuple(RecognitionFeedback(shot.shot_id, True, True, 0.9, 0.1, "recognizer") for shot in shots)
        list(deciders.on_feedback(FeedbackBatch(True, given)))
        one.save_learned("cam")
    keeping = deciders.cameras["cam"].gate.recall
    assert keeping is not None and keeping.threshold == 50
    (value,) = two.left.states_to_save().values()
    assert two.left.states_to_save() == {} and two.left.states_to_save("cam") == {}, "written once"
    two.right.state_saved("cam", value)
    learned = two.right.initial_state("cam")
    assert isinstance(learned, LearnedState)
    other = gates(**settings)
    other.restore({"cam": learned})
    began = other.track_gate("cam").recall
    assert began is not None and began.state() == keeping.state()
    two.right.state_saved("cam", b"nonsense")
    assert two.right.initial_state("cam") is None and two.right.initial_state("yard") is None
