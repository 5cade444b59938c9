"""Files of earlier versions can be read, and an old recording is decided as it was then."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
from structlog.testing import capture_logs

from facegate.pipeline.recording.record import Recording
from facegate.pipeline.recording.replay import decide, line
from facegate.pipeline.records import Outcome, SkippedFace
from facegate.sinks.spool import Spool
from facegate.sinks.wire import decode_header, unpack_crop

FIXTURES = Path(__file__).parent / "fixtures"


def test_an_old_recording_is_decided_as_it_was_then() -> None:
    recording = Recording(FIXTURES / "recording-1.rec")
    lines = [msgspec.json.encode(line(at, decision)) for at, decision in decide(recording)]
    assert lines == (FIXTURES / "recording-1.decisions.jsonl").read_bytes().splitlines()


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
