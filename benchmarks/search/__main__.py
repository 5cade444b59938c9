"""Search by face among many visits: latency, recall, memory, restart, and templates added meanwhile.

    python -m benchmarks.search           # ten million templates, eight minutes, 8 GB of disk in --folder
    python -m benchmarks.search --templates 1000000 --json search.json
    python -m benchmarks.search --rate ../shared/data --embedder face-reidentification-retail-0095.xml

Templates of 256 dimensions are drawn with the mean and covariance of a shipped cohort, so that they crowd as real
ones do. Queries are faces of visits that are there (cosine 0.6 to their template) and of strangers, in turn, one at
a time, while 100 templates a second are added. Beside the index: faiss's exhaustive ``IndexFlatIP``, and the exact
comparison of all templates. Both need all templates in memory, so they run with at most ``--baseline`` of them.

``--rate`` measures the stated rate of false hits instead: galleries of people drawn from LFW, each searched for
people outside of it.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from time import perf_counter, process_time, sleep, time

import cv2
import numpy as np
import psutil

from benchmarks.host_info import cpu
from facegate.pipeline.records import Floats
from facegate.recognition.embedders import load_embedder, unit
from facegate.recognition.matching.decision_rule import FpirRule
from facegate.recognition.matching.score_tail import _read, find_impostor_model
from facegate.recognition.search.template_index import TemplateIndex
from facegate.store.records import VisitTemplate, VisitUpdate, packed
from facegate.store.templates import TemplateReader
from facegate.store.writer import StoreWriter

QUERIES, LIKE, PER_SECOND = 200, 0.6, 100
CHUNK = 100_000
WHO = "benchmark"
COHORT = "face-reidentification-retail-0095"


class Crowd:
    """Draws unit vectors as the templates of a shipped recognizer lie."""

    def __init__(self) -> None:
        cards = Path(__file__).parent.parent.parent / "recognition" / "cards"
        cohort = _read(cards / f"{COHORT}.tail.yaml", cards / f"{COHORT}.cohort.safetensors").cohort
        self.mean = cohort.mean(0)
        _, scale, self.directions = np.linalg.svd(cohort - self.mean, full_matrices=False)
        self.spread = (scale / np.sqrt(len(cohort))).astype(np.float32)

    def draw(self, count: int, rng: np.random.Generator) -> Floats:
        return self.of(rng.standard_normal((count, len(self.spread)), dtype=np.float32))

    def of(self, normal: Floats) -> Floats:
        """From normally distributed numbers ``(N, D)``."""
        return unit(self.mean + normal @ (self.spread[:, None] * self.directions))


def fill(path: Path, count: int, queries: Path) -> None:
    """Write a store's templates directly, with queries and the similarity of the nearest template to each.

    What an earlier call has begun is continued.
    """
    part, truths = path.with_name("filling.db"), queries.with_suffix(".truth.npy")
    StoreWriter(part, create=True).close()
    crowd = Crowd()
    db = sqlite3.connect(part)
    db.execute("PRAGMA synchronous=OFF")
    db.execute("PRAGMA wal_autocheckpoint=20000")
    db.execute("DROP INDEX IF EXISTS templates_by_recognizer")
    db.execute("DROP INDEX IF EXISTS templates_by_visit")
    begin = db.execute("SELECT coalesce(max(id), 0) FROM templates").fetchone()[0]
    for start in range(begin, count, CHUNK):
        block = start // (10 * CHUNK)
        if start % (10 * CHUNK) == 0 or start == begin:
            shape = (CHUNK, len(crowd.spread))
            normal = np.random.default_rng(block).standard_normal(shape, dtype=np.float32)
        # Signs are cheaper to draw, and the result is distributed alike.
        signs = np.random.default_rng([1, start]).choice(np.array([-1, 1], np.float32), len(crowd.spread))
        templates = crowd.of(normal * signs)
        if not start:
            np.save(queries, probes(QUERIES // 2, np.random.default_rng(1), templates[: QUERIES // 2]))
            np.save(truths, np.full(QUERIES, -2, np.float32))
        np.save(truths, np.maximum(np.load(truths), (np.load(queries) @ templates.T).max(1)))
        kept, size = templates.astype("<f2").tobytes(), 2 * templates.shape[1]
        db.executemany(
            "INSERT INTO templates VALUES (?, ?, ?, ?)",
            ((start + row, start + row, WHO, kept[(row - 1) * size : row * size]) for row in range(1, CHUNK + 1)),
        )
        db.commit()
    db.execute("CREATE UNIQUE INDEX templates_by_visit ON templates (visit)")
    db.execute("CREATE INDEX templates_by_recognizer ON templates (recognizer, visit)")
    # Visits get ids of their own, above those of the templates that are written here.
    db.execute("INSERT INTO sqlite_sequence VALUES ('visits', ?)", (2 * count,))
    db.commit()
    db.close()
    part.rename(path)


def probes(count: int, rng: np.random.Generator, own: Floats) -> Floats:
    """Faces of visits and of strangers, in turn."""
    crowd = Crowd()
    noise = unit(crowd.draw(count, rng) - crowd.mean)
    mated = unit(LIKE * own + np.float32(np.sqrt(1 - LIKE**2)) * noise)
    return np.stack([mated, crowd.draw(count, rng)], 1).reshape(-1, own.shape[1])


def rss() -> float:
    return float(psutil.Process().memory_info().rss / 1e6)


def measure(path: Path, folder: Path, queries: Path) -> dict[str, object]:
    """Search in a process that does nothing else, while another one adds templates."""
    sought = np.load(queries)
    truth = np.load(queries.with_suffix(".truth.npy"))
    before = rss()
    with TemplateReader(path) as store:
        start = perf_counter()
        with TemplateIndex(store, folder, WHO) as index:
            index.refresh()
            started, had = perf_counter() - start, index.count
            adding = subprocess.Popen([sys.executable, "-m", "benchmarks.search", "--add", str(path)])
            while index.count == had:  # until it has begun
                sleep(0.5)
                index.refresh()
            stop = Event()
            following = Thread(target=_follow, args=(index, stop))
            following.start()
            spent, used, right, began, had = [], [], [], perf_counter(), index.count
            for probe, expected in zip(sought, truth, strict=True):
                start, before_s = perf_counter(), process_time()
                _, similarities = index.search(probe)
                spent.append(1000 * (perf_counter() - start))
                used.append(1000 * (process_time() - before_s))
                right.append(bool(similarities[0] >= expected - 1e-3))
                sleep(0.05)
            memory = rss() - before
            stop.set()
            following.join()
            index.refresh()
            rate = (index.count - had) / (perf_counter() - began)
            adding.kill()
            adding.wait()
            return {
                "templates": index.count,
                "start_s": round(started, 2),
                "p50_ms": round(float(np.percentile(spent, 50)), 1),
                "p95_ms": round(float(np.percentile(spent, 95)), 1),
                "p99_ms": round(float(np.percentile(spent, 99)), 1),
                "cpu_p50_ms": round(float(np.percentile(used, 50)), 1),
                "cpu_p95_ms": round(float(np.percentile(used, 95)), 1),
                "recall_mated": float(np.mean(right[::2])),
                "recall_strangers": float(np.mean(right[1::2])),
                "mb": round(memory),
                "added_per_s": round(rate),
            }


def _follow(index: TemplateIndex, stop: Event) -> None:
    """As the console does."""
    while not stop.wait(1):
        index.refresh()


def add(path: Path) -> None:
    """Add templates as a worker's visits do, until killed."""
    crowd, rng, number = Crowd(), np.random.default_rng(9), 0
    with StoreWriter(path) as writer:
        begin = perf_counter()
        while True:
            vectors = crowd.draw(PER_SECOND // 10, rng)
            visits = [f"{time()}/new/{number + row}" for row in range(len(vectors))]
            writer.update_visits(
                [
                    VisitUpdate(visit, "new", number + row, None, 0.0, 0.0, None, time(), "ended")
                    for row, visit in enumerate(visits)
                ]
            )
            writer.put_templates(
                [VisitTemplate(visit, WHO, packed(each)) for visit, each in zip(visits, vectors, strict=True)]
            )
            number += len(vectors)
            sleep(max(0.0, begin + number / PER_SECOND - perf_counter()))


def baseline(path: Path, queries: Path, count: int) -> dict[str, object]:
    """faiss's exhaustive search and numpy's, one query at a time, with templates in memory."""
    import faiss

    sought = np.load(queries)[:50]
    found: dict[str, object] = {}
    parts: list[Floats] = []
    with TemplateReader(path) as store:
        row = 0
        while sum(len(part) for part in parts) < count:
            ids, templates = store.after(WHO, row, CHUNK)
            row = int(ids[-1])
            parts.append(templates)
    templates = np.concatenate(parts)
    flat = faiss.IndexFlatIP(templates.shape[1])
    flat.add(templates)
    ways: dict[str, Callable[[Floats], object]] = {
        "IndexFlatIP": lambda probe: flat.search(probe[None], 800),
        "exact": lambda probe: np.argpartition(templates @ probe, -800)[-800:],
    }
    spent: dict[str, list[float]] = {way: [] for way in ways}
    for probe in sought:
        for way, search in ways.items():
            start = perf_counter()
            search(probe)
            spent[way].append(1000 * (perf_counter() - start))
    for way, times in spent.items():
        found[way] = {"templates": len(templates), "p95_ms": round(float(np.percentile(times, 95)), 1)}
    return found


def lfw(archive: Path, embedder: str) -> tuple[list[str], Floats]:
    """Names and embeddings of LFW's pictures, aligned by YuNet."""
    from facegate.detectors.align import align
    from facegate.detectors.base import load_detector

    model = load_embedder(embedder)
    detector = load_detector("yunet", archive.parent.parent / "models" / "yunet_n_640_640.onnx")
    names, crops = [], []
    with zipfile.ZipFile(archive) as opened:
        for name in sorted(each for each in opened.namelist() if each.endswith(".jpg")):
            image = cv2.cvtColor(
                cv2.imdecode(np.frombuffer(opened.read(name), np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB
            ).astype(np.uint8)
            faces = detector.detect([image])[0]
            if faces:
                middle = np.array(image.shape[1::-1]) / 2
                nearest = min(faces, key=lambda face: float(np.abs(face.landmarks.mean(0) - middle).sum()))
                crops.append(align(image, nearest.landmarks))
                names.append(Path(name).stem.rsplit("_", 1)[0])
    return names, np.concatenate([model.embed(crops[start : start + 64]) for start in range(0, len(crops), 64)])


def false_hits(data: Path, embedder: str) -> list[dict[str, object]]:
    """Share of searches for people outside that find a visit, in galleries of several sizes."""
    model = load_embedder(embedder)
    beside = Path(embedder) if Path(embedder).is_file() else None
    impostors = find_impostor_model(model.version, model.name, beside)
    assert impostors is not None
    names, vectors = lfw(data / "faces" / "lfw-folds-1-4.zip", embedder)
    people = sorted(set(names))
    of = {name: [row for row, each in enumerate(names) if each == name] for name in people}
    normalization = impostors.cohort_mean_similarity(vectors)
    found: list[dict[str, object]] = []
    rng = np.random.default_rng(0)
    for size in (10, 100, 800):
        for fpir in (0.1, 0.01, 0.001):
            rule = FpirRule(impostors, fpir)
            searches = hits = 0
            while searches < 300_000:
                order = rng.permutation(len(people))
                inside = [of[people[number]][0] for number in order[:size]]
                outside = np.array([row for number in order[size:] for row in of[people[number]]])
                scores = (vectors[outside] @ vectors[inside].T).max(1) - normalization[outside]
                hits += int((scores >= rule.threshold(size)).sum())
                searches += len(outside)
            found.append(
                {
                    "searched": size,
                    "stated": fpir,
                    "searches": searches,
                    "measured": float(f"{hits / searches:.3g}"),
                    "times": round(hits / searches / fpir, 2),
                }
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--templates", type=int, default=10_000_000)
    parser.add_argument("--baseline", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/facegate-search"))
    parser.add_argument("--fill", action="store_true", help="Only make the store, which is used from then on.")
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--rate", type=Path, metavar="DATA", help="The rate of false hits, with this folder of data."
    )
    parser.add_argument("--embedder", default="builtin", help="Of --rate.")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--compare", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--add", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.add:
        add(given.add)
        return
    folder = given.folder / str(given.templates)
    path, index, queries = folder / "store.db", folder / "index", folder / "queries.npy"
    if given.measure:
        print(json.dumps(measure(path, index, queries)))
        return
    if given.compare:
        print(json.dumps(baseline(path, queries, min(given.baseline, given.templates))))
        return
    if given.rate:
        result: object = false_hits(given.rate, given.embedder)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        took = {}
        start = perf_counter()
        if not path.exists():
            fill(path, given.templates, queries)
        took["fill_s"] = round(perf_counter() - start)
        if given.fill:
            print(took)
            return
        with TemplateReader(path) as store:
            start = perf_counter()
            with TemplateIndex(store, index, WHO) as built:
                built.refresh()
        took["build_s"] = round(perf_counter() - start)
        command = [sys.executable, "-m", "benchmarks.search", "--folder", str(given.folder)]
        command += ["--templates", str(given.templates), "--baseline", str(given.baseline)]
        result = took | {
            mode: json.loads(
                subprocess.run([*command, f"--{mode}"], capture_output=True, text=True, check=True).stdout
            )
            for mode in ("measure", "compare")
        }
    print(cpu(), json.dumps(result, indent=2))
    if given.json:
        given.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
