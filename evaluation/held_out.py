"""Error versus discard with people held apart, and verdicts between methods.

The threshold for the mated comparisons of one fold's people comes from the non-mated comparisons among all other
people, so nobody's own pictures set the threshold they are judged by. Two methods are compared by the difference of
their ratios over resampled people: only where its 95 % interval excludes zero is one of them clearly better.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from facegate.errors import ConfigError
from facegate.evaluation.edc import PAIRS_PER_ERROR

Array = NDArray[np.float64]
FOLDS = 10
LIMIT = 0.3
"""Upper discard fraction of the averaged FNMR."""
RESAMPLES = 400


class HeldOutPairs(msgspec.Struct, frozen=True, eq=False):
    """The mated comparisons of ``N`` samples, each judged at the threshold of the other folds."""

    pairs: NDArray[np.int64]
    """``(M, 2)`` sample indices."""
    people: NDArray[np.int64]
    """``(M,)`` 0-based person of each comparison."""
    missed: NDArray[np.bool_]
    """``(M,)`` whether it is a false non-match."""

    @property
    def fnmr(self) -> float:
        """FNMR without discarding."""
        return float(self.missed.mean())


class Difference(msgspec.Struct, frozen=True):
    """Ratio of a method minus that of a reference, with the 95 % interval over people; below 0 it is better."""

    value: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """``clearly better``, ``level`` or ``clearly worse``."""
        return "clearly better" if self.high < 0 else "clearly worse" if self.low > 0 else "level"


def fold_of(name: str, folds: int = FOLDS) -> int:
    """Fold of a person, from the name alone."""
    return zlib.crc32(name.encode()) % folds


def compare_held_out(
    embeddings: NDArray[np.float32],
    names: Sequence[str],
    fmr: float,
    *,
    sources: Sequence[str] | None = None,
    folds: int = FOLDS,
) -> HeldOutPairs:
    """Compare every sample with every other.

    Args:
        embeddings: ``(N, D)`` unit rows.
        names: ``N`` people.
        fmr: false match rate of the thresholds.
        sources: ``N`` origins, such as clips; mated samples of one origin are not compared, because consecutive
            frames of a clip are nearly one picture.
        folds: number of groups of people; at most the number of people.

    Raises:
        ConfigError: no mated comparison, or too few non-mated ones for the FMR in a fold.
    """
    people = np.unique(list(names), return_inverse=True)[1].astype(np.int64)
    origin = np.arange(len(people)) if sources is None else np.unique(list(sources), return_inverse=True)[1]
    count = int(people.max()) + 1
    if count <= folds:  # each person alone
        fold, folds = people, count
    else:
        fold = np.array([fold_of(name, folds) for name in names])
    similarity = embeddings @ embeddings.T
    first, second = np.triu_indices(len(people), 1)
    mated = people[first] == people[second]
    apart = origin[first] != origin[second]
    wanted = mated & apart
    pairs = np.column_stack([first[wanted], second[wanted]])
    if not len(pairs):
        raise ConfigError("an error rate needs mated comparisons: add two pictures of one person")
    others = ~mated
    scores = similarity[first[others], second[others]]
    fold_first, fold_second = fold[first[others]], fold[second[others]]
    thresholds = np.empty(folds)
    for index in range(folds):
        outside = scores[(fold_first != index) & (fold_second != index)]
        needed = round(PAIRS_PER_ERROR / fmr)
        if len(outside) < needed:
            raise ConfigError(
                f"FMR {fmr:g} needs {needed} non-mated comparisons without a fold, got {len(outside)}: "
                "use a higher FMR or add people"
            )
        place = len(outside) - 1 - int(fmr * len(outside))
        thresholds[index] = np.partition(outside, place)[place]
    missed = similarity[pairs[:, 0], pairs[:, 1]] <= thresholds[fold[pairs[:, 0]]]
    return HeldOutPairs(pairs, people[pairs[:, 0]], missed)


def ratios(
    compared: HeldOutPairs,
    quality: Array,
    weights: Array | None = None,
    limit: float = LIMIT,
) -> Array:
    """Mean FNMR up to ``limit`` divided by the FNMR without discarding: 1 is useless, lower is better.

    Args:
        compared: the comparisons.
        quality: ``(N,)``, higher is better; the minimum of two samples counts.
        weights: ``(R, P)`` multiplicities of people, one ratio per row; once each by default.
        limit: upper discard fraction.

    Returns:
        ``(R,)``; NaN where nothing is missed.
    """
    if weights is None:
        weights = np.ones((1, int(compared.people.max()) + 1))
    worst = np.minimum(quality[compared.pairs[:, 0]], quality[compared.pairs[:, 1]])
    order = np.argsort(worst, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(worst[order])), len(order) - 1)  # ties are discarded together
    weight = weights[:, compared.people[order]]
    gone = np.cumsum(weight, 1)[:, ends]
    errors = np.cumsum(weight * compared.missed[order], 1)[:, ends]
    total, missed = gone[:, -1:], errors[:, -1:]
    zero = np.zeros_like(total)
    gone, errors = (np.concatenate([zero, values[:, :-1]], 1) for values in (gone, errors))
    left = total - gone
    rate = np.divide(missed - errors, left, out=np.zeros_like(left), where=left > 1e-12)
    start = np.divide(gone, total, out=np.zeros_like(gone), where=total > 0)
    end = np.concatenate([start[:, 1:], np.ones_like(total)], 1)
    area = (np.clip(np.minimum(end, limit) - start, 0, None) * rate).sum(1) / limit
    first = rate[:, 0]
    found: Array = np.divide(area, first, out=np.full_like(area, np.nan), where=first > 0)
    return found


def resampled_people(compared: HeldOutPairs, resamples: int = RESAMPLES, seed: int = 0) -> Array:
    """``(R, P)`` multiplicities of people in bootstrap samples; people without mated comparisons have none."""
    present = np.unique(compared.people)
    rng = np.random.default_rng(seed)
    weights = np.zeros((resamples, int(compared.people.max()) + 1))
    for row in weights:
        row[present] = np.bincount(rng.integers(0, len(present), len(present)), minlength=len(present))
    return weights


def difference(compared: HeldOutPairs, method: Array, reference: Array, resamples: int = RESAMPLES) -> Difference:
    """Compare the qualities of two methods, ``(N,)`` each, paired over people."""
    weights = resampled_people(compared, resamples)
    apart = ratios(compared, method, weights) - ratios(compared, reference, weights)
    low, high = np.nanpercentile(apart, [2.5, 97.5])
    return Difference(float(ratios(compared, method)[0] - ratios(compared, reference)[0]), float(low), float(high))
