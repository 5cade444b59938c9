"""Journeys over three overlapping cameras: pieces joined, and pieces of two people joined.

    python -m benchmarks.search.journeys --data ../shared/data --embedder builtin --embedder y1.onnx

Every person of the development clips walks past three cameras, again and again on one day: the first camera's view
overlaps the second's; between the second and the third nobody's face shows for some seconds. The second camera sees
people at a quarter of the size, so that many of its visits have no identity of their own. Others may walk at the
same time. Visits are recognized by a worker without a gallery, as strangers are; journeys are assembled from its
answers.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from itertools import combinations
from pathlib import Path

import cv2
import msgspec
import numpy as np

from benchmarks.host_info import cpu
from benchmarks.search.returning import PEOPLE, Week, shots_of
from facegate.cpu import share_cores
from facegate.detectors.align import aligned_landmarks
from facegate.detectors.base import load_detector
from facegate.pipeline.records import Shot, contiguous
from facegate.recognition.embedders import load_embedder
from facegate.recognition.journeys.assembly import Sighting, assemble
from facegate.recognition.loading import OneAtATime
from facegate.recognition.matching.score_tail import ImpostorModel, find_impostor_model
from facegate.recognition.search.face_search import SEARCH_FPIR, search_rule
from facegate.scoring.engine import Scorer, load_scorer

CAMERAS = ("gate", "yard", "hall")
WALKS, DAYS = 60, 5
MEAN_PAUSE_S = 40.0
"""Mean seconds between the beginnings of two walks, so that in one of three somebody else walks too."""
SMALL = 0.25


def small(shot: Shot, scorer: Scorer) -> Shot:
    """The shot as a camera farther away would have sent it."""
    face = shot.scored.face
    side = round(112 * SMALL)
    shrunk = cv2.resize(face.crop, (side, side), interpolation=cv2.INTER_AREA)
    crop = contiguous(cv2.resize(shrunk, (112, 112), interpolation=cv2.INTER_CUBIC))
    scores = scorer.score(crop[None], landmarks=aligned_landmarks([face.detection.landmarks]), embedding=False)
    scored = msgspec.structs.replace(
        shot.scored,
        face=msgspec.structs.replace(face, crop=crop),
        quality=int(scores.quality[0]),
        raw_score=float(scores.raw_score[0]),
    )
    return msgspec.structs.replace(shot, scored=scored)


def day(
    parts: dict[str, list[list[Shot]]],
    far: dict[str, list[list[Shot]]],
    embedder: OneAtATime,
    impostors: ImpostorModel | None,
    seed: int,
) -> tuple[int, int, int, int, int]:
    """Pieces, pieces joined, pieces joined by place, pairs of two people, such pairs joined."""
    rng = np.random.default_rng(seed)
    people, at = sorted(parts), 0.0
    pieces: list[tuple[float, float, str, str, int, list[Shot]]] = []
    for walk in range(WALKS):
        person = people[rng.integers(len(people))]
        at += float(rng.exponential(MEAN_PAUSE_S)) + 1
        first, overlap, gap = rng.uniform(4, 8), rng.uniform(0.5, 2), rng.uniform(3, 12)
        begins = at + first - overlap
        length = float(rng.uniform(4, 8))
        later = begins + length + gap
        choose = [int(rng.integers(len(parts[person]))) for _ in CAMERAS]
        pieces += [
            (at, at + first, CAMERAS[0], person, walk, parts[person][choose[0]]),
            (begins, begins + length, CAMERAS[1], person, walk, far[person][choose[1]]),
            (later, later + 5, CAMERAS[2], person, walk, parts[person][choose[2]]),
        ]
    pieces.sort(key=lambda piece: piece[0])
    owner: dict[str, tuple[str, int]] = {}
    sightings = []
    with tempfile.TemporaryDirectory() as folder:
        week = Week(Path(folder), embedder, impostors)
        for number, (begin, end, camera, person, walk, shots) in enumerate(pieces):
            unknown_id, before = week.visit(number, camera, shots)
            best = max(shots, key=lambda shot: shot.scored.quality)
            embedding = embedder.embed([best.scored.face.crop])[0]
            owner[str(number)] = person, walk
            sightings.append(Sighting(str(number), camera, begin, end, None, unknown_id, before or 0, embedding))
        week.unknowns.close()
    rule = search_rule(impostors, SEARCH_FPIR, embedder)
    found = assemble(sightings, rule)
    joined = by_place = pairs = wrong = 0
    of = {each.visit: index for index, journey in enumerate(found.journeys) for each in journey.visits}
    for walk in range(WALKS):
        mine = [visit for visit, (_, number) in owner.items() if number == walk]
        most = max(mine, key=lambda visit: sum(of[visit] == of[other] for other in mine))
        joined += sum(of[visit] == of[most] for visit in mine)
    by_place = sum(each.joined_by == "place" for journey in found.journeys for each in journey.visits)
    for one, other in combinations(owner, 2):
        if owner[one][0] != owner[other][0]:
            pairs += 1
            wrong += of[one] == of[other]
    return len(owner), joined, by_place, pairs, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--embedder", action="append", required=True)
    parser.add_argument("--quick", action="store_true", help="one day, four people")
    given = parser.parse_args()
    share_cores()
    detector, scorer = load_detector("yunet", given.data / "models" / "yunet_n_640_640.onnx"), load_scorer()
    chosen = dict(list(PEOPLE.items())[:4]) if given.quick else PEOPLE
    parts = {
        person: [shots for clip in clips for shots in shots_of(given.data / "clips" / clip, detector, scorer)]
        for person, clips in chosen.items()
    }
    far = {person: [[small(shot, scorer) for shot in shots] for shots in own] for person, own in parts.items()}
    print(cpu(), flush=True)
    for name in given.embedder:
        model = load_embedder(name)
        impostors = find_impostor_model(model.version, model.name, Path(name) if Path(name).is_file() else None)
        rows = [day(parts, far, OneAtATime(model), impostors, seed) for seed in range(1 if given.quick else DAYS)]
        pieces, joined, by_place, pairs, wrong = (sum(column) for column in zip(*rows, strict=True))
        print(
            json.dumps(
                {
                    "recognizer": model.name,
                    "walks": WALKS * len(rows),
                    "pieces": pieces,
                    "pieces joined": round(joined / pieces, 4),
                    "of these by place": by_place,
                    "pairs of two people joined": f"{wrong} of {pairs}",
                    "share": round(wrong / pairs, 6),
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
