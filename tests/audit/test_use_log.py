"""The log of uses: begin, gallery, matches with their inputs and thresholds, end; and what a full disk leaves."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest

from facegate.audit.log import AuditEntry, AuditLog, Use
from facegate.audit.verification import verify
from facegate.errors import StoreError
from facegate.pipeline.records import Floats, Image
from facegate.recognition.matching.decision_rule import FixedThresholdRule
from facegate.recognition.matching.gallery import Gallery
from facegate.recognition.worker.recognizer import Recognizer
from facegate.recognition.worker.use_log import UseLog
from facegate.sinks import wire

from ..sinks.test_wire import entries


class OneFace:
    """Embeds every crop alike."""

    name, version, threshold = "one-face", "1", 0.6

    def embed(self, crops: list[Image]) -> Floats:
        return np.tile(np.array([1, 0], np.float32), (len(crops), 1))


def logged(path: Path) -> list[AuditEntry]:
    with AuditLog(path) as log:
        return list(log.entries())


def test_each_match_is_logged_with_its_input_gallery_and_threshold_before_it_is_told(tmp_path: Path) -> None:
    path, rule = tmp_path / "audit.db", FixedThresholdRule(0.6)
    gallery = [Gallery(["ann"], np.array([[1, 0]], np.float32))]
    told: list[int] = []
    with AuditLog(path, create=True) as log:
        recognizer = Recognizer(
            lambda: gallery[0], OneFace(), rule, io.StringIO(),  # type: ignore[arg-type]
            on_events=lambda events: told.append(sum(each.method == "MATCH" for each in log.entries())),
            uses=UseLog(log, OneFace(), rule),  # type: ignore[arg-type]
        )  # fmt: skip
        (entry,) = entries(0)
        recognizer.recognize([(wire.decode_header(entry.header), entry.crop)])
        gallery[0] = Gallery(["bob"], np.array([[1, 0]], np.float32))
        recognizer.expire_visits()
        recognizer.finish()
    assert told[0] == 1, "it was in the log when it was published"
    found = logged(path)
    assert [each.method for each in found] == ["START", "MATCH", "GALLERY", "MATCH", "END"]
    start, first, changed, second, _ = (json.loads(each.details) for each in found)
    assert start["recognizer"] == "one-face" and start["people"] == 1 and start["gallery"] != changed["gallery"]
    assert first["name"] == "ann" and first["threshold"] == 0.6 and first["gallery"] == start["gallery"]
    assert first["sha256"] == hashlib.sha256(entry.crop).hexdigest() == second["sha256"]
    assert second["name"] == "bob" and second["gallery"] == changed["gallery"]
    assert found[1].path.endswith(f"/{entry.camera}/{entry.track_id}") and found[1].address == entry.camera
    assert verify(path).faults == ()


def test_what_a_full_disk_leaves_out_is_said_once_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rule = tmp_path / "audit.db", FixedThresholdRule(0.6)
    append = AuditLog.append

    def full(self: AuditLog, *uses: Use) -> None:
        raise StoreError("no space left on device")

    with AuditLog(path, create=True) as log:
        uses = UseLog(log, OneFace(), rule)  # type: ignore[arg-type]
        monkeypatch.setattr(AuditLog, "append", full)
        uses.start(Gallery(["ann"], np.array([[1, 0]], np.float32)))
        uses.end()
        monkeypatch.setattr(AuditLog, "append", append)
        uses.end()
    assert [(each.method, each.details) for each in logged(path)] == [("GAP", '{"missing":2}'), ("END", "{}")]
