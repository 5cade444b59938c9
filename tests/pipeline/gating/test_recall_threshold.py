"""A threshold that keeps a stated share of identifications: on simulated weeks whose truth is known."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from facegate.errors import ConfigError
from facegate.pipeline.config import GateConfig, build_config
from facegate.pipeline.gating.drift import RECENT, REFERENCE, DriftDetector
from facegate.pipeline.gating.factory import CameraGates, GateFactory
from facegate.pipeline.gating.gate import GatePolicy
from facegate.pipeline.gating.limits import GateSettings
from facegate.pipeline.gating.recall_threshold import (
    MAX_VISITS,
    RECOGNIZER_CHANGE_AFTER,
    RecallSettings,
    RecallState,
    RecallThreshold,
)
from facegate.pipeline.records import FeedbackBatch, Outcome, RecognitionFeedback

from .faces import INFO, frame, seen

SETTINGS = RecallSettings(target_recall=0.99, exploration_rate=0.1, floor=1, max_threshold=60)


def says(recognizer: str, similarity: float = 0.5, *, named: bool = False) -> RecognitionFeedback:
    return RecognitionFeedback("shot", named, named, similarity, 0.0, recognizer)


def week(rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """A camera: the best quality of each visit, which would be named, and the chance of a name by quality."""
    a, b = rng.uniform(1.5, 6, 2)
    middle, width = rng.uniform(5, 30), rng.uniform(2, 8)
    best = np.clip(np.rint(100 * rng.beta(a, b, int(rng.integers(3000, 6000)))), 0, 100).astype(int)
    chance = 0.7 / (1 + np.exp(-(np.arange(101) - middle) / width))
    return best, rng.random(len(best)) < chance[best], chance


def live(best: Any, named: Any, name: str) -> tuple[RecallThreshold, float, float]:
    """Let a camera live a week; after the warm-up: share of names kept, and calls as a multiple of the oracle's."""
    recall = RecallThreshold(SETTINGS, "run", name)
    recall.on_feedback(50, says("recognizer"))
    oracle = np.quantile(best[named], 0.01, method="lower")
    kept, could, calls, least_calls, warm = 0, 0, 0, 0, False
    for visit, (quality, known) in enumerate(zip(best, named, strict=True)):
        warm = warm or recall.loss().visits_needed == 0
        passes = quality >= recall.threshold_for(visit)
        calls, least_calls = calls + warm * passes, least_calls + warm * (quality >= oracle)
        kept, could = kept + warm * (known and passes), could + warm * known
        if known and passes and recall.is_explored(visit):
            recall.on_named_visit(int(quality))
    return recall, kept / could, calls / least_calls


def test_the_share_is_kept_for_few_calls_and_the_interval_covers_the_truth() -> None:
    """The full thousand weeks are ``python -m benchmarks.gate.keeping``'s."""
    rng = np.random.default_rng(1)
    held, ratios, covered = [], [], []
    for number in range(20):
        best, named, chance = week(rng)
        recall, kept, ratio = live(best, named, str(number))
        truth = np.bincount(best, minlength=101) * chance
        loss = recall.loss()
        held.append(kept >= 0.985)
        ratios.append(ratio)
        covered.append(loss.low <= truth[: recall.threshold].sum() / truth.sum() <= loss.high)
    assert np.mean(held) >= 0.95 and max(ratios) <= 1.25 and np.mean(covered) >= 0.85


def test_it_stays_at_the_floor_until_enough_has_been_seen() -> None:
    recall = RecallThreshold(SETTINGS, "run", "cam")
    needed = recall.loss().visits_needed
    for _ in range(needed - 25):
        recall.on_named_visit(50)
        assert recall.threshold == 1 and recall.loss().visits_needed > 0
    for _ in range(50):
        recall.on_named_visit(50)
    assert recall.threshold == 50 and recall.loss().visits_needed == 0


def test_another_recognizer_begins_anew_and_a_single_stray_answer_does_not() -> None:
    recall = RecallThreshold(SETTINGS, "run", "cam", RecallState("a", [50] * 400, 40))
    recall.on_feedback(50, says("b"))
    recall.on_feedback(50, says("a"))
    assert recall.threshold == 40
    for _ in range(RECOGNIZER_CHANGE_AFTER):
        recall.on_feedback(50, says("b"))
    assert recall.threshold == 1 and recall.loss().visits == 0 and recall.state().recognizer == "b"


def test_the_gate_learns_from_answers_and_sends_less() -> None:
    gate = GatePolicy(
        "run", "cam", GateSettings(max_wait_s=100.0), INFO, recall=RecallThreshold(SETTINGS, "run", "cam")
    )
    gate.set_feedback_expected(True)
    for visit in range(300):
        at = 10 * visit
        gate.step(frame(at, seen(at, visit, 60 + visit % 10)))
        (sent,) = gate.step(frame(at + 5, ended=(visit,)))
        assert sent.shot is not None
        gate.on_feedback(RecognitionFeedback(sent.shot.shot_id, True, True, 0.9, 0.1, "recognizer"))
    assert gate.recall is not None and gate.recall.threshold == 60
    refused = [gate.step(frame(i, seen(i, i, 40))) for i in range(4000, 4100)]
    assert 70 <= sum(bool(d) and d[0].outcome is Outcome.BELOW_THRESHOLD for d in refused) < 100, (
        "some have the floor"
    )


