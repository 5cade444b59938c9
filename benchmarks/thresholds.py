"""Measures the shipped recognizer cards: similarity and FNMR at an FMR, cohorts and tails of non-mated scores.

    python -m benchmarks.thresholds --data ../shared/data
    python -m benchmarks.thresholds --data ../shared/data --tails recognition/cards
    python -m benchmarks.thresholds --data ../shared/data --open-set
    python -m benchmarks.thresholds --recognizer face-reidentification-retail-0095.xml --tails recognition/cards \
        --cohort ../shared/data/faces/pool-open112.zip

Thresholds are of LFW folds 1-2, all against all. Tails (``--tails``) are of the people of LFW folds 1-4 and those
of LFW who occur in no pair, whose crops are in the research pool. With ``--cohort``, the cohort is made of the
generated faces of a permissive pool, which show nobody, and only the tail is of LFW.
"""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from facegate.cli.output.tables import show_open_set
from facegate.detectors.base import load_detector
from facegate.evaluation.datasets import FaceSet, load_pairs, load_set
from facegate.evaluation.edc import compare_all, edc, similarity_at
from facegate.evaluation.open_set import RATES, Faces, evaluate_open_set, fit_impostor_model
from facegate.pipeline.images import decode_image
from facegate.pipeline.records import Floats, Image
from facegate.recognition.embedders import load_embedder, unit
from facegate.recognition.matching.score_tail import make_cohort, write_impostor_model
from facegate.scoring.backend_selection import cache_folder
from facegate.scoring.engine import load_scorer

ROOT = Path(__file__).parent.parent
FOLDS = (1, 2)
INTEL = "face-reidentification-retail-0095.xml"
RECOGNIZERS = ("mobilefacenet-y1.onnx", "mobilefacenet-casia.onnx", INTEL, "dlib", "builtin")
CHUNK = 256
SIZES = (50, 500, 1500)
SAME = msgspec.yaml.decode((Path(__file__).parent / "lfw-same.yaml").read_bytes(), type=dict[str, str])
"""Names of LFW under which one person, or the very same picture, occurs twice."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--tails", type=Path, metavar="FOLDER", help="Write tails and cohorts there.")
    parser.add_argument("--open-set", action="store_true", help="Measure promised rates on the same people.")
    parser.add_argument("--cohort", type=Path, metavar="ZIP", help="Make cohorts of its generated faces.")
    parser.add_argument("--recognizer", action="append", help="Measure only this one. Repeatable.")
    parser.add_argument("--rate", type=float, action="append", help="Promised FPIR. Repeatable.")
    parser.add_argument("--draws", type=int, default=4, help="Random splits of the people.")
    parser.add_argument("--repeats", type=int, default=1, help="Divisions of each half.")
    parser.add_argument("--people", type=int, action="append", help="Enrolled people. Repeatable.")
    parser.add_argument("--together", action="store_true", help="Also all recognizers as one.")
    arguments = parser.parse_args()
    chosen: tuple[str, ...] = tuple(arguments.recognizer or RECOGNIZERS)
    data: Path = arguments.data
    detector = load_detector("yunet", data / "models" / "yunet_n_640_640.onnx")
    faces = load_set(data / "faces" / "lfw-folds-1-4.zip", detector, cache_folder())
    pairs = load_pairs(data / "faces" / "lfw-pairs-folds-1-4.tsv")
    wanted = {file for pair in pairs if pair.fold in FOLDS for file in (pair.first, pair.second)}
    rows = [row for row, file in enumerate(faces.files) if file in wanted]
    names = [faces.names[row] for row in rows]
    if arguments.tails is not None or arguments.open_set:
        pool = data / "faces" / "pool112.zip"
        open_set = OpenSetOptions(
            tuple(arguments.rate or RATES),
            arguments.draws,
            arguments.repeats,
            tuple(arguments.people or SIZES),
            arguments.together,
        )
        impostors(chosen, faces, pool, data / "models", arguments.tails, arguments.cohort, open_set)
        return
    print(f"{len(rows)} pictures of {len(set(names))} people")
    for name in chosen:
        embedder = load_embedder(str(data / "models" / name) if name.endswith((".onnx", ".xml")) else name)
        embeddings = np.concatenate([embedder.embed([faces.crops[row]]) for row in rows])
        comparisons = compare_all(embeddings, names)
        for fmr in (1e-3, 1e-4):
            fnmr = edc(comparisons, np.zeros(len(rows)), fmr).fnmr0
            similarity = similarity_at(comparisons, fmr)
            print(f"{embedder.name:22s} FMR {fmr:g}: similarity {similarity:.3f}, FNMR {fnmr:.3f}")


def pictures(archive: Path, prefix: str) -> Iterator[tuple[str, Image]]:
    """Names and crops of an archive's entries with this prefix."""
    with zipfile.ZipFile(archive) as pool:
        for entry in sorted(pool.namelist()):
            if entry.startswith(prefix) and entry.endswith(".webp"):
                yield entry, decode_image(pool.read(entry), entry)


