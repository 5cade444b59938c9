"""Searching large galleries: how long a query takes, how often it finds the nearest, what it needs.

    python -m benchmarks.gallery                 # a million templates, about two minutes
    python -m benchmarks.gallery --quick --json gallery.json
    python -m benchmarks.gallery --worker ../shared/data --embedder mobilefacenet-y1.onnx
    python -m benchmarks.gallery --faults ../shared/data --embedder mobilefacenet-y1.onnx

Templates are drawn with the mean and covariance of a shipped cohort, so that they crowd as real ones do; they are
memory-mapped, and the index is measured in a process of its own. Queries are faces of enrolled people (cosine 0.6
to their template) and of strangers, one at a time, on one core. Memory is what index and templates take beyond what
the process had before, the mapped pages included.

``--worker`` measures what a worker waits for instead: the first and the second start with a folder of a thousand
pictures, beyond loading the recognizer, and shots recognized one by one and eight together, in turn. ``--faults``
plants ten faults in each of four galleries of 60 people, and counts which are found and who else is accused.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from io import StringIO
from pathlib import Path
from time import perf_counter, process_time

import cv2
import numpy as np
import psutil

from benchmarks.host_info import cpu
from facegate.cpu import limit_threads
from facegate.detectors.base import load_detector
from facegate.pipeline.images import read_image
from facegate.pipeline.records import (
    Detection,
    Face,
    Floats,
    FrameRef,
    QualityInfo,
    Reason,
    ScoredFace,
    Shot,
)
from facegate.recognition.embedders import Embedder, load_embedder, unit
from facegate.recognition.enrollment.enroller import Enroller, find_people
from facegate.recognition.enrollment.face_extraction import FaceExtractor
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.matching.decision_rule import DEFAULT_FPIR, FixedThresholdRule, choose_rule
from facegate.recognition.matching.gallery import Gallery
from facegate.recognition.matching.gallery_watcher import GalleryWatcher
from facegate.recognition.matching.nearest import NearestNeighbors
from facegate.recognition.matching.score_tail import find_impostor_model
from facegate.recognition.worker.zmq_worker import Recognizer
from facegate.scoring.engine import load_scorer
from facegate.sinks.wire import decode_header, pack
from tests.recognition.test_enroller import gallery_with_faults, write

QUERIES, LIKE = 500, 0.6
PICTURES, BATCHES, ROUNDS = 1000, 12, 7
GALLERIES = 4
NUMBERS = 128


def crowd(count: int, rng: np.random.Generator) -> Floats:
    """Unit vectors as the built-in recognizer's templates lie, in their ``NUMBERS`` strongest directions."""
    embedder = load_embedder("builtin")
    strangers = find_impostor_model(embedder.version, embedder.name)
    assert strangers is not None
    cohort = strangers.cohort
    _, scale, directions = np.linalg.svd(cohort - cohort.mean(0), full_matrices=False)
    numbers = min(NUMBERS, len(scale))
    mean = cohort.mean(0) @ directions[:numbers].T
    spread = (scale[:numbers] / np.sqrt(len(cohort))).astype(np.float32)
    return unit(rng.standard_normal((count, numbers), dtype=np.float32) * spread + mean)


def measure(file: Path, queries: Path) -> dict[str, float]:
    """Of a process that does nothing else."""
    templates = np.load(file, mmap_mode="r")
    probes = np.load(queries)
    process = psutil.Process()
    before = process.memory_info().rss
    start = perf_counter()
    nearest = NearestNeighbors(templates)
    started = perf_counter() - start
    spent, found = [], []
    for probe in probes:
        start = perf_counter()
        rows, similarities = nearest.search(probe)
        found.append(int(rows[int(np.argmax(similarities))]))
        spent.append(1000 * (perf_counter() - start))
    memory = process.memory_info().rss - before
    right = [int(np.argmax(templates @ probe)) == row for probe, row in zip(probes, found, strict=True)]
    half = len(probes) // 2
    return {
        "templates": len(templates),
        "start_s": round(started, 2),
        "p50_ms": round(float(np.percentile(spent, 50)), 2),
        "p99_ms": round(float(np.percentile(spent, 99)), 2),
        "recall_mated": float(np.mean(right[:half])),
        "recall_strangers": float(np.mean(right[half:])),
        "mb": round(memory / 1e6),
    }


def pictures(archive: Path, folder: Path) -> None:
    """Write the first ``PICTURES`` of a set's pictures, a folder for each person."""
    with zipfile.ZipFile(archive) as opened:
        names = [name for name in sorted(opened.namelist()) if name.endswith(".jpg")][:PICTURES]
        for name in names:
            person = folder / Path(name).stem.rsplit("_", 1)[0]
            person.mkdir(parents=True, exist_ok=True)
            (person / Path(name).name).write_bytes(opened.read(name))


