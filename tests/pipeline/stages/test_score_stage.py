"""The scoring stage: one batch of what waits, order kept, overload counted, files never cut short."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Thread

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facegate.pipeline.flow.channel import Channel, EndOfStream, Lane
from facegate.pipeline.gating.limits import GateSettings
from facegate.pipeline.gating.scoring_scheduler import ScoringScheduler
from facegate.pipeline.quality.load_shedding import ScoringPriority, frontality
from facegate.pipeline.records import (
    Detection,
    Face,
    FrameRef,
    Outcome,
    ScoredFrame,
    TrackedFace,
    TrackedFrame,
)
from facegate.pipeline.stages.score import ScoreStage
from facegate.scoring.engine import Scorer, load_scorer

FRONTAL = np.array([[10, 10], [30, 10], [20, 20], [12, 30], [28, 30]], np.float32)
PROFILE = np.array([[10, 10], [30, 10], [34, 20], [12, 30], [28, 30]], np.float32)


def tracked(
    camera: str, seq: int, track: int, *, width: float = 80.0, pts_s: float | None = None, points: object = FRONTAL
) -> TrackedFace:
    at = seq / 10 if pts_s is None else pts_s
    crop = np.random.default_rng(seq * 100 + track).integers(0, 256, (112, 112, 3)).astype(np.uint8)
    detection = Detection((0, 0, width, width), 0.9, points)  # type: ignore[arg-type]
    return TrackedFace(
        Face(f"{seq}-{track}", FrameRef(camera, seq, at, at, None, 640, 480), detection, crop), track
    )


def frame(camera: str, seq: int, tracks: range, *, last: bool = False) -> TrackedFrame:
    faces = tuple(tracked(camera, seq, track) for track in tracks)
    return TrackedFrame(FrameRef(camera, seq, seq / 10, seq / 10, None, 640, 480), faces, (), last)


def every_face(camera: str) -> ScoringScheduler:
    return ScoringScheduler(GateSettings(), "run", everything=True)


def run_stage(
    scorer: Scorer,
    frames: list[TrackedFrame],
    live: set[str],
    budget_s: float,
    contest: Callable[[str], ScoringScheduler] = every_face,
) -> tuple[list[ScoredFrame], ScoreStage]:
    inbox: Channel[TrackedFrame] = Channel()
    lane = inbox.lane(len(frames))
    for item in frames:
        lane.put(item)
    lane.close()
    out: Channel[ScoredFrame] = Channel()
    outbox: Lane[ScoredFrame] = out.lane(len(frames))
    stage = ScoreStage(
        scorer,
        contest,
        lambda camera: None,  # nobody answers
        live=frozenset(live),
        max_frames=4,
        wait_s=0.0,
        budget_s=budget_s,
    )
    thread = Thread(target=stage.run, args=(inbox, outbox))
    thread.start()
    thread.join()
    outbox.close()
    found: list[ScoredFrame] = []
    try:
        while True:
            found += out.take()
    except EndOfStream:
        return found, stage


@pytest.fixture(scope="module")
def scorer_tiny(tiny_model: Path) -> Scorer:
    return load_scorer(tiny_model, device="cpu", dtype="fp32", backend="torch")


def test_live_cameras_share_a_batch_and_frames_keep_their_order(scorer_tiny: Scorer) -> None:
    frames = [frame(camera, seq, range(3)) for seq in range(4) for camera in ("a", "b")]
    found, stage = run_stage(scorer_tiny, frames, {"a", "b"}, 1e9)
    assert [(item.frame.camera, item.frame.seq) for item in found] == [(c, n) for n in range(4) for c in "ab"]
    for item in found:
        assert [face.face.face_id for face in item.faces] == [f"{item.frame.seq}-{track}" for track in range(3)]
        alone = scorer_tiny.score(np.stack([face.face.crop for face in item.faces]))
        np.testing.assert_allclose([face.raw_score for face in item.faces], alone.raw_score, atol=1e-5)
    report = stage.report()
    assert (report.batches, report.batch_mean, report.batch_max) == (4, 6.0, 6)
    assert report.wait_p95_ms > 0 and report.ms_per_crop > 0


def test_a_files_scores_do_not_depend_on_when_its_frames_came(scorer_tiny: Scorer) -> None:
    """Regression: what shared a batch moved the last bits of a score, and with them which of two equals won."""
    file = [frame("a", seq, range(3), last=seq == 8) for seq in range(9)]
    live = [frame("live", seq, range(2)) for seq in range(9)]
    mixed = [item for pair in zip(live, file, strict=True) for item in pair]
    raws = []
    for frames in (file, mixed, [*live, *file]):
        found, _ = run_stage(scorer_tiny, frames, {"live"}, 1e9)
        raws.append([face.raw_score for item in found if item.frame.camera == "a" for face in item.faces])
    assert len(raws[0]) == 27 and raws[0] == raws[1] == raws[2]


def test_under_overload_live_crops_are_left_out_and_counted_and_files_are_not(scorer_tiny: Scorer) -> None:
    frames = [frame("live", seq, range(5)) for seq in range(8)] + [
        frame("file", seq, range(2), last=seq == 7) for seq in range(8)
    ]
    found, _ = run_stage(scorer_tiny, frames, {"live"}, budget_s=1e-9)
    kept = {camera: sum(len(f.faces) for f in found if f.frame.camera == camera) for camera in ("live", "file")}
    left_out = [face for item in found for face in item.skipped]
    assert {(face.face.frame.camera, face.outcome) for face in left_out} == {("live", Outcome.NOT_SCORED)}
    assert kept["file"] == 16 and kept["live"] + len(left_out) == 40
    assert len(found) == 16, "frames pass even when none of their faces was scored"


def test_without_overload_every_live_crop_is_scored(scorer_tiny: Scorer) -> None:
    found, _ = run_stage(scorer_tiny, [frame("live", seq, range(5)) for seq in range(8)], {"live"}, 1e9)
    assert not any(item.skipped for item in found)


def test_what_can_hardly_win_passes_unscored_in_its_frame(scorer_tiny: Scorer) -> None:
    still = [
        msgspec.structs.replace(item, faces=tuple(still_face(face) for face in item.faces))
        for item in (frame("a", seq, range(2)) for seq in range(12))
    ]
    found, stage = run_stage(scorer_tiny, still, set(), 1.0, lambda camera: ScoringScheduler(GateSettings(), "run"))
    skipped = [face for item in found for face in item.skipped]
    assert {face.outcome for face in skipped} == {Outcome.NOT_NEEDED}
    assert all(len(item.faces) + len(item.skipped) == 2 for item in found)
    assert len(found[0].faces) == 2, "whoever is new is scored"
    assert len(skipped) >= 12 and stage.report().batches < 12


def still_face(tracked_face: TrackedFace) -> TrackedFace:
    """The same crop in every frame, and a place beside the other tracks'."""
    crop = np.random.default_rng(1).integers(0, 256, (112, 112, 3)).astype(np.uint8)
    left = 200.0 * tracked_face.track_id
    face = msgspec.structs.replace(
        tracked_face.face, crop=crop, detection=Detection((left, 0, left + 80, 80), 0.9, FRONTAL)
    )
    return msgspec.structs.replace(tracked_face, face=face)


