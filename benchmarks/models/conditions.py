"""Which recognizer suits which camera: missed mated pairs of LFW folds 1-4 by condition.

    python -m benchmarks.models.conditions --data ../shared/data

All 3,074 pictures are compared with each other in the same condition, at FMR 1e-3 with people held apart in ten
folds; "mirrored" compares mirrored pictures with each other. The last column is the shipped model's own embedding,
or that of ``--weights``. The table is Markdown.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.host_info import cpu
from benchmarks.models.judges import JUDGES, embeddings
from benchmarks.models.pictures import COPIES, changed, lfw
from facegate.evaluation.held_out import compare_held_out
from facegate.recognition.embedders import unit
from facegate.scoring.engine import load_scorer

ROOT = Path(__file__).parent.parent.parent
FMR = 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--weights", type=Path, action="append", default=[], help="Another model. Repeatable.")
    arguments = parser.parse_args()
    scorers = [load_scorer(path, device="cpu") for path in (None, *arguments.weights)]
    people = lfw(arguments.data)
    print(cpu(), f"FMR {FMR:g}", sep="; ")
    columns = [*JUDGES, *(scorer.card.name for scorer in scorers)]
    print("| condition | " + " | ".join(columns) + " |\n|" + "---|" * (len(columns) + 1), flush=True)
    for copy in COPIES:
        faces = people if copy == "clean" else changed(people, copy)
        rows: list[NDArray[np.float32]] = [embeddings(judge, arguments.data, faces) for judge in JUDGES]
        for scorer in scorers:
            scores = scorer.score(faces.crops)
            assert scores.embedding is not None
            rows.append(unit(scores.embedding))
        missed = [compare_held_out(found, faces.names, FMR).fnmr for found in rows]
        cells = [f"**{rate:.3f}**" if rate == min(missed) else f"{rate:.3f}" for rate in missed]
        print(f"| {copy} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
