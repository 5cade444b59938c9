"""Files of earlier versions, which those versions wrote from drawn pictures, can be read."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from structlog.testing import capture_logs

from facegate.pipeline.config import CameraConfig, GateConfig, RunConfig
from facegate.pipeline.gating.factory import GateFactory
from facegate.pipeline.images import decode_image
from facegate.pipeline.recording.record import Recording
from facegate.pipeline.recording.replay import decide, line
from facegate.pipeline.records import Outcome, QualityInfo, SkippedFace
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.enrollment.unknowns import UnknownStore
from facegate.sinks.spool import Spool
from facegate.sinks.wire import decode_header, unpack_crop
from facegate.store.reader import StoreReader, VisitFilter

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.mark.parametrize("version", [1, 4])
def test_an_old_recording_is_decided_as_it_was_then(version: int) -> None:
    recording = Recording(FIXTURES / f"recording-{version}.rec")
    lines = [msgspec.json.encode(line(at, decision)) for at, decision in decide(recording)]
    assert lines == (FIXTURES / f"recording-{version}.decisions.jsonl").read_bytes().splitlines()


def test_an_old_recording_with_removed_settings_is_decided_without_them_and_says_so() -> None:
    with capture_logs() as logs:
        recording = Recording(FIXTURES / "recording-2.rec", crops=False)
        decisions = [decision for _, decision in decide(recording)]
    seen = [face.face.face_id for frame in recording.frames() for face in (*frame.faces, *frame.skipped)]
    assert sorted(seen) == sorted(decision.face.face.face_id for decision in decisions) and len(seen) == 84
    unscored = [decision.outcome for decision in decisions if isinstance(decision.face, SkippedFace)]
    assert unscored == 28 * [Outcome.BELOW_THRESHOLD], "faces that had left the network early"
    assert {line["event"] for line in logs} == {"recording uses a removed feature"}
    assert sorted(line["feature"] for line in logs) == ["early exit", "gate.online"]


def test_an_old_recording_keeps_learned_thresholds_feedback_and_changed_gates() -> None:
    recording = Recording(FIXTURES / "recording-4.rec", crops=False)
    kinds = {type(item).__name__ for item in recording.events()}
    assert kinds == {"ScoredFrame", "FeedbackBatch", "GateChange"}
    gate = recording.config().gate_for("door")
    assert (gate.target_recall, gate.max_followups, gate.identity.group) == (0.9, 3, "hall")
    assert recording.header.learned["door"].threshold == 20
    assert recording.header.learned["door"].recognizer == "drawn:1"


def test_an_old_spool_gives_back_its_shots(tmp_path: Path) -> None:
    spool = Spool(Path(shutil.copy(FIXTURES / "spool-1.db", tmp_path)))
    entries = spool.after(0, 100)
    headers = [decode_header(entry.header) for entry in entries]
    assert [header.shot_id for header in headers] == [entry.shot_id for entry in entries] and len(entries) == 6
    assert {header.camera for header in headers} == {"door"}
    for header, entry in zip(headers, entries, strict=True):
        assert unpack_crop(header, entry.crop).shape == (112, 112, 3)
    spool.delete(entries)
    assert len(spool) == 0
    spool.close()


def test_a_spool_from_before_the_renaming_keeps_waiting_and_dead_shots(tmp_path: Path) -> None:
    spool = Spool(Path(shutil.copy(FIXTURES / "spool-3.db", tmp_path)))
    waiting, dead = spool.after(0, 100), spool.after(0, 100, dead=True)
    headers = [decode_header(entry.header) for entry in waiting]
    assert [(header.track_id, header.quality.value, header.rank, header.reason) for header in headers] == [
        (2, 42, 1, "track_ended"), (0, 43, 2, "improved"), (1, 44, 2, "improved"), (4, 12, 0, "shadow"),
    ]  # fmt: skip
    assert len(dead) == 1 and decode_header(dead[0].header).quality.value == 40
    assert unpack_crop(headers[0], waiting[0].crop).shape == (112, 112, 3)
    assert spool.requeue_dead() == 1 and len(spool.after(0, 100)) == 5
    spool.close()


def test_a_store_from_before_the_renaming_shows_its_visits(tmp_path: Path) -> None:
    with StoreReader(Path(shutil.copy(FIXTURES / "store-1.db", tmp_path))) as store:
        visits = {visit.visit: visit for visit in store.visits(VisitFilter()).items}
        assert {(v.track_id, v.name, v.shots, v.quality, v.ended) for v in visits.values()} == {
            (0, "Ada", 2, 43, True), (1, None, 2, 44, False), (2, None, 1, 42, False),
        }  # fmt: skip
        assert store.count() == {"shots": 6, "visits": 3}
        best = visits["run/door/0"].best
        crop = store.crop(best or "")
        assert crop is not None and decode_image(crop, "the crop").shape == (112, 112, 3)
        track = store.track("run/door/0")
    assert track is not None and (track.faces, track.segment, track.offset) == (9, "door-1.rec", 512)
    assert track.outcomes == {"forwarded": 2, "superseded": 7}
    assert [(event.face_id, event.outcome, event.quality) for event in track.events] == [
        ("0-0", Outcome.FORWARDED, 40), ("1-1", Outcome.NOT_NEEDED, None),
    ]  # fmt: skip


def test_a_gallery_from_before_the_renaming_keeps_people_pictures_and_unknown_visitors(tmp_path: Path) -> None:
    path = Path(shutil.copy(FIXTURES / "people-1.db", tmp_path))
    with GalleryStore(path) as people:
        assert [(p.name, p.pictures, p.negatives) for p in people.people()] == [("Ada", 2, 0), ("Ben", 1, 1)]
        assert [(p.person, p.kind, p.quality, p.accepted) for p in people.pictures()] == [
            ("Ada", "enrolled", 51, False), ("Ada", "enrolled", 52, False),
            ("Ben", "enrolled", 53, True), ("Ben", "negative", 54, False),
        ]  # fmt: skip
        assert people.crop(1).shape == (112, 112, 3) and people.unusable() == {"ff" * 32: "no face was found"}
        embedded = people.embedded("drawn:1")
    assert embedded.used.tolist() == [True, False, True, True] and embedded.vectors.shape == (4, 16)
    assert np.allclose(np.linalg.norm(embedded.vectors, axis=1), 1, atol=1e-6)
    with UnknownStore(path) as unknowns:
        assert unknowns.crop(1).shape == (112, 112, 3)


def test_a_learned_threshold_from_before_the_renaming_is_used(tmp_path: Path) -> None:
    shutil.copy(FIXTURES / "door.f79c013f.keep.json", tmp_path)
    config = RunConfig(
        cameras=(CameraConfig(name="door", source="clip.mp4"),), gate=GateConfig(target_recall=0.9, state=tmp_path)
    )
    info = QualityInfo("vitnt-fiqa/attention/2-5/alpha8", "drawn", "drawn-1")
    state = GateFactory(config, "run", info, None).initial_states()["door"]
    assert (state.recognizer, state.threshold, len(state.best)) == ("drawn:1", 20, 45)
