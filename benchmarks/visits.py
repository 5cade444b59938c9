"""What becomes of the visits in the development clips: one name each, how soon, and whom single shots would name.

    python -m benchmarks.visits --data ../shared/data --judge y1.onnx --judge casia.onnx --judge builtin

Gate and gallery are those of :mod:`benchmarks.clips`; what the gate sends is put together as the worker does.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.clips import ROOT, STRANGERS, Crops, altered, as_played, enrolled, galleries, run
from benchmarks.machine import cpu
from facegate.detectors.base import load_detector
from facegate.evaluation.baselines import LightQNetQuality
from facegate.evaluation.savings import Observer, Visit, load_labels
from facegate.pipeline.config import DetectorConfig, GateConfig, config_for
from facegate.pipeline.flow.cores import share_cores
from facegate.recognition.embedders import Embedder, load_embedder
from facegate.recognition.matching.gallery import DEFAULT_FPIR, FixedSimilarity, Gallery, Rule, choose_rule
from facegate.recognition.matching.tail import find_strangers
from facegate.recognition.working.visits import VisitEvent, Visits
from facegate.sinks import wire

EARLY_S = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--judge", action="append", required=True)
    parser.add_argument("--mode", default=GateConfig().mode, help="Of the gate.")
    arguments = parser.parse_args()
    share_cores()
    print(cpu())
    data: Path = arguments.data
    yunet = data / "models" / "yunet_n_640_640.onnx"
    labels = load_labels(ROOT / "tests" / "visits.yaml")
    people = galleries(data, load_detector("yunet", yunet), labels)
    truth = tuple(as_played(visit) for visit in labels)
    judges = [load_embedder(name) for name in arguments.judge]
    known = [enrolled(people, judge) for judge in judges]
    counts: list[Counter[str]] = [Counter() for _ in judges]
    with tempfile.TemporaryDirectory() as folder:
        for name in [*dict.fromkeys(visit.source for visit in truth), *STRANGERS]:
            source = altered(data / "clips" / name, "none", Path(folder))
            config = config_for(source).model_copy(
                update={
                    "detector": DetectorConfig(kind="yunet", path=yunet),
                    "gate": GateConfig(mode=arguments.mode),
                }
            )
            own = [Observer(name, j, g, j.threshold) for j, g in zip(judges, known, strict=True)]
            run(config, own, Crops(LightQNetQuality(data / "models" / "lightqnet-dm100.pb")))
            for judge, gallery, observer, count in zip(judges, known, own, counts, strict=True):
                count.update(judged(observer, judge, gallery, truth))
    for judge, count in zip(judges, counts, strict=True):
        print(judge.name, ", ".join(f"{what} {number}" for what, number in sorted(count.items())))


def judged(observer: Observer, judge: Embedder, gallery: Gallery, truth: tuple[Visit, ...]) -> Counter[str]:
    """Count what became of one clip's visits."""
    rule, _ = choose_rule(None, DEFAULT_FPIR, find_strangers(judge.version, judge.name), judge.threshold)
    count: Counter[str] = Counter()
    for track in sorted({observer.faces[face].track_id for _, face in observer.sent}):
        faces = [(at, face) for at, face in observer.sent if observer.faces[face].track_id == track]
        who = _whose(observer, track, truth)
        single = _names(observer, [face for _, face in faces], gallery, rule)
        fixed = _names(observer, [face for _, face in faces], gallery, FixedSimilarity(judge.threshold))
        events = _visit(observer, faces, gallery, rule)
        final = events[-1].name
        count["visits"] += 1
        count["with two names"] += any(event.event == "changed" for event in events)
        count["right"] += final is not None and final == who
        count["false"] += final is not None and final != who
        count["right by a single shot"] += who in single
        count["false by a single shot"] += bool(single - {who})
        count["right at the card's similarity"] += who in fixed
        count["false at the card's similarity"] += bool(fixed - {who})
        count["lost against single shots"] += who in single and final != who
        named = next((event for event in events if event.event == "named"), None)
        if named is not None:
            first = min(face.pts_s for face in observer.faces.values() if face.track_id == track)
            at = next(at for at, face in faces if observer.faces[face].pts_s >= named.last_pts_s)
            count["named within 1 s of the first face"] += at - first <= EARLY_S
    return count


def _whose(observer: Observer, track: int, truth: tuple[Visit, ...]) -> str | None:
    votes: Counter[str | None] = Counter()
    for face in observer.faces.values():
        if face.track_id == track:
            votes[next((v.person for v in truth if v.holds(face.source, face.pts_s, face.box)), None)] += 1
    return votes.most_common(1)[0][0]


def _names(observer: Observer, faces: list[str], gallery: Gallery, rule: Rule) -> set[str]:
    found = {gallery.match(observer.embeddings[face], rule).name for face in faces}
    return {name for name in found if name is not None}


def _visit(observer: Observer, faces: list[tuple[float, str]], gallery: Gallery, rule: Rule) -> list[VisitEvent]:
    visits, events = Visits(lambda: gallery, rule), list[VisitEvent]()
    for at, face in faces:
        seen = observer.faces[face]
        header = wire.ShotHeader(
            version=wire.VERSION,
            shot_id=face,
            run_id="run",
            camera=seen.source,
            track_id=seen.track_id,
            face_id=face,
            rank=1,
            reason="",
            frame_seq=0,
            pts_s=seen.pts_s,
            captured_at=None,
            frame_size=(0, 0),
            box=seen.box,
            confidence=1.0,
            landmarks=[],
            quality=wire.QualityBlock(80, 0.0, "", "", ""),
            crop_encoding="jpeg",
        )
        events += visits.shot(header, observer.embeddings[face], gallery.match(observer.embeddings[face], rule), at)
    return events + visits.finish()


if __name__ == "__main__":
    main()
