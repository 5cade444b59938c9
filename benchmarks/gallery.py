"""Searching large galleries: how long a query takes, how often it finds the nearest, what it needs.

    python -m benchmarks.gallery                 # a million templates, about two minutes
    python -m benchmarks.gallery --quick --json gallery.json

Templates are drawn with the mean and covariance of a shipped cohort, so that they crowd as real ones do; they are
memory-mapped, and the index is measured in a process of its own. Queries are faces of enrolled people (cosine 0.6
to their template) and of strangers, one at a time, on one core. Memory is what index and templates take beyond what
the process had before, the mapped pages included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import psutil

from benchmarks.machine import cpu
from facegate.pipeline.records import Floats
from facegate.recognition.embedders import load_embedder, unit
from facegate.recognition.matching.nearest import Nearest
from facegate.recognition.matching.tail import find_strangers

QUERIES, LIKE = 500, 0.6
NUMBERS = 128


def crowd(count: int, rng: np.random.Generator) -> Floats:
    """Unit vectors as the built-in recogniser's templates lie, in their ``NUMBERS`` strongest directions."""
    embedder = load_embedder("builtin")
    strangers = find_strangers(embedder.version, embedder.name)
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
    nearest = Nearest(templates)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="100,000 templates.")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--measure", type=Path, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure)))
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
