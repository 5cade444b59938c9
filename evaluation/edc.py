"""Error-versus-discard characteristic: false non-match rate when the worst samples are discarded.

A pair's quality is the minimum of its two samples'. Two modes:

- ``schlett`` (Schlett et al., arXiv 2303.13294): the threshold is fixed once, on all non-mated comparisons, for the
  given FMR; only mated comparisons are discarded, lowest quality first, equal qualities together.
- ``crfiqa`` (as in the figures of CR-FIQA and ViTNT-FIQA): that fraction of *all* comparisons is discarded, and the
  threshold is set again on the rest.

Intervals come from a bootstrap over identities; two methods are compared by their difference within each resample.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array

from facegate.errors import ConfigError

Mode = Literal["schlett", "crfiqa"]
Array = NDArray[np.float64]
CRFIQA_STEPS = np.arange(20) * 0.05
PAIRS_PER_ERROR = 10
"""Non-mated comparisons needed to resolve an FMR, as a multiple of 1/FMR."""
TOP_SHARE = 20.0
"""Non-mated comparisons kept for thresholds, as a multiple of the FMR; resampling rarely needs more."""


class Comparisons(msgspec.Struct, frozen=True, eq=False):
    """All comparisons within a set of ``N`` samples; non-mated ones sorted by descending similarity."""

    identities: NDArray[np.int64]
    """``(N,)`` 0-based identity of each sample."""
    mated: Array
    """``(M,)`` similarities."""
    mated_pairs: NDArray[np.int64]
    """``(M, 2)`` sample indices."""
    non_mated: Array
    """``(K,)`` similarities, descending."""
    non_mated_pairs: NDArray[np.int64]
    """``(K, 2)`` sample indices."""


class Curve(msgspec.Struct, frozen=True, eq=False):
    """An error-versus-discard curve."""

    discard: Array
    """Discarded fractions at which the rate changes, from 0."""
    fnmr: Array
    """Rate from each fraction on."""
    fnmr0: float
    mean_fnmr: float
    """Area under the curve up to the limit, divided by the limit."""
    limit: float

    @property
    def ratio(self) -> float:
        """Mean FNMR up to the limit over the FNMR without discarding: 1 is useless, lower is better."""
        return self.mean_fnmr / self.fnmr0 if self.fnmr0 > 0 else float("nan")


class Interval(msgspec.Struct, frozen=True):
    """A bootstrap interval (2.5 % to 97.5 %) around a value."""

    value: float
    low: float
    high: float


def compare_all(embeddings: NDArray[np.float32], names: list[str]) -> Comparisons:
    """Compare every sample with every other.

    Args:
        embeddings: ``(N, D)`` unit rows.
        names: ``N`` identities.

    Raises:
        ConfigError: embeddings that are not finite, or no mated or no non-mated comparison.
    """
    if not np.isfinite(embeddings).all():
        raise ConfigError("some embeddings are not finite: remove those pictures")
    identities = np.unique(names, return_inverse=True)[1].astype(np.int64)
    first, second = np.triu_indices(len(names), 1)
    similarity = (embeddings @ embeddings.T)[first, second].astype(np.float64)
    same = identities[first] == identities[second]
    if not same.any() or same.all():
        missing = "two pictures of one person" if not same.any() else "a second person"
        raise ConfigError(f"an error rate needs mated and non-mated comparisons: add {missing}")
    order = np.argsort(-similarity[~same], kind="stable")
    pairs = np.column_stack([first, second])
    return Comparisons(
        identities=identities,
        mated=similarity[same],
        mated_pairs=pairs[same],
        non_mated=similarity[~same][order],
        non_mated_pairs=pairs[~same][order],
    )


def check_fmr(comparisons: Comparisons, fmr: float) -> None:
    """Check that the non-mated comparisons can resolve an FMR.

    Raises:
        ConfigError: too few comparisons.
    """
    needed = round(PAIRS_PER_ERROR / fmr)
    if len(comparisons.non_mated) < needed:
        raise ConfigError(
            f"FMR {fmr:g} needs {needed} non-mated comparisons, got {len(comparisons.non_mated)}: "
            "use a higher FMR or add people"
        )


def pair_quality(quality: NDArray[np.float64], pairs: NDArray[np.int64]) -> Array:
    """Return the minimum of the two samples' qualities, ``(P,)``."""
    return np.minimum(quality[pairs[:, 0]], quality[pairs[:, 1]])