class OpenSetOptions(msgspec.Struct, frozen=True):
    """How promised rates are measured."""

    rates: tuple[float, ...]
    draws: int
    repeats: int
    sizes: tuple[int, ...]
    together: bool


def impostors(
    chosen: Sequence[str],
    faces: FaceSet,
    pool: Path,
    models: Path,
    folder: Path | None,
    generated: Path | None,
    open_set: OpenSetOptions,
) -> None:
    """Fit impostor models of recognizers and write them to ``folder``; without one, measure the rates they give."""
    crops, names = list(faces.crops), faces.names
    for entry, crop in pictures(pool, "lfw/"):
        crops.append(crop)
        names.append(entry.split("/")[1])
    nobody = [crop for _, crop in pictures(generated, "generated")] if generated is not None else []
    people = np.array([SAME.get(name, name) for name in names])
    quality = load_scorer().score(np.stack(crops), embedding=False).quality
    everything = []

    def measure(name: str, known: Faces, cohort: Floats | None) -> None:
        found = evaluate_open_set(
            known,
            open_set.sizes,
            draws=open_set.draws,
            cohort=cohort,
            rates=open_set.rates,
            repeats=open_set.repeats,
        )
        show_open_set(name, found)
        for each in found:
            for rate in each.rates:
                low, high = (bound / each.strangers for bound in poisson_interval(rate.false))
                print(
                    f"{name}, {each.enrolled} people, {each.shots} shots, promised {rate.promised:g}: "
                    f"{rate.false} of {each.strangers} ({low:.2g} to {high:.2g}), "
                    f"FNIR {rate.fnir:.4f} of {each.mated}; two agreeing shots: {rate.false_agreeing}, "
                    f"FNIR {rate.fnir_agreeing:.4f}",
                    flush=True,
                )

    for name in chosen:
        embedder = load_embedder(str(models / name) if name.endswith((".onnx", ".xml")) else name)
        embeddings = np.concatenate([embedder.embed(crops[i : i + CHUNK]) for i in range(0, len(crops), CHUNK)])
        everything.append(embeddings)
        known = Faces(people, embeddings, quality)
        cohort = make_cohort(embedder.embed(nobody)) if nobody else None
        if folder is None:
            measure(embedder.name, known, cohort)
            continue
        source = f"{len(crops)} pictures of {len(set(people))} people of LFW"
        if nobody:
            source = f"cohort: {len(nobody)} generated faces; tail: {source}"
        model = embedder.version.split(":")[0]
        found = fit_impostor_model(known, model=model, source=source, cohort=cohort)
        for file in write_impostor_model(found, folder, embedder.name):
            print(file)
    if open_set.together and folder is None:
        # The similarity of joined embeddings is the mean of those of the recognizers.
        measure(" + ".join(chosen), Faces(people, unit(np.concatenate(everything, axis=1)), quality), None)


def poisson_interval(count: int) -> tuple[float, float]:
    """Exact 95 % interval of a count."""
    from scipy.stats import chi2

    low = 0.0 if count == 0 else float(chi2.ppf(0.025, 2 * count)) / 2
    return low, float(chi2.ppf(0.975, 2 * count + 2)) / 2


if __name__ == "__main__":
    main()
