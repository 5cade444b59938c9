"""11: one scale for all sets and models: does 40 mean the same on LFW, on web pictures, on UTKFace, on the clips?

    python -m benchmarks.research.scale

What share of each set lies below a quality (a scale of percentiles means that 40 lies below 40 % of its own
set), and what a quality means: the chance that a picture matches its person's others at FMR 1e-3, in five bins.
That chance is then learned on one set (isotonic) and held against the other: mean absolute error, with an
interval by pictures.
"""

from __future__ import annotations

import zipfile
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from benchmarks.research.common import Array, begin, detector, lfw
from facegate.evaluation.datasets import FaceSet, load_set
from facegate.evaluation.degrade import degrade_half
from facegate.evaluation.edc import compare_all, similarity_at
from facegate.pipeline.config import CameraConfig
from facegate.pipeline.sources.factory import open_source
from facegate.scoring.backend_selection import cache_folder
from facegate.scoring.engine import load_scorer
from facegate.training.pool import kept_out

MARKS = (20, 40, 60, 80)
CLIPS = ("multi_face.avi", "default.wmv", "0188_03_021_al_pacino.avi", "1192_01_006_julia_roberts.avi")
FMR = 1e-3


def utk(data: Any) -> Any:
    """The fifth of UTKFace that nothing was trained on."""
    with zipfile.ZipFile(data / "faces" / "pool112.zip") as archive:
        names = [name for name in sorted(archive.namelist()) if kept_out(name)]
        read = [
            cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR) for name in names[:2500]
        ]
    return np.stack([np.asarray(image)[:, :, ::-1] for image in read])


def clips(data: Any) -> Any:
    """Faces of four clips, two frames per second."""
    from threading import Event

    from facegate.detectors.align import align

    finder, crops = detector(data), []
    for name in CLIPS:
        source = open_source(CameraConfig(name="clip", source=str(data / "clips" / name), max_fps=2))
        for frame in source.frames(Event()):
            for face in finder.detect([frame.image])[0]:  # type: ignore[attr-defined]
                crops.append(align(frame.image, face.landmarks))
    return np.stack(crops)


def matches(faces: FaceSet, units: Any) -> Array:
    """Share of a picture's mated comparisons that match at the FMR; NaN for somebody with one picture."""
    comparisons = compare_all(units, faces.names)
    threshold = similarity_at(comparisons, FMR)
    hits, of = np.zeros(len(faces.files)), np.zeros(len(faces.files))
    for side in (0, 1):
        np.add.at(hits, comparisons.mated_pairs[:, side], comparisons.mated > threshold)
        np.add.at(of, comparisons.mated_pairs[:, side], 1.0)
    share: Array = np.divide(hits, of, out=np.full(len(hits), np.nan), where=of > 0)
    return share


def curve(quality: Array, share: Array) -> Array:
    """The chance at each quality 0..100, never falling."""
    order = np.argsort(quality, kind="stable")
    fitted = isotonic_regression(share[order]).x
    found: Array = np.interp(np.arange(101), quality[order], fitted)
    return found


def error(chance: Array, quality: Array, share: Array, some: NDArray[np.int64]) -> float:
    """Between chance and truth, bin by bin, weighed by how many of ``some`` are in it."""
    bins, apart = (quality // 10).astype(int), 0.0
    for each in np.unique(bins[some]):
        inside = some[bins[some] == each]
        apart += abs(chance[quality[inside].astype(int)].mean() - share[inside].mean()) * len(inside)
    return float(apart / len(some))


def main() -> None:
    arguments = begin(__doc__)
    photographs = lfw(arguments.data, degraded=arguments.seed)
    web = load_set(arguments.data / "faces" / "web112.zip", detector(arguments.data), cache_folder())  # type: ignore[arg-type]
    web = web.with_crops(degrade_half(web.crops, arguments.seed))
    others = {"UTKFace, kept out": utk(arguments.data), "clips": clips(arguments.data)}
    rng = np.random.default_rng(arguments.seed)
    for number in ("vitnt", "norm", "estimate"):
        scorer = load_scorer(device="cpu", quality=number)
        sets = {
            "LFW": lfw(arguments.data).faces.crops,
            "LFW, half degraded": photographs.faces.crops,
            "web, half degraded": web.crops,
            **others,
        }
        qualities = {name: scorer.score(crops).quality.astype(np.float64) for name, crops in sets.items()}
        print(f"{number}: share below " + ", ".join(map(str, MARKS)))
        for name, quality in qualities.items():
            print(
                f"  {name:20} "
                + ", ".join(f"{(quality < mark).mean():.2f}" for mark in MARKS)
                + f"  ({len(quality)} faces)"
            )
        for judge, kept in photographs.judges.items():
            units = {"LFW": kept.units, "web": kept.embedder.embed(list(web.crops))}
            truth = {"LFW": matches(photographs.faces, units["LFW"]), "web": matches(web, units["web"])}
            mine = {"LFW": qualities["LFW, half degraded"], "web": qualities["web, half degraded"]}
            known = {name: ~np.isnan(share) for name, share in truth.items()}
            for name, share in truth.items():
                inside = [
                    (mine[name] >= low) & (mine[name] < high) & known[name]
                    for low, high in ((0, 20), (20, 40), (40, 60), (60, 80), (80, 101))
                ]
                print(
                    f"  {judge:6} {name:4} matches by fifths: "
                    + ", ".join(f"{share[i].mean():.2f}" if i.any() else "-" for i in inside)
                )
            for source, target in (("LFW", "web"), ("web", "LFW"), ("LFW", "LFW"), ("web", "web")):
                chance = curve(mine[source][known[source]], truth[source][known[source]])
                rows = np.flatnonzero(known[target])
                told = partial(error, chance, mine[target], truth[target])
                drawn = [told(rng.choice(rows, len(rows))) for _ in range(200)]
                low, high = np.percentile(drawn, [2.5, 97.5])
                print(
                    f"  {judge:6} learned on {source}, held against {target}: {told(rows):.3f} "
                    f"({low:.3f} to {high:.3f})",
                    flush=True,
                )


if __name__ == "__main__":
    main()
