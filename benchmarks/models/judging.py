"""Which quality model orders faces better, by four recognizers as judges, paired over people.

    python -m benchmarks.models.judging --data ../shared/data
    python -m benchmarks.models.judging --data ../shared/data --weights new.safetensors --set "LFW 32 px wide"

Models are the shipped one, LightQNet, and those given. A figure is the mean FNMR over 0-30 % discard divided by the
FNMR without discarding: lower is better, 1 is chance. People are held apart in ten folds: the threshold of each
comes from the others. A verdict is of the difference to LightQNet or to the shipped model over resampled people:
"level" unless the 95 % interval excludes zero. An asterisk marks a judge that taught the model, so its word counts
less. Verification is of each model's own embedding.

Embeddings and copies are cached: the first run takes half an hour on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.host_info import cpu
from benchmarks.models.judges import JUDGES, cached, embeddings
from benchmarks.models.pictures import Pictures, judged
from facegate.evaluation.datasets import load_pairs, verification_accuracy
from facegate.evaluation.held_out import compare_held_out, difference, ratios
from facegate.evaluation.research.baselines import LightQNetQuality
from facegate.recognition.embedders import unit
from facegate.scoring.engine import Scorer, load_scorer
from facegate.scoring.families import DEFAULT_MODEL

ROOT = Path(__file__).parent.parent.parent
LIGHTQNET = "LightQNet"
TEACHERS = {"facegate-mobile-s": ("y1", "CASIA"), "facegate-open-s": ("Intel", "dlib")}
"""Judges that taught a model, by the name of its card."""
Qualities = dict[str, NDArray[np.float64]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--weights", type=Path, action="append", default=[], help="Another model. Repeatable.")
    parser.add_argument("--quality", default="vitnt", help="A model's number to judge: vitnt, estimate or norm.")
    parser.add_argument("--set", action="append", help="Judge on this set only. Repeatable.")
    parser.add_argument("--judge", action="append", help="Ask this recognizer only. Repeatable.")
    arguments = parser.parse_args()
    scorers = {
        (path.stem if path else DEFAULT_MODEL): load_scorer(path, device="cpu", quality=arguments.quality)
        for path in (None, *arguments.weights)
    }
    lightqnet = LightQNetQuality(arguments.data / "models" / "lightqnet-dm100.pb")
    print(cpu(), f"quality: {arguments.quality}", sep="; ")
    for pictures in judged(arguments.data, arguments.set):
        faces = pictures.faces
        other = cached(
            LIGHTQNET,
            faces,
            lambda faces=faces: lightqnet.score(faces, lambda *_: None).astype(np.float32),  # type: ignore[misc]
        )
        qualities: Qualities = {LIGHTQNET: other.astype(np.float64)}
        people = len(set(faces.names))
        print(f"\n{pictures.name}: {len(faces.crops)} pictures, {people} people, FMR {pictures.fmr:g}", flush=True)
        for name, scorer in scorers.items():
            qualities[name] = own_embedding(name, scorer, pictures, arguments.data)
        report(pictures, qualities, arguments.judge or JUDGES, scorers, arguments.data)


def own_embedding(name: str, scorer: Scorer, pictures: Pictures, data: Path) -> NDArray[np.float64]:
    """Print what a model's embedding misses; return its qualities."""
    faces = pictures.faces
    scores = scorer.score(faces.crops)
    assert scores.embedding is not None
    rows = unit(scores.embedding)
    missed = compare_held_out(rows, faces.names, pictures.fmr, sources=pictures.sources).fnmr
    right = ""
    if pictures.name.startswith("LFW"):
        pairs = load_pairs(data / "faces" / "lfw-pairs-folds-1-4.tsv")
        right = f", right on {100 * verification_accuracy(pairs, faces.files, rows):.2f} % of LFW pairs"
    print(f"  embedding of {name}: FNMR {missed:.3f}{right}", flush=True)
    return scores.raw_score.astype(np.float64)


def report(
    pictures: Pictures, qualities: Qualities, judges: Sequence[str], scorers: dict[str, Scorer], data: Path
) -> None:
    """Print each model's ratios, and its verdicts against LightQNet and the shipped model."""
    faces = pictures.faces
    compared = {
        judge: compare_held_out(embeddings(judge, data, faces), faces.names, pictures.fmr, sources=pictures.sources)
        for judge in judges
    }
    errors = ", ".join(
        f"{judge} {found.fnmr:.3f} ({int(found.missed.sum())} of {len(found.pairs)})"
        for judge, found in compared.items()
    )
    print(f"  FNMR {errors}")
    for name, quality in qualities.items():
        cells = [f"{ratios(found, quality)[0]:.3f}" for found in compared.values()]
        print(f"  {name:30s} " + " / ".join(cells))
    for name, scorer in scorers.items():
        for reference in (LIGHTQNET, DEFAULT_MODEL):
            if name == reference:
                continue
            cells = []
            for judge, found in compared.items():
                apart = difference(found, qualities[name], qualities[reference])
                mark = "*" if judge in TEACHERS.get(scorer.card.name, ()) else ""
                cells.append(f"{judge}{mark} {apart.verdict} {apart.low:+.3f}..{apart.high:+.3f}")
            print(f"  {name} against {reference}: " + "; ".join(cells), flush=True)


if __name__ == "__main__":
    main()