def starts(folder: Path, cache: Path, embedder: Embedder) -> list[float]:
    """Seconds of the first and of the second start with a folder of pictures."""
    spent = []
    extractor = FaceExtractor(load_detector("mtcnn"), load_scorer())
    for _ in range(2):
        start = perf_counter()
        with GalleryWatcher(
            folder, embedder, FixedThresholdRule(embedder.threshold), lambda: extractor, cache
        ) as keeper:
            assert keeper.gallery.names
        spent.append(round(perf_counter() - start, 2))
    return spent


def together(folder: Path, embedder: Embedder) -> dict[str, float]:
    """Shots a second of a worker, one by one and eight together: medians of rounds in turn."""
    shots = []
    for number, file in enumerate(sorted(folder.glob("*/*.jpg"))[: 8 * BATCHES]):
        crop = cv2.resize(read_image(file), (112, 112)).astype(np.uint8)
        frame = FrameRef("cam", number, number / 25, 0.0, None, 640, 480)
        face = Face(str(number), frame, Detection((0, 0, 100, 100), 0.9, np.zeros((5, 2), np.float32)), crop)
        scored = ScoredFace(face, number, 60, 0.5, np.zeros(4, np.float32), None)
        entry = pack(
            Shot(f"{number:032x}", "run", "cam", number, 1, Reason.TRACK_ENDED, scored, QualityInfo("", "", ""))
        )
        shots.append((decode_header(entry.header), entry.crop))
    gallery = Gallery(["ann", "bob"], embedder.embed([np.full((112, 112, 3), v, np.uint8) for v in (50, 200)]))
    rates: dict[int, list[float]] = {1: [], 8: []}
    for _ in range(ROUNDS):
        for size, found in rates.items():
            worker = Recognizer(lambda: gallery, embedder, FixedThresholdRule(0.9), StringIO())
            start = process_time()
            for i in range(0, len(shots), size):
                worker.recognize(shots[i : i + size])
            found.append(len(shots) / (process_time() - start))
    alone, eight = (float(np.median(found)) for found in rates.values())
    return {"one by one": round(alone), "eight together": round(eight), "times": round(eight / alone, 2)}


def measure_worker(data: Path, name: str) -> dict[str, object]:
    """What a worker waits for."""
    limit_threads(1)
    embedder = load_embedder(name)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "people"
        pictures(data / "faces" / "lfw-folds-1-4.zip", folder)
        first, second = starts(folder, Path(scratch) / "cache", embedder)
        return {
            "embedder": embedder.name,
            "pictures": PICTURES,
            "first_start_s": first,
            "second_start_s": second,
            "shots_per_cpu_s": together(folder, embedder),
        }


def judge_galleries(data: Path, name: str) -> list[dict[str, int]]:
    """Of each gallery: wrong pictures and those found, whether two names of one person were, innocents accused."""
    embedder = load_embedder(name)
    rule = choose_rule(
        None, DEFAULT_FPIR, find_impostor_model(embedder.version, embedder.name), embedder.threshold
    )[0]
    extractor = FaceExtractor(load_detector("yunet", data / "models" / "yunet_n_640_640.onnx"), load_scorer())
    found = []
    for seed in range(GALLERIES):
        planted, wrong, one = gallery_with_faults(data / "faces" / "lfw-folds-1-4.zip", seed)
        with tempfile.TemporaryDirectory() as scratch:
            folder = write(planted, Path(scratch) / "people")
            with GalleryStore(Path(scratch) / "people.db", create=True) as people:
                faults = Enroller(people, lambda: extractor, embedder, rule).examine(find_people(folder))
        accused = {(fault.person, Path(fault.source).name) for fault in faults if fault.source}
        found.append(
            {
                "wrong": len(wrong),
                "found": len(wrong & accused),
                "two names": any({fault.person, fault.other} == one for fault in faults),
                "innocent": len(accused - wrong),
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="100,000 templates.")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", type=Path, metavar="DATA", help="Starts and batches, with this folder of data.")
    parser.add_argument("--faults", type=Path, metavar="DATA", help="Planted faults, with this folder of data.")
    parser.add_argument("--embedder", default="builtin", help="Of --worker and --faults.")
    parser.add_argument("--measure", type=Path, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure)))
        return
    if arguments.worker or arguments.faults:
        result: object = (
            measure_worker(arguments.worker, arguments.embedder)
            if arguments.worker
            else judge_galleries(arguments.faults, arguments.embedder)
        )
        print(cpu(), result)
        if arguments.json:
            arguments.json.write_text(json.dumps(result, indent=2))
        return
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for count in (50_000, 100_000) if arguments.quick else (50_000, 100_000, 1_000_000):
            rng = np.random.default_rng(0)
            templates, noise = crowd(count, rng), crowd(QUERIES, rng)
            own = templates[rng.integers(0, count, QUERIES)]
            mated = unit(LIKE * own + np.sqrt(1 - LIKE**2).astype(np.float32) * noise)
            file, queries = Path(folder) / "templates.npy", Path(folder) / "queries.npy"
            np.save(file, templates)
            np.save(queries, np.concatenate([mated, crowd(QUERIES, rng)]))
            command = [sys.executable, "-m", "benchmarks.gallery", "--measure", str(file), str(queries)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            results.append(json.loads(done.stdout))
            print(cpu(), results[-1], flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
