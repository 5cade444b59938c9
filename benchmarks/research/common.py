"""What the questions share: the photographs, who is alike by a recognizer, and intervals."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

from benchmarks.host_info import cpu
from facegate.cpu import limit_threads, share_cores
from facegate.detectors.base import load_detector
from facegate.evaluation.datasets import FaceSet, load_set
from facegate.evaluation.degrade import degrade_half
from facegate.evaluation.edc import Comparisons, bootstrap, compare_all, edc, interval
from facegate.evaluation.evaluate import Results
from facegate.recognition.embedders import Embedder, load_embedder
from facegate.scoring.backend_selection import cache_folder

Array = NDArray[np.float64]
ROOT = Path(__file__).parent.parent.parent
FMR, LIMIT, RESAMPLES = 1e-3, 0.3, 200


def begin(doc: str | None, *more: Callable[[argparse.ArgumentParser], object]) -> argparse.Namespace:
    """Options that every question takes; two cores, and what machine it is."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--seed", type=int, default=0)
    for add in more:
        add(parser)
    arguments = parser.parse_args()
    share_cores()
    limit_threads(2)
    print(cpu(), f"seed {arguments.seed}", sep="; ", flush=True)
    return arguments


class Judge(msgspec.Struct, frozen=True, eq=False):
    """A recognizer, and all comparisons of a set by it."""

    embedder: Embedder
    units: NDArray[np.float32]
    comparisons: Comparisons


class Photographs(msgspec.Struct, frozen=True, eq=False):
    """LFW's folds 1-4 as they are, or half degraded, with two recognizers."""

    faces: FaceSet
    judges: dict[str, Judge]


@cache
def detector(data: Path) -> object:
    """YuNet, by which all sets here are aligned."""
    return load_detector("yunet", data / "models" / "yunet_n_640_640.onnx")


def lfw(data: Path, degraded: int | None = None) -> Photographs:
    """The photographs; what was computed once is kept."""
    faces = load_set(data / "faces" / "lfw-folds-1-4.zip", detector(data), cache_folder())  # type: ignore[arg-type]
    if degraded is not None:
        faces = faces.with_crops(degrade_half(faces.crops, degraded))
    results = Results(cache_folder(), faces, lambda what, done, total: None)
    judges = {}
    for name in ("mobilefacenet-y1", "mobilefacenet-casia"):
        embedder = load_embedder(str(data / "models" / f"{name}.onnx"))
        units = results.embeddings(embedder)
        judges[name.removeprefix("mobilefacenet-")] = Judge(embedder, units, compare_all(units, faces.names))
    return Photographs(faces, judges)


def ratios(photographs: Photographs, methods: dict[str, Array], reference: str | None, seed: int) -> str:
    """A table of ratios by both recognizers, with intervals and, against ``reference``, of the differences."""
    lines = []
    for name, judge in photographs.judges.items():
        resampled = bootstrap(judge.comparisons, methods, FMR, limit=LIMIT, resamples=RESAMPLES, seed=seed)
        for method, scores in methods.items():
            value = interval(edc(judge.comparisons, scores, FMR, LIMIT).ratio, resampled[method])
            line = f"  {name:6} {method:34} {value.value:.3f} ({value.low:.2f} to {value.high:.2f})"
            if reference is not None and method != reference:
                apart = interval(0.0, resampled[method] - resampled[reference])
                clear = "*" if apart.low > 0 or apart.high < 0 else " "
                line += f"  less {reference}'s: {apart.low:+.3f} to {apart.high:+.3f} {clear}"
            lines.append(line)
    return "\n".join(lines)


def mated_similarity(photographs: Photographs, judge: str) -> Array:
    """How like each picture is to its person's others on average, ``(N,)``; NaN for somebody with one picture."""
    units = photographs.judges[judge].units.astype(np.float64)
    people = np.unique(photographs.faces.names, return_inverse=True)[1]
    sums = np.zeros((people.max() + 1, units.shape[1]))
    np.add.at(sums, people, units)
    counts = np.bincount(people)
    others = counts[people] - 1
    total = (units * sums[people]).sum(1) - 1.0
    found: Array = np.divide(total, others, out=np.full(len(units), np.nan), where=others > 0)
    return found


def spearman(a: Array, b: Array, seed: int = 0, resamples: int = 400) -> tuple[float, float, float]:
    """Rank correlation with a 95 % interval by resampling pictures."""
    rng = np.random.default_rng(seed)
    values = [float(spearmanr(a[i], b[i]).statistic) for i in rng.integers(0, len(a), (resamples, len(a)))]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(spearmanr(a, b).statistic), float(low), float(high)


def partial_spearman(a: Array, b: Array, given: list[Array]) -> float:
    """Rank correlation of ``a`` and ``b`` once what ``given`` explains of either is taken out."""
    ranks = [rankdata(values) for values in (a, b, *given)]
    design = np.column_stack([np.ones(len(a)), *ranks[2:]])
    rest = [values - design @ np.linalg.lstsq(design, values, rcond=None)[0] for values in ranks[:2]]
    return float(np.corrcoef(rest[0], rest[1])[0, 1])


def mean_interval(values: Array, seed: int = 0, resamples: int = 1000) -> tuple[float, float, float]:
    """Mean with a 95 % interval by resampling."""
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, len(values), (resamples, len(values)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(values.mean()), float(low), float(high)