def edc(
    comparisons: Comparisons, quality: NDArray[np.float64], fmr: float, limit: float = 0.3, mode: Mode = "schlett"
) -> Curve:
    """Return the curve of a quality method.

    Args:
        comparisons: of ``N`` samples.
        quality: ``(N,)``, higher is better.
        fmr: false match rate of the threshold.
        limit: upper discard fraction of the averaged FNMR.
        mode: see the module.

    Raises:
        ConfigError: qualities missing or not finite, or an FMR that cannot be resolved.
    """
    quality = np.asarray(quality, dtype=np.float64)
    if quality.shape != comparisons.identities.shape or not np.isfinite(quality).all():
        bad = int((~np.isfinite(quality)).sum())
        raise ConfigError(
            f"{bad} of {quality.size} qualities are not finite; {len(comparisons.identities)} finite ones needed"
        )
    threshold = similarity_at(comparisons, fmr)
    if mode == "crfiqa":
        return _crfiqa(comparisons, quality, fmr, limit)
    weights = np.ones(int(comparisons.identities.max()) + 1)
    return _MatedOrder(comparisons, quality).curve(threshold, weights, limit)


def similarity_at(comparisons: Comparisons, fmr: float) -> float:
    """Return the similarity threshold for a false match rate; matches exceed it.

    Raises:
        ConfigError: an FMR that cannot be resolved.
    """
    check_fmr(comparisons, fmr)
    return _Thresholds(comparisons, fmr).at(np.ones(int(comparisons.identities.max()) + 1))


class _Thresholds:
    """Similarity thresholds for any weights of the identities."""

    def __init__(self, comparisons: Comparisons, fmr: float) -> None:
        self._fmr = fmr
        pairs = comparisons.identities[comparisons.non_mated_pairs]
        people = int(comparisons.identities.max()) + 1
        # Number of comparisons of each pair of people: gives the total for any weights without enumerating all.
        self._counts = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (people, people)).tocsr()
        top = min(len(comparisons.non_mated), int(len(comparisons.non_mated) * fmr * TOP_SHARE) + 10)
        self._all = comparisons
        self._prepare(top)

    def _prepare(self, top: int) -> None:
        self._similarity = self._all.non_mated[:top]
        self._identities = self._all.identities[self._all.non_mated_pairs[:top]]

    def at(self, weights: Array) -> float:
        allowed = self._fmr * float(weights @ (self._counts @ weights))
        while True:
            cumulated = np.cumsum(weights[self._identities[:, 0]] * weights[self._identities[:, 1]])
            index = int(np.searchsorted(cumulated, allowed + 1e-9, side="right"))
            if index < len(cumulated):
                return float(self._similarity[index])
            if len(cumulated) == len(self._all.non_mated):
                return -np.inf
            self._prepare(min(len(self._all.non_mated), 4 * len(cumulated)))


class _MatedOrder:
    """Mated comparisons sorted by quality, with the boundaries of equal qualities."""

    def __init__(self, comparisons: Comparisons, quality: Array) -> None:
        pairs = pair_quality(quality, comparisons.mated_pairs)
        order = np.argsort(pairs, kind="stable")
        self._similarity = comparisons.mated[order]
        self._identity = comparisons.identities[comparisons.mated_pairs[order, 0]]
        ranked = pairs[order]
        self._group_ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)

    def curve(self, threshold: float, weights: Array, limit: float) -> Curve:
        weight = weights[self._identity]
        missed = weight * (self._similarity <= threshold)
        total, errors = weight.sum(), missed.sum()
        gone = np.cumsum(weight)[self._group_ends[:-1]]
        gone_errors = np.cumsum(missed)[self._group_ends[:-1]]
        discard = np.concatenate([[0.0], gone / total])
        left = total - np.concatenate([[0.0], gone])
        fnmr = np.divide(
            errors - np.concatenate([[0.0], gone_errors]), left, out=np.zeros_like(left), where=left > 1e-12
        )
        return _curve(discard, fnmr, limit)