def config(folder: Path | None = None) -> Any:
    gate = {"target_recall": 0.99, "max_wait_s": 100} | ({} if folder is None else {"state": str(folder)})
    return build_config({"cameras": [{"name": "cam", "source": "0", "gate": gate}]})


def learn(gates: GateFactory, visits: int) -> None:
    deciders = CameraGates(gates)
    list(deciders.on_feedback(FeedbackBatch(expected=True)))
    for visit in range(visits):
        at = 10 * visit
        steps = [*deciders.step(frame(at, seen(at, visit, 70))), *deciders.step(frame(at + 5, ended=(visit,)))]
        shots = [d.shot for step in steps for d in step.decisions if d.shot is not None]
        given = tuple(RecognitionFeedback(shot.shot_id, True, True, 0.9, 0.1, "recognizer") for shot in shots)
        list(deciders.on_feedback(FeedbackBatch(expected=True, items=given)))
        gates.save_learned("cam")


def test_what_was_learned_is_kept_on_disk_for_this_model_and_a_recording_has_its_own(tmp_path: Path) -> None:
    first = GateFactory(config(tmp_path), "run", INFO, None)
    learn(first, 300)
    (file,) = tmp_path.iterdir()
    second = GateFactory(config(tmp_path), "again", INFO, None)
    recall = second.track_gate("cam").recall
    assert recall is not None and recall.threshold == 60 and second.initial_states() == first.initial_states()
    replayed = GateFactory(config(tmp_path), "again", INFO, None, {"cam": RecallState("recognizer", [], 20)})
    recall = replayed.track_gate("cam").recall
    assert recall is not None and recall.threshold == 20
    learn(replayed, 30)
    assert GateFactory(config(tmp_path), "x", INFO, None).initial_states() == first.initial_states(), (
        "a replay writes nothing"
    )
    file.write_text("{}")
    with pytest.raises(ConfigError, match="remove it to learn from the start"):
        GateFactory(config(tmp_path), "run", INFO, None).track_gate("cam")


@pytest.mark.parametrize(
    "wrong",
    [
        {"target_recall": 0.99, "hysteresis": 5},
        {"target_recall": 0.99, "mode": "interval"},
        {"target_recall": 0.99, "max_followups": 0},
        {"target_recall": 0.99, "min_quality": 50, "max_threshold": 40},
        {"target_recall": 1.0},
    ],
)
def test_settings_that_contradict_keep_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GateConfig.model_validate(wrong)


def shots(rng: np.random.Generator, count: int, shift: float = 0.0) -> list[tuple[int, float]]:
    quality = rng.integers(5, 95, count)
    return [(int(q), float(0.3 + 0.004 * q + shift + rng.normal(0, 0.1))) for q in quality]


def test_a_shift_of_similarity_at_equal_quality_is_told_and_other_qualities_alone_are_not() -> None:
    rng, alarms, found = np.random.default_rng(0), 0, 0
    for _ in range(100):
        drift = DriftDetector(shots(rng, REFERENCE), [])
        for quality, similarity in shots(rng, 3 * RECENT):
            drift.add(min(quality, 50), similarity if quality <= 50 else 0.3 + 0.2 + rng.normal(0, 0.1))
        alarms += drift.shift() is not None
        for quality, similarity in shots(rng, RECENT, -0.1):
            drift.add(quality, similarity)
        found += drift.shift() is not None
    assert alarms <= 2 and found >= 95
    moved = drift.shift()
    assert moved is not None and moved.before - moved.after == pytest.approx(0.1, abs=0.05)


def test_the_alarm_is_logged_once_and_outlives_a_restart() -> None:
    rng = np.random.default_rng(0)
    recall = RecallThreshold(SETTINGS, "run", "cam")
    with capture_logs() as logs:
        for quality, similarity in [*shots(rng, REFERENCE), *shots(rng, 2 * RECENT, -0.2)]:
            recall.on_feedback(quality, says("r", similarity, named=True))
    assert [line["event"] for line in logs] == ["similarity drift detected"]
    assert RecallThreshold(SETTINGS, "again", "cam", recall.state()).drift.shift() == recall.drift.shift()


def live_for_ever(folder: Path, run: int) -> None:
    gates = GateFactory(config(folder), str(run), INFO, None)
    while True:
        learn(gates, 30)


def test_what_was_learned_survives_being_killed_at_any_time(tmp_path: Path) -> None:
    rng, known = np.random.default_rng(0), 0
    fork = multiprocessing.get_context("fork")
    for run in range(25):
        child = fork.Process(target=live_for_ever, args=(tmp_path, run))
        child.start()
        child.join(float(rng.uniform(0.02, 0.2)))
        child.kill()
        child.join()
        state = GateFactory(config(tmp_path), "reader", INFO, None).initial_states().get("cam")
        learned = 0 if state is None else len(state.best)
        assert learned >= min(known, MAX_VISITS), "nothing that was kept is lost"
        known = learned
    assert known > 100


def test_a_folder_that_cannot_be_written_to_is_said_and_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    gates = GateFactory(config(tmp_path / "file" / "state"), "run", INFO, None)
    with capture_logs() as logs:
        learn(gates, 2)
    assert {line["event"] for line in logs} == {"cannot save the learned threshold"}
