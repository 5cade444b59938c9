"""The gate: every face gets one fate, the best of a track is sent, later shots only improve."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from facegate.pipeline.config import RunConfig, build_config
from facegate.pipeline.gating.factory import CameraGate, GateFactory
from facegate.pipeline.gating.gate import Decision, GatePolicy
from facegate.pipeline.gating.limits import GateSettings
from facegate.pipeline.records import (
    Detection,
    Face,
    FrameRef,
    Outcome,
    Reason,
    ScoredFace,
    ScoredFrame,
)

from .faces import CROP, INFO

POINTS = np.zeros((5, 2), np.float32)


def frame_ref(seq: int, pts_s: float) -> FrameRef:
    return FrameRef("cam", seq, pts_s, pts_s, None, 640, 480)


def scored(seq: int, pts_s: float, track_id: int, quality: int) -> ScoredFace:
    face = Face(f"{seq}-{track_id}", frame_ref(seq, pts_s), Detection((0, 0, 50, 50), 0.9, POINTS), CROP)
    return ScoredFace(face, track_id, quality, quality / 100, np.zeros(4, np.float32), None)


def frame(seq: int, pts_s: float, faces: dict[int, int], ended: tuple[int, ...] = ()) -> ScoredFrame:
    return ScoredFrame(
        frame_ref(seq, pts_s), tuple(scored(seq, pts_s, track, q) for track, q in faces.items()), ended
    )


def gate(min_quality: int = 20, max_wait_s: float = 5.0, improve_margin: int = 10) -> GatePolicy:
    return GatePolicy(
        "run",
        "cam",
        GateSettings(min_quality=min_quality, max_wait_s=max_wait_s, improve_margin=improve_margin),
        INFO,
    )


def test_the_best_face_is_sent_when_the_track_ends() -> None:
    g = gate()
    assert g.step(frame(0, 0.0, {1: 40})) == []
    assert [d.outcome for d in g.step(frame(1, 0.1, {1: 80}))] == [Outcome.SUPERSEDED]
    assert [d.outcome for d in g.step(frame(2, 0.2, {1: 60}))] == [Outcome.SUPERSEDED]
    (decision,) = g.step(frame(3, 1.5, {}, ended=(1,)))
    assert decision.shot is not None
    assert (decision.shot.quality, decision.shot.rank, decision.shot.reason) == (80, 1, Reason.TRACK_ENDED)


def test_faces_below_the_threshold_are_dropped_at_once_and_never_sent() -> None:
    g = gate(min_quality=50)
    assert [d.outcome for d in g.step(frame(0, 0.0, {1: 49}))] == [Outcome.BELOW_THRESHOLD]
    assert g.step(frame(1, 9.0, {}, ended=(1,))) == []


def test_somebody_who_stays_is_sent_after_the_maximum_wait_and_again_only_when_clearly_better() -> None:
    g = gate(max_wait_s=2.0, improve_margin=10)
    g.step(frame(0, 0.0, {1: 50}))
    (first,) = [d for d in g.step(frame(1, 2.0, {1: 30})) if d.shot]
    assert first.shot is not None and first.shot.reason is Reason.MAX_WAIT and first.shot.quality == 50
    assert [d.outcome for d in g.step(frame(2, 3.0, {1: 59}))] == [Outcome.SUPERSEDED]
    assert g.step(frame(3, 3.1, {1: 60})) == []
    (second,) = g.step(frame(4, 6.0, {}, ended=(1,)))
    assert second.shot is not None and (second.shot.rank, second.shot.quality) == (2, 60)


def test_the_same_face_gets_the_same_shot_id_in_every_replay_and_another_in_another_run() -> None:
    def shot_id(run: str) -> str:
        g = GatePolicy(run, "cam", GateSettings(min_quality=0), INFO)
        g.step(frame(0, 0.0, {1: 40}))
        (decision,) = g.step(frame(1, 1.0, {}, ended=(1,)))
        assert decision.shot is not None
        return decision.shot.shot_id

    assert shot_id("a") == shot_id("a") != shot_id("b")


@given(
    frames=st.lists(
        st.tuples(
            st.dictionaries(st.integers(0, 3), st.integers(0, 100), max_size=4),
            st.sets(st.integers(0, 3)),
            st.floats(0.01, 3.0),
        ),
        max_size=40,
    ),
    min_quality=st.integers(0, 100),
)
def test_every_face_has_exactly_one_fate_and_shots_of_a_track_only_improve(
    frames: list[tuple[dict[int, int], set[int], float]], min_quality: int
) -> None:
    g = gate(min_quality=min_quality, max_wait_s=1.0)
    decisions: list[Decision] = []
    seen: list[str] = []
    now = 0.0
    for seq, (faces, ended, gap) in enumerate(frames):
        now += gap
        item = frame(seq, now, faces, tuple(sorted(ended)))
        seen += [face.face.face_id for face in item.faces]
        before = len(decisions)
        decisions += g.step(item)
        for track in ended:  # a new person may get the same id afterwards: judge each life on its own
            qualities = [d.shot.quality for d in decisions if d.shot and d.shot.track_id == track]
            ranks = [d.shot.rank for d in decisions if d.shot and d.shot.track_id == track]
            life = qualities[len(ranks) - (ranks[-1] if ranks else 0) :]
            assert all(later >= earlier + 10 for earlier, later in itertools.pairwise(life))
        assert all(d.shot is None or d.face.quality >= min_quality for d in decisions[before:])
    decisions += g.step(frame(10_000, now + 100, {}, (0, 1, 2, 3)))
    fates = Counter(d.face.face.face_id for d in decisions)
    assert fates == Counter(seen)
    assert all((d.outcome is Outcome.FORWARDED) == (d.shot is not None) for d in decisions)


def test_a_removed_camera_whose_first_frame_is_still_on_its_way_is_decided_as_it_was_configured() -> None:
    """Regression: after a reload, the frame of a camera that was gone ended the whole run."""

    def config(*names: str) -> RunConfig:
        cameras = [{"name": name, "source": "0", "gate": {"min_quality": 70}} for name in names]
        return build_config({"cameras": cameras})

    gates = GateFactory(config("cam", "stays"), "run", INFO, None)
    gates.configure(config("stays"))
    decider = CameraGate(gates, "cam")
    decisions = decider.step(frame(0, 0.0, {1: 60})).decisions
    last = ScoredFrame(frame_ref(1, 0.1), (), (1,), last=True)
    decisions += decider.step(last).decisions
    assert [decision.outcome for decision in decisions] == [Outcome.BELOW_THRESHOLD] and decider.ended