def test_a_new_track_goes_before_one_scored_just_now_and_a_frontal_face_before_a_profile() -> None:
    priority = ScoringPriority()
    known, new = tracked("a", 1, 1), tracked("a", 1, 2)
    priority.scored([known])
    assert priority.select([known, new], 1) == {1}
    side = tracked("a", 1, 3, points=PROFILE)
    assert priority.select([side, tracked("a", 1, 4)], 1) == {1}
    assert frontality(known.face.detection) == 1.0 and frontality(side.face.detection) < 0.1


def test_one_person_in_many_frames_does_not_starve_a_crowd() -> None:
    many = [tracked("a", seq, 1, width=110) for seq in range(6)]
    crowd = [tracked("b", 0, track, width=60) for track in range(2, 5)]
    chosen = ScoringPriority().select([*many, *crowd], 4)
    assert {6, 7, 8} <= chosen


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(1, 300)), max_size=20), st.integers(0, 25))
def test_the_choice_never_exceeds_its_number_nor_falls_short(items: list[tuple[int, float]], most: int) -> None:
    faces = [tracked("a", seq, track, width=width) for seq, (track, width) in enumerate(items)]
    assert len(ScoringPriority().select(faces, most)) == min(most, len(faces))


def test_the_stage_forgets_tracks_that_have_ended() -> None:
    priority = ScoringPriority()
    face = tracked("a", 1, 1)
    priority.scored([face])
    priority.ended("a", (1,))
    assert not priority._scored
