"""Recordings without end: pieces that are one recording together, through reloads and a disk that is full."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import pytest

from facegate.pipeline.config import CameraConfig, GateConfig, RunConfig, ScorerConfig
from facegate.pipeline.gating.gate import Decision
from facegate.pipeline.recording import segments
from facegate.pipeline.recording.format import NO_CROP
from facegate.pipeline.recording.record import Recording
from facegate.pipeline.recording.replay import decide, line
from facegate.pipeline.records import ScoredFace
from facegate.pipeline.runner import Runner
from facegate.pipeline.watch import ShotQueue

from ...helpers import wait_until


def config(clip: Path, weights: Path, min_quality: int) -> RunConfig:
    camera = CameraConfig(name="door", source=str(clip), gate={"min_quality": min_quality})
    return RunConfig(cameras=(camera,), scorer=ScorerConfig(weights=weights), gate=GateConfig(min_quality=0))


def played(clip: Path, weights: Path, folder: Path) -> tuple[Path, list[Decision]]:
    """A run whose gate is changed in the middle; the recording's folder, and what was decided."""
    live: list[Decision] = []
    queue = ShotQueue()
    with Runner(
        config(clip, weights, 0), lambda: queue, on_decision=live.append, on_finished=queue.end, record=folder
    ) as runner:
        wait_until(lambda: live)
        runner.reload(config(clip, weights, 30))
        for _ in queue:
            pass
        runner.close(linger_s=0)
        return folder / runner.run_id, live


def logged(decisions: list[Decision]) -> list[tuple[str, str, str | None]]:
    return [(d.face.face.face_id, d.outcome.value, d.shot.shot_id if d.shot else None) for d in decisions]


def test_pieces_decide_as_the_run_did_through_a_reload(
    clip: object, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SEGMENT_BYTES", 60_000)
    run, live = played(clip.path, tiny_model, tmp_path)  # type: ignore[attr-defined]
    assert len(list(run.glob("*.rec"))) > 2
    again = [line(at, decision) for at, decision in decide(Recording(run))]
    assert [(row.face_id, row.outcome, row.shot_id) for row in again] == logged(live)
    assert len({row.outcome for row in again}) > 2
    # Without its oldest piece it is a recording still.
    min(run.glob("*.rec")).unlink()
    assert list(decide(Recording(run)))


def test_faces_that_were_not_scored_have_no_picture_and_places_lead_to_the_others(
    short_clip: Path, tiny_model: Path, tmp_path: Path
) -> None:
    run, _ = played(short_clip, tiny_model, tmp_path)
    frames = list(Recording(run).frames())
    skipped = [face for frame in frames for face in frame.skipped]
    scored = [face for frame in frames for face in frame.faces]
    assert skipped and all((face.face.crop == NO_CROP).all() for face in skipped)
    assert scored and all(isinstance(face, ScoredFace) and face.face.crop.any() for face in scored)


def test_a_full_disk_leaves_a_gap_and_the_run_goes_on(
    short_clip: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "RETRY_S", 0.05)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
        run, live = played(short_clip, tiny_model, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert live and len(list(run.glob("*.rec"))) > 1
    assert list(decide(Recording(run))), "what was recorded can be read"
