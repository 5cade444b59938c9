"""What becomes of the visits in the development clips: one name each, how soon, and whom single shots would name.

    python -m benchmarks.visits --data ../shared/data --judge y1.onnx --judge casia.onnx --judge builtin
    python -m benchmarks.visits --judge y1.onnx --faults 0

Gate and gallery are those of :mod:`benchmarks.clips`; what the gate sends is put together as the worker does. With
``--faults`` the distractors are a folder of 60 people of LFW, as it is and with ten faults planted from a seed
(two swapped pictures, three blurred, a stranger, a group, no face, a copy, one person under two names).
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks.clips import ROOT, STRANGERS, Crops, altered, as_played, enrolled, galleries, rule_of, run
from benchmarks.host_info import cpu
from facegate.cpu import share_cores
from facegate.detectors.base import load_detector
from facegate.evaluation.savings import LabeledVisit, Observer, SentFace, load_labels
from facegate.pipeline.config import DetectorConfig, GateConfig, config_for
from facegate.pipeline.records import Image
from facegate.recognition.embedders import Embedder, load_embedder
from facegate.recognition.enrollment.face_extraction import FaceExtractor
from facegate.recognition.matching.decision_rule import DecisionRule, FixedThresholdRule
from facegate.recognition.matching.gallery import Gallery
from facegate.recognition.matching.gallery_watcher import GalleryWatcher
from facegate.scoring.engine import load_scorer
from tests.recognition.test_enroller import gallery_with_faults, write

EARLY_S = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--judge", action="append", required=True)
    parser.add_argument("--faults", type=int, metavar="SEED", help="Plant faults in a gallery of 60 others.")
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
    names = [judge.name for judge in judges]
    if arguments.faults is None:
        known = [enrolled(people, judge) for judge in judges]
    else:
        known = [
            beside_a_folder(people, judge, data, arguments.faults, faults=faults)
            for judge in judges
            for faults in (False, True)
        ]
        names = [f"{name}, {how}" for name in names for how in ("sound gallery", "with faults")]
        judges = [judge for judge in judges for _ in range(2)]
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
            own = [Observer(name, j, g, rule_of(j)) for j, g in zip(judges, known, strict=True)]
            run(config, own, Crops(load_scorer().card))
            for judge, gallery, observer, count in zip(judges, known, own, counts, strict=True):
                count.update(judged(observer, judge, gallery, truth))
    for label, count in zip(names, counts, strict=True):
        print(label, ", ".join(f"{what} {number}" for what, number in sorted(count.items())))


def beside_a_folder(
    people: dict[str, list[Image]], judge: Embedder, data: Path, seed: int, *, faults: bool
) -> Gallery:
    """The people of the clips, and those of a folder as a worker enrolls it."""
    own = enrolled({name: crops for name, crops in people.items() if not name.startswith("lfw:")}, judge)
    pictures, _, _ = gallery_with_faults(data / "faces" / "lfw-folds-1-4.zip", seed, faults=faults)
    with tempfile.TemporaryDirectory() as scratch:
        folder = write(pictures, Path(scratch) / "people")
        extractor = FaceExtractor(load_detector("yunet", data / "models" / "yunet_n_640_640.onnx"), load_scorer())
        with GalleryWatcher(folder, judge, rule_of(judge), lambda: extractor, Path(scratch) / "cache") as keeper:
            others = keeper.gallery
    return Gallery([*own.names, *others.names], np.concatenate([own.templates, others.templates]))


def judged(observer: Observer, judge: Embedder, gallery: Gallery, truth: tuple[LabeledVisit, ...]) -> Counter[str]:
    """Count the outcomes of one clip's visits."""
    rule, count = rule_of(judge), Counter[str]()
    for track in sorted({sent.track_id for sent in observer.sent}):
        sent = [sent for sent in observer.sent if sent.track_id == track]
        events = [event for event in observer.events if event.track_id == track]
        who = _whose(observer, {face.face.track_id for face in sent}, truth)
        single = _names(observer, sent, gallery, rule)
        fixed = _names(observer, sent, gallery, FixedThresholdRule(judge.threshold))
        final = events[-1].name
        count["visits"] += 1
        count["shots"] += len(sent)
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
            tracks = {face.face.track_id for face in sent}
            first = min(face.pts_s for face in observer.faces.values() if face.track_id in tracks)
            at = next(face.at for face in sent if face.face.name is not None)
            count["named within 1 s of the first face"] += at - first <= EARLY_S
    return count


def _whose(observer: Observer, tracks: set[int], truth: tuple[LabeledVisit, ...]) -> str | None:
    votes: Counter[str | None] = Counter()
    for face in observer.faces.values():
        if face.track_id in tracks:
            votes[next((v.person for v in truth if v.holds(face.source, face.pts_s, face.box)), None)] += 1
    return votes.most_common(1)[0][0]


def _names(observer: Observer, sent: list[SentFace], gallery: Gallery, rule: DecisionRule) -> set[str]:
    found = {gallery.match(observer.embeddings[face.face.face_id], rule).name for face in sent}
    return {name for name in found if name is not None}


if __name__ == "__main__":
    main()
