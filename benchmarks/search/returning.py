"""Returning strangers: clips played as a week of visits, on one and two cameras, by a worker without a gallery.

    python -m benchmarks.search.returning --data ../shared/data --embedder builtin --embedder y1.onnx

Every clip with one main person is cut into three visits of equal length; of each the best shots are sent as a gate
does, best last. The visits of all people come in random order, several weeks each. Counted are people who are known
again by their third visit, under a number of their own; and pairs of visits of different people under one number.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from time import perf_counter

import av
import msgspec
import numpy as np

from benchmarks.host_info import cpu
from facegate.cpu import share_cores
from facegate.detectors.align import align, aligned_landmarks
from facegate.detectors.base import Detector, load_detector
from facegate.pipeline.records import Detection, Face, FrameRef, QualityInfo, Reason, ScoredFace, Shot, contiguous
from facegate.recognition.embedders import load_embedder
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.enrollment.unknowns import UnknownStore
from facegate.recognition.loading import OneAtATime
from facegate.recognition.matching.gallery import Gallery
from facegate.recognition.matching.score_tail import ImpostorModel, find_impostor_model
from facegate.recognition.worker.recognizer import Recognizer
from facegate.recognition.worker.strangers import stranger_rule
from facegate.scoring.engine import Scorer, load_scorer
from facegate.sinks import wire

PEOPLE = {
    "Pacino": ["0188_03_021_al_pacino.avi"],
    "Jolie": ["0294_02_004_angelina_jolie.avi"],
    "Gates": ["0490_03_007_bill_gates.avi"],
    "Li": ["1034_03_006_jet_li.avi"],
    "Roberts": ["1192_01_006_julia_roberts.avi"],
    "Stallone": ["1804_03_006_sylvester_stallone.avi"],
    "P4": ["default.wmv", "changeLighting.wmv"],
    "S1": ["asl_again.mkv", "asl_brother.mkv"],
    "S2": ["asl_bird.mkv", "asl_milk.mkv"],
    "S3": ["asl_book.mkv", "asl_learn.mkv"],
    "S4": ["asl_eat.mkv", "asl_night.mkv"],
    "S5": ["asl_hungry.mkv", "asl_want.mkv"],
}
PARTS, SHOTS, EVERY, WEEKS = 3, 3, 3, 20


def shots_of(clip: Path, detector: Detector, scorer: Scorer) -> list[list[Shot]]:
    """For each part of a clip its best shots of the largest face, best last."""
    with av.open(str(clip)) as opened:
        frames = [
            contiguous(frame.to_ndarray(format="rgb24"))
            for number, frame in enumerate(opened.decode(video=0))
            if number % EVERY == 0
        ]
    found: list[list[Shot]] = [[] for _ in range(PARTS)]
    info = QualityInfo(scorer.algorithm, scorer.card.name, scorer.calibration)
    for number, image in enumerate(frames):
        faces = detector.detect([image])[0]
        if not faces:
            continue
        face = max(faces, key=lambda face: face.width * face.height)
        crop = align(image, face.landmarks)
        scores = scorer.score(crop[None], landmarks=aligned_landmarks([face.landmarks]), embedding=False)
        part = min(PARTS - 1, number * PARTS // len(frames))
        ref = FrameRef("a", number, number / 10, 0.0, None, image.shape[1], image.shape[0])
        detection = Detection(tuple(map(float, face.box)), face.confidence, face.landmarks)  # type: ignore[arg-type]
        quality = int(scores.quality[0])
        scored = ScoredFace(
            Face(f"{number}-0", ref, detection, crop),
            1,
            quality,
            float(scores.raw_score[0]),
            np.zeros(4, np.float32),
            None,
        )
        found[part].append(Shot(f"{number:032x}", "run", "a", 1, 1, Reason.TRACK_ENDED, scored, info))
    best = [sorted(part, key=lambda shot: shot.scored.quality)[-SHOTS:] for part in found]
    return [part for part in best if part]


class Week:
    """A worker without a gallery."""

    def __init__(self, folder: Path, embedder: OneAtATime, impostors: ImpostorModel | None) -> None:
        GalleryStore(folder / "people.db", create=True).close()
        self.unknowns, self.output, self.spent = UnknownStore(folder / "people.db"), io.StringIO(), list[float]()
        rule = stranger_rule(impostors, embedder)
        size = len(embedder.embed([np.zeros((112, 112, 3), np.uint8)])[0])
        nobody = Gallery([], np.zeros((0, size), np.float32))
        self.worker = Recognizer(lambda: nobody, embedder, rule, self.output, self.unknowns, strangers=rule)

    def visit(self, number: int, camera: str, shots: list[Shot]) -> tuple[int | None, int | None]:
        for place, shot in enumerate(shots):
            ref = msgspec.structs.replace(shot.scored.face.frame, camera=camera)
            face = msgspec.structs.replace(shot.scored.face, frame=ref)
            scored = msgspec.structs.replace(shot.scored, face=face, track_id=number)
            made = msgspec.structs.replace(
                shot, shot_id=f"{number * 16 + place:032x}", camera=camera, track_id=number, scored=scored
            )
            entry = wire.pack(made)
            start = perf_counter()
            self.worker.recognize([(wire.decode_header(entry.header), entry.crop)])
            self.spent.append(perf_counter() - start)
        self.worker.finish()
        event = json.loads(self.output.getvalue().splitlines()[-1])
        return event["unknown_id"], event["seen_before"]


def play(
    visits: dict[str, list[list[Shot]]], embedder: OneAtATime, impostors: ImpostorModel | None, cameras: int
) -> dict[str, object]:
    known = people = joined = pairs = good = 0
    spent: list[float] = []
    for seed in range(WEEKS):
        rng = np.random.default_rng(seed)
        order = [(person, shots) for person, own in visits.items() for shots in own]
        rng.shuffle(order)
        with tempfile.TemporaryDirectory() as folder:
            week = Week(Path(folder), embedder, impostors)
            numbers: dict[str, list[tuple[int | None, int | None]]] = defaultdict(list)
            for place, (person, shots) in enumerate(order):
                camera = f"camera-{rng.integers(cameras)}"
                numbers[person].append(week.visit(place, camera, shots))
            week.unknowns.close()
            spent += week.spent
        for person, own in numbers.items():
            others = {number for other, theirs in numbers.items() if other != person for number, _ in theirs}
            people += 1
            earlier = {number for number, _ in own[:1]}
            for number, before in own[1:3]:
                if before and number in earlier and number not in others:
                    known += 1
                    break
                earlier.add(number)
            good += sum(number is not None for number, _ in own)
        flat = [(person, number) for person, own in numbers.items() for number, _ in own]
        for (one, first), (two, second) in combinations(flat, 2):
            if one != two:
                pairs += 1
                joined += first is not None and first == second
    return {
        "recognizer": embedder.name,
        "cameras": cameras,
        "people": people,
        "known by the third visit": round(known / people, 4),
        "visits with a number": good,
        "pairs joined": f"{joined} of {pairs}",
        "share joined": round(joined / pairs, 6),
        "p95 ms per shot": round(1000 * float(np.percentile(spent, 95)), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--embedder", action="append", required=True)
    given = parser.parse_args()
    share_cores()
    detector = load_detector("yunet", given.data / "models" / "yunet_n_640_640.onnx")
    scorer = load_scorer()
    visits = {
        person: [shots for clip in clips for shots in shots_of(given.data / "clips" / clip, detector, scorer)]
        for person, clips in PEOPLE.items()
    }
    print(cpu(), {person: len(own) for person, own in visits.items()}, flush=True)
    for name in given.embedder:
        model = load_embedder(name)
        impostors = find_impostor_model(model.version, model.name, Path(name) if Path(name).is_file() else None)
        for cameras in (1, 2):
            print(json.dumps(play(visits, OneAtATime(model), impostors, cameras)), flush=True)


if __name__ == "__main__":
    main()
