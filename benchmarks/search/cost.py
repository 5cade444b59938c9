"""What templates and numbers of unknown visitors cost a worker that publishes to a store.

    python -m benchmarks.search.cost --rounds 9

Visits of three shots each, of people who never return, the dearest case: each gets a number. Rounds of the ways in
turn, processor time of the whole process with its spools; medians of the rounds' ratios to a worker without both.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path
from time import process_time

import cv2
import msgspec
import numpy as np

from benchmarks.host_info import cpu
from facegate.cpu import limit_threads
from facegate.recognition.embedders import load_embedder
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.enrollment.unknowns import UnknownStore
from facegate.recognition.loading import OneAtATime
from facegate.recognition.matching.decision_rule import choose_rule
from facegate.recognition.matching.gallery import Gallery
from facegate.recognition.matching.score_tail import find_impostor_model
from facegate.recognition.publishers.factory import PublisherSet
from facegate.recognition.worker.recognizer import Recognizer
from facegate.recognition.worker.strangers import stranger_rule
from facegate.sinks import wire
from facegate.store.writer import StoreWriter
from tests.sinks.test_wire import make_shot

VISITS, SHOTS = 40, 3
WAYS = {
    "without": (False, False),
    "without, again": (False, False),
    "templates": (True, False),
    "both": (True, True),
}


def shots() -> list[tuple[wire.ShotHeader, bytes]]:
    found = []
    for visit in range(VISITS):
        face = cv2.GaussianBlur(
            np.random.default_rng(visit).integers(0, 256, (112, 112, 3)).astype(np.uint8), (0, 0), 6
        )
        for number in range(SHOTS):
            made = make_shot(visit * SHOTS + number)
            noisy = np.clip(face.astype(int) + np.random.default_rng(number).integers(-9, 9, face.shape), 0, 255)
            crop = msgspec.structs.replace(made.scored.face, crop=noisy.astype(np.uint8))
            scored = msgspec.structs.replace(made.scored, face=crop, track_id=visit)
            entry = wire.pack(msgspec.structs.replace(made, scored=scored, track_id=visit))
            found.append((wire.decode_header(entry.header), entry.crop))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    limit_threads(1)
    model = load_embedder("builtin")
    impostors = find_impostor_model(model.version, model.name)
    named = choose_rule(None, 1e-3, impostors, model.threshold)[0]
    embedder, sent = OneAtATime(model), shots()
    nobody = Gallery(["somebody"], np.eye(1, 128, dtype=np.float32))
    ratios: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(given.rounds):
        spent = {}
        for way, (templates, numbers) in WAYS.items():
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                GalleryStore(folder / "people.db", create=True).close()
                StoreWriter(folder / "store.db", create=True).close()
                places = PublisherSet([f"store://{folder / 'store.db'}"], folder)
                unknowns = UnknownStore(folder / "people.db")
                worker = Recognizer(
                    lambda: nobody,
                    embedder,
                    named,
                    io.StringIO(),
                    unknowns,
                    places.publish,
                    strangers=stranger_rule(impostors, model) if numbers else None,
                    on_templates=places.put_templates if templates else None,
                )
                start = process_time()
                for shot in sent:
                    worker.recognize([shot])
                worker.finish()
                places.close()
                spent[way] = process_time() - start
                unknowns.close()
        for way, seconds in spent.items():
            ratios[way].append(seconds / spent["without"])
    print(cpu(), {way: round(float(np.median(found)), 3) for way, found in ratios.items()})
    print({way: [round(each, 3) for each in found] for way, found in ratios.items()})


if __name__ == "__main__":
    main()
