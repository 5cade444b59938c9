"""``facegate calibrate`` on one half of the footage, held against the other half: does what it promises hold there?

    python -m benchmarks.gate.halves --judge y1.onnx --judge casia.onnx --judge builtin

The development clips in four states (as they are, dark, blurred, small) and two halves (every second clip): eight
cameras. Each is calibrated on its half and measured on the other, against the default threshold and against the
best fixed one that hindsight would have chosen there.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import msgspec

from benchmarks.clips import ALTERATIONS, ROOT, STRANGERS, altered, as_played, enrolled, galleries, rule_of
from benchmarks.host_info import cpu
from facegate.cpu import share_cores
from facegate.detectors.base import load_detector
from facegate.evaluation.savings import LabeledVisit, NeverSure, Observer, compare, load_labels
from facegate.pipeline.config import DetectorConfig, GateConfig, RunConfig, ScorerConfig, config_for
from facegate.pipeline.gating.recall_threshold import RecallSettings, RecallState, RecallThreshold
from facegate.pipeline.records import ScoredFrame
from facegate.pipeline.runner import Runner
from facegate.recognition.embedders import load_embedder

KEEP = 0.99
THRESHOLDS = (1, *range(4, 61, 4))
"""What hindsight may choose."""


class Played(msgspec.Struct, frozen=True):
    """A half, or a clip, with one threshold."""

    calls: int
    identified: int
    false: int

    def __add__(self, other: Played) -> Played:
        return Played(self.calls + other.calls, self.identified + other.identified, self.false + other.false)


class Clip(msgspec.Struct, frozen=True):
    """A clip as one recognizer sees it."""

    best: list[int]
    """Qualities of the best faces of visits that got a name."""
    played: dict[int, Played]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--judge", action="append", required=True)
    arguments = parser.parse_args()
    share_cores()
    yunet = arguments.data / "models" / "yunet_n_640_640.onnx"
    visits = load_labels(ROOT / "tests" / "visits.yaml")
    people = galleries(arguments.data, load_detector("yunet", yunet), visits)
    visits = tuple(as_played(visit) for visit in visits)
    judges = [load_embedder(name) for name in arguments.judge]
    rules, known = [rule_of(judge) for judge in judges], [enrolled(people, judge) for judge in judges]
    print(cpu(), flush=True)
    for how in ALTERATIONS:
        clips: list[list[Clip]] = [[] for _ in judges]
        with tempfile.TemporaryDirectory() as folder:
            for name in [*dict.fromkeys(visit.source for visit in visits), *STRANGERS]:
                source = altered(arguments.data / "clips" / name, how, Path(folder))
                own = [Observer(name, j, g, r) for j, g, r in zip(judges, known, rules, strict=True)]
                for found, clip in zip(clips, watched(source, yunet, own, visits), strict=True):
                    found.append(clip)
        for judge, found in zip(judges, clips, strict=True):
            for half in (0, 1):
                print(
                    cell(f"{how}, half {half + 1}, {judge.name}", found[half::2], found[1 - half :: 2]), flush=True
                )


def watched(source: Path, yunet: Path, observers: list[Observer], visits: tuple[LabeledVisit, ...]) -> list[Clip]:
    config = config_for(source).model_copy(
        update={"detector": DetectorConfig(kind="yunet", path=yunet), "scorer": ScorerConfig(every_face=True)}
    )

    def scored(frame: ScoredFrame) -> None:
        for observer in observers:
            observer.scored(frame)

    queue = NeverSure()
    with Runner(config, lambda: queue, on_scored=scored, on_finished=queue.end) as runner:
        for _ in queue:
            pass
        runner.close(linger_s=0)
    return [_clip(observer, runner, config, visits) for observer in observers]


def _clip(observer: Observer, runner: Runner, config: RunConfig, visits: tuple[LabeledVisit, ...]) -> Clip:
    learning = runner.gates_for_replay(
        config.model_copy(update={"gate": GateConfig(target_recall=KEEP, exploration_rate=1.0)})
    )
    observer.decide(learning)
    best = [
        quality
        for decider in learning.cameras.values()
        if decider.gate.recall is not None
        for quality in decider.gate.recall.state().best
    ]
    played = {}
    for threshold in THRESHOLDS:
        observer.decide(
            runner.gates_for_replay(config.model_copy(update={"gate": GateConfig(min_quality=threshold)}))
        )
        result = compare([observer], visits, "", "").policies["facegate"]
        played[threshold] = Played(result.fr_calls, result.identified, result.false_identifications)
    return Clip(best, played)


def cell(name: str, learned: list[Clip], measured: list[Clip]) -> str:
    """One line: what was chosen, and what came of it."""
    best = [quality for clip in learned for quality in clip.best]
    settings = RecallSettings(target_recall=KEEP, exploration_rate=1.0, floor=1, max_threshold=60)
    chosen = RecallThreshold(settings, "run", "camera", RecallState("", best, 1)).target_threshold()
    nearest = max(threshold for threshold in THRESHOLDS if threshold <= chosen)
    totals = {threshold: _sum([clip.played[threshold] for clip in measured]) for threshold in THRESHOLDS}
    default, then = totals[1], totals[nearest]
    fine = [total for total in totals.values() if total.identified >= KEEP * default.identified]
    hindsight = min(total.calls for total in fine)
    return (
        f"{name:46} {len(best):2} named visits, threshold {chosen:2}: identified {then.identified} of "
        f"{default.identified}, false {then.false} (default {default.false}), calls {then.calls} "
        f"(default {default.calls}, hindsight {hindsight}: {then.calls / max(hindsight, 1):.2f})"
    )


def _sum(parts: list[Played]) -> Played:
    total = Played(0, 0, 0)
    for part in parts:
        total += part
    return total


if __name__ == "__main__":
    main()
