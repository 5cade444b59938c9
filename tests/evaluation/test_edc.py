"""Error versus discard: tiny cases by hand, and a brute-force version for the rest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from facegate.errors import ConfigError
from facegate.evaluation.edc import (
    Comparisons,
    bootstrap,
    compare_all,
    edc,
    interval,
    lower_bound,
    similarity_at,
    suspects,
)


def made(mated: list[float], non_mated: list[float]) -> Comparisons:
    """Two samples per mated comparison, each pair a person; non-mated comparisons between the first two people."""
    count = len(mated)
    order = np.argsort(-np.array(non_mated), kind="stable")
    return Comparisons(
        identities=np.repeat(np.arange(max(count, 2)), 2),
        mated=np.array(mated),
        mated_pairs=np.array([(2 * i, 2 * i + 1) for i in range(count)]),
        non_mated=np.array(non_mated)[order],
        non_mated_pairs=np.array([(0, 2)] * len(non_mated)),
    )


def test_a_case_by_hand() -> None:
    # Ten of 100 non-mated comparisons may match at FMR 0.1: the threshold is the eleventh, 0.89.
    comparisons = made([0.95, 0.5, 0.92, 0.3], [1 - i / 100 for i in range(100)])
    quality = np.repeat([3.0, 1.0, 4.0, 2.0], 2)
    curve = edc(comparisons, quality, 0.1, limit=0.5)
    np.testing.assert_allclose(curve.discard, [0, 0.25, 0.5, 0.75])
    np.testing.assert_allclose(curve.fnmr, [2 / 4, 1 / 3, 0, 0])
    assert curve.mean_fnmr == pytest.approx((0.25 * 0.5 + 0.25 / 3) / 0.5)


def test_the_similarity_for_a_card_lets_just_the_allowed_share_through() -> None:
    comparisons, _ = people(np.random.default_rng(0))
    for fmr in (0.01, 0.05):
        at = similarity_at(comparisons, fmr)
        share = float((comparisons.non_mated > at).mean())
        assert share <= fmr < share + 2 / len(comparisons.non_mated)
    with pytest.raises(ConfigError, match="non-mated comparisons"):
        similarity_at(comparisons, 1e-6)


def test_equal_qualities_go_together_whatever_their_order() -> None:
    others = [1 - i / 100 for i in range(100)]
    for mated in ([0.95, 0.5, 0.92], [0.5, 0.92, 0.95], [0.92, 0.95, 0.5]):
        curve = edc(made(mated, others), np.ones(6), 0.1)
        np.testing.assert_allclose(curve.discard, [0.0])
        assert curve.ratio == 1.0


def test_a_pairs_quality_is_its_worse_samples() -> None:
    comparisons = made([0.95, 0.5], [1 - i / 100 for i in range(100)])
    curve = edc(comparisons, np.array([5.0, 2.0, 9.0, 1.0]), 0.1)
    np.testing.assert_allclose(curve.fnmr, [0.5, 0.0])


def brute_force(comparisons: Comparisons, quality: NDArray[np.float64], fmr: float, limit: float) -> float:
    allowed = int(fmr * len(comparisons.non_mated) + 1e-9)
    threshold = sorted(comparisons.non_mated, reverse=True)[allowed]
    pairs = [
        (min(quality[a], quality[b]), s)
        for (a, b), s in zip(comparisons.mated_pairs, comparisons.mated, strict=True)
    ]
    steps = []
    for level in [-np.inf, *sorted({q for q, _ in pairs})]:
        left = [s for q, s in pairs if q > level]
        if left:
            steps.append((1 - len(left) / len(pairs), sum(s <= threshold for s in left) / len(left)))
    area = 0.0
    for (x, rate), end in zip(steps, [x for x, _ in steps[1:]] + [1.0], strict=True):
        area += max(0.0, min(end, limit) - x) * rate
    return area / limit


@settings(max_examples=150)
@given(
    st.integers(0, 10**6), st.sampled_from([0.1, 0.2, 0.33]), st.sampled_from([0.2, 0.3, 1.0]), st.integers(1, 6)
)
def test_the_vectorized_curve_equals_brute_force(seed: int, fmr: float, limit: float, levels: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"p{i}" for i in rng.integers(0, 6, 24)]
    rows = rng.normal(size=(24, 3)).round(1).astype(np.float32)
    comparisons = compare_all(rows, names)
    quality = rng.integers(0, levels, 24).astype(float)
    assert edc(comparisons, quality, fmr, limit).mean_fnmr == pytest.approx(
        brute_force(comparisons, quality, fmr, limit), abs=1e-12
    )


def brute_force_crfiqa(comparisons: Comparisons, quality: NDArray[np.float64], fmr: float, share: float) -> float:
    everything = [
        (min(quality[a], quality[b]), s, mated)
        for pairs, scores, mated in (
            (comparisons.mated_pairs, comparisons.mated, True),
            (comparisons.non_mated_pairs, comparisons.non_mated, False),
        )
        for (a, b), s in zip(pairs, scores, strict=True)
    ]
    cut = sorted(q for q, _, _ in everything)[int(share * len(everything))]
    kept = [(np.arccos(np.clip(s, -1, 1)) / np.pi, mated) for q, s, mated in everything if q >= cut]
    impostors = sorted(d for d, mated in kept if not mated)
    candidates = [(round(abs((i + 1) / len(impostors) - fmr), 9), i) for i in range(len(impostors))]
    threshold = impostors[min(candidates)[1]]
    genuine = [d for d, mated in kept if mated]
    return sum(d >= threshold for d in genuine) / len(genuine)


@settings(max_examples=60)
@given(st.integers(0, 10**6))
def test_the_crfiqa_mode_sets_its_threshold_anew_at_every_share(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(30, 4)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    comparisons = compare_all(rows, [f"p{i}" for i in rng.integers(0, 5, 30)])
    quality = rng.normal(size=30)
    curve = edc(comparisons, quality, 0.1, mode="crfiqa")
    for share, rate in list(zip(curve.discard, curve.fnmr, strict=True))[:8]:
        assert rate == pytest.approx(brute_force_crfiqa(comparisons, quality, 0.1, share))


def people(rng: np.random.Generator, count: int = 60, each: int = 4) -> tuple[Comparisons, NDArray[np.float64]]:
    """Noisy samples of people; quality is how little noise a sample has."""
    centers = rng.normal(size=(count, 16)).repeat(each, 0)
    noise = rng.choice([0.3, 1.4], count * each, p=[0.8, 0.2]) * rng.uniform(0.9, 1.1, count * each)
    rows = centers + noise[:, None] * rng.normal(size=centers.shape)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return compare_all(rows.astype(np.float32), [f"p{i // each}" for i in range(count * each)]), -noise


def test_true_quality_beats_chance_with_an_interval_clear_of_zero() -> None:
    rng = np.random.default_rng(5)
    comparisons, quality = people(rng)
    random = rng.normal(size=quality.shape)
    curve, chance = edc(comparisons, quality, 0.01), edc(comparisons, random, 0.01)
    assert curve.ratio < 0.8 < chance.ratio
    assert lower_bound(curve.fnmr0) <= curve.mean_fnmr
    resampled = bootstrap(comparisons, {"true": quality, "random": random}, 0.01, resamples=100)
    difference = interval(curve.ratio - chance.ratio, resampled["true"] - resampled["random"])
    assert difference.high < 0
    inside = interval(curve.ratio, resampled["true"])
    assert inside.low < curve.ratio < inside.high


def test_a_resample_of_everybody_once_is_the_curve_itself() -> None:
    comparisons, quality = people(np.random.default_rng(1))
    from facegate.evaluation.edc import _MatedOrder, _Thresholds

    weights = np.ones(60)
    curve = _MatedOrder(comparisons, quality).curve(_Thresholds(comparisons, 0.01).at(weights), weights, 0.3)
    assert curve.mean_fnmr == edc(comparisons, quality, 0.01).mean_fnmr


def test_what_cannot_be_judged_is_refused_with_the_reason() -> None:
    rows = np.eye(4, dtype=np.float32)
    with pytest.raises(ConfigError, match="two pictures of one person"):
        compare_all(rows, ["a", "b", "c", "d"])
    with pytest.raises(ConfigError, match="a second person"):
        compare_all(rows, ["a"] * 4)
    with pytest.raises(ConfigError, match="not finite"):
        compare_all(rows * np.nan, ["a", "a", "b", "b"])
    comparisons = compare_all(rows, ["a", "a", "b", "b"])
    with pytest.raises(ConfigError, match=r"FMR 0\.001 needs 10000 non-mated comparisons, got 4"):
        edc(comparisons, np.ones(4), 1e-3)
    many = made([0.9, 0.8], [i / 100 for i in range(100)])
    with pytest.raises(ConfigError, match="1 of 4 qualities are not finite"):
        edc(many, np.array([1.0, np.nan, 1.0, 1.0]), 0.1)


def test_duplicates_and_look_alikes_are_listed() -> None:
    comparisons = made([0.999, 0.5], [0.7, 0.1])
    near, alike = suspects(comparisons)
    assert near.tolist() == [[0, 1]] and len(alike) == 1