def _curve(discard: Array, fnmr: Array, limit: float) -> Curve:
    """Step function: each rate holds until the next fraction."""
    ends = np.append(discard[1:], 1.0)
    widths = np.clip(np.minimum(ends, limit) - discard, 0.0, None)
    return Curve(discard, fnmr, float(fnmr[0]), float((widths * fnmr).sum() / limit), limit)


def _crfiqa(comparisons: Comparisons, quality: Array, fmr: float, limit: float) -> Curve:
    mated_quality = pair_quality(quality, comparisons.mated_pairs)
    other_quality = pair_quality(quality, comparisons.non_mated_pairs)
    ranked = np.sort(np.concatenate([mated_quality, other_quality]))
    rates = []
    for share in CRFIQA_STEPS:
        cut = ranked[int(share * len(ranked))]
        mated = comparisons.mated[mated_quality >= cut]
        others = comparisons.non_mated[other_quality >= cut]
        if not len(mated) or not len(others):
            break
        # The nearest attainable rate; the lower one of a tie.
        position = min(max(int(np.ceil(fmr * len(others) - 0.5)), 1), len(others)) - 1
        threshold = np.arccos(np.clip(others[position], -1, 1)) / np.pi
        rates.append(float((np.arccos(np.clip(mated, -1, 1)) / np.pi >= threshold).mean()))
    discard: Array = CRFIQA_STEPS[: len(rates)].astype(np.float64)
    fnmr: Array = np.array(rates, dtype=np.float64)
    inside = discard <= limit + 1e-9
    area = float(np.trapezoid(fnmr[inside], discard[inside]))
    return Curve(discard, fnmr, rates[0], area / limit, limit)


def lower_bound(fnmr0: float, limit: float = 0.3, steps: int = 3001) -> float:
    """Mean FNMR of a perfect oracle up to ``limit``: ``max(0, FNMR0 - x) / (1 - x)``."""
    x = np.linspace(0.0, limit, steps)
    return float(np.trapezoid(np.maximum(0.0, fnmr0 - x) / (1 - x), x) / limit)


def bootstrap(
    comparisons: Comparisons,
    qualities: dict[str, Array],
    fmr: float,
    *,
    limit: float = 0.3,
    resamples: int = 200,
    seed: int = 0,
) -> dict[str, Array]:
    """Resample identities; return each method's ratio per resample, ``(resamples,)``, paired across methods."""
    check_fmr(comparisons, fmr)
    thresholds = _Thresholds(comparisons, fmr)
    orders = {name: _MatedOrder(comparisons, quality) for name, quality in qualities.items()}
    people = int(comparisons.identities.max()) + 1
    rng = np.random.default_rng(seed)
    ratios: dict[str, list[float]] = {name: [] for name in qualities}
    for _ in range(resamples):
        weights = np.bincount(rng.integers(0, people, people), minlength=people).astype(np.float64)
        threshold = thresholds.at(weights)
        for name, order in orders.items():
            ratios[name].append(order.curve(threshold, weights, limit).ratio)
    return {name: np.array(values) for name, values in ratios.items()}


def interval(value: float, resampled: Array) -> Interval:
    """Percentile interval of resampled values."""
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return Interval(value, float(low), float(high))


def suspects(comparisons: Comparisons, *, near: float = 0.98, alike: float = 0.6) -> tuple[Array, Array]:
    """Return possible label noise: near-duplicate mated ``(P, 2)`` and look-alike non-mated ``(Q, 2)`` pairs."""
    return (
        comparisons.mated_pairs[comparisons.mated > near].astype(np.float64),
        comparisons.non_mated_pairs[comparisons.non_mated > alike].astype(np.float64),
    )
