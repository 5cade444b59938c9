"""A camera that switches to gray at night has thresholds of its own for it, as if each mode were alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

from facegate.demo.clip import DemoClip
from facegate.pipeline.config import build_config
from facegate.pipeline.gating.factory import GRAY, CameraGates, GateFactory
from facegate.pipeline.quality.grayscale import is_gray
from facegate.pipeline.records import FeedbackBatch, Outcome, RecognitionFeedback, ScoredFace

from .faces import INFO, frame, make, seen

COLOR = np.full((112, 112, 3), (150, 110, 90), np.uint8)
NIGHT = np.full((112, 112, 3), 110, np.uint8)


def at_day(face: ScoredFace) -> ScoredFace:
    return msgspec.structs.replace(face, face=msgspec.structs.replace(face.face, crop=COLOR))


def at_night(face: ScoredFace) -> ScoredFace:
    return msgspec.structs.replace(face, face=msgspec.structs.replace(face.face, crop=NIGHT))


def test_gray_pictures_are_told_from_those_in_color(clip: DemoClip) -> None:
    rng = np.random.default_rng(0)
    for file in sorted(clip.gallery.rglob("*.png")):
        picture = np.asarray(cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB), np.uint8)
        gray = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        noise = rng.normal(0, 12, gray.shape[:2])[..., None]  # of the sensor, before coding: in all channels alike
        noisy = np.clip(gray + noise, 0, 255).astype(np.uint8)
        coded = cv2.imdecode(cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)
        assert not is_gray(picture) and not is_gray((picture * 0.4).astype(np.uint8)), file
        assert is_gray(gray) and is_gray(noisy) and is_gray(coded), file
    assert not is_gray(np.zeros((112, 112, 3), np.uint8)), "black tells nothing"


@pytest.mark.parametrize(("day", "night"), [(50, 20), (20, 50)])
def test_each_mode_has_its_own_threshold(day: int, night: int) -> None:
    gate = make(min_quality=day, gray_min_quality=night, max_wait_s=0.0)
    for index, (lit, limit) in enumerate(((at_day, day), (at_night, night)) * 3):
        for quality in (limit - 1, limit):
            at = 20 * index + quality - limit
            decisions = gate.step(frame(at, lit(seen(at, at, quality)))) + gate.step(frame(at + 5, ended=(at,)))
            expected = Outcome.FORWARDED if quality >= limit else Outcome.BELOW_THRESHOLD
            assert [each.outcome for each in decisions] == [expected]


def config(folder: Path | None) -> Any:
    settings = {"target_recall": 0.99, "max_wait_s": 100} | ({} if folder is None else {"state": str(folder)})
    return build_config({"cameras": [{"name": "cam", "source": "0", "gate": settings}]})


def learned(gates: GateFactory, visits: list[tuple[Any, int]]) -> tuple[int, int]:
    """Thresholds of day and night after named visits: their light and best quality."""
    cameras = CameraGates(gates)
    list(cameras.on_feedback(FeedbackBatch(expected=True)))
    for number, (lit, quality) in enumerate(visits):
        at = 10 * number
        face = lit(seen(at, number, quality))
        steps = [*cameras.step(frame(at, face)), *cameras.step(frame(at + 5, ended=(number,)))]
        shots = [each.shot for step in steps for each in step.decisions if each.shot is not None]
        given = tuple(RecognitionFeedback(shot.shot_id, True, True, 0.9, 0.1, "recognizer") for shot in shots)
        list(cameras.on_feedback(FeedbackBatch(expected=True, items=given)))
    gates.save()
    gate = cameras.cameras["cam"].gate
    assert gate.recall is not None and gate.gray_recall is not None
    return gate.recall.threshold, gate.gray_recall.threshold


def test_what_is_learned_in_a_mode_is_what_it_would_learn_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    days = [(at_day, int(quality)) for quality in rng.integers(45, 90, 300)]
    nights = [(at_night, int(quality)) for quality in rng.integers(20, 60, 300)]
    switching: list[tuple[Any, int]] = []
    for start in range(0, 300, 15):  # a switch every fifteen visits, forty in all
        switching += days[start : start + 15] + nights[start : start + 15]
    day, _ = learned(GateFactory(config(None), "run", INFO, None), days)
    _, night = learned(GateFactory(config(None), "run", INFO, None), nights)
    assert learned(GateFactory(config(tmp_path), "run", INFO, None), switching) == (day, night)
    assert night < day
    again = GateFactory(config(tmp_path), "again", INFO, None)
    gate = again.track_gate("cam")
    assert gate.recall is not None and gate.gray_recall is not None
    assert (gate.recall.threshold, gate.gray_recall.threshold) == (day, night), "kept on disk"
    states = again.initial_states()
    assert set(states) == {"cam", "cam" + GRAY}
    replayed = GateFactory(config(None), "replay", INFO, None, states).track_gate("cam")
    assert replayed.gray_recall is not None and replayed.gray_recall.threshold == night


def test_a_visit_across_a_switch_teaches_neither_mode() -> None:
    gates = GateFactory(config(None), "run", INFO, None)
    cameras = CameraGates(gates)
    list(cameras.on_feedback(FeedbackBatch(expected=True)))
    first, second = at_day(seen(0, 1, 60)), at_night(seen(1, 1, 70))
    steps = [*cameras.step(frame(0, first)), *cameras.step(frame(1, second)), *cameras.step(frame(9, ended=(1,)))]
    (shot,) = [each.shot for step in steps for each in step.decisions if each.shot is not None]
    answer = RecognitionFeedback(shot.shot_id, True, True, 0.9, 0.1, "recognizer")
    list(cameras.on_feedback(FeedbackBatch(expected=True, items=(answer,))))
    gate = cameras.cameras["cam"].gate
    assert gate.recall is not None and gate.gray_recall is not None
    assert gate.recall.loss().visits == gate.gray_recall.loss().visits == 0
