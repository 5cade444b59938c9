"""People held apart: nobody sets their own threshold, and verdicts follow the interval over people."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from facegate.errors import ConfigError
from facegate.evaluation.edc import compare_all, edc
from facegate.evaluation.held_out import compare_held_out, difference, fold_of, ratios

FMR = 1e-2


def people(
    count: int, each: int, spread: NDArray[np.float64], seed: int = 0
) -> tuple[NDArray[np.float32], list[str]]:
    """Unit embeddings of ``count`` people with ``each`` samples, ``spread`` ``(count * each,)`` away from them."""
    rng = np.random.default_rng(seed)
    centers = np.repeat(rng.normal(size=(count, 64)), each, 0)
    rows = centers + spread[:, None] * rng.normal(size=(count * each, 64))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), [
        f"p{i // each}" for i in range(count * each)
    ]


def test_with_one_threshold_for_all_it_is_the_error_versus_discard_curve() -> None:
    spread = np.random.default_rng(1).uniform(0.5, 2.5, 300)
    embeddings, names = people(100, 3, spread)
    quality = -np.round(spread, 1)  # with ties
    whole = edc(compare_all(embeddings, names), quality, FMR)
    held = compare_held_out(embeddings, names, FMR)
    assert held.fnmr == pytest.approx(whole.fnmr0, abs=0.02)
    assert ratios(held, quality)[0] == pytest.approx(whole.ratio, abs=0.03)
    assert ratios(held, np.zeros(300))[0] == pytest.approx(1)


def test_nobody_sets_their_own_threshold() -> None:
    """Pictures of twins under two names raise the threshold of all folds but their own."""
    embeddings, names = people(60, 4, np.full(240, 1.2))
    twin = next(i for i in range(1, 60) if fold_of(f"p{i}") == fold_of("p0"))
    before = compare_held_out(embeddings, names, FMR)
    embeddings[4 * twin : 4 * twin + 4] = embeddings[:4]
    after = compare_held_out(embeddings, names, FMR)
    own, other = (np.isin(after.people, np.unique(names).searchsorted(["p0"])) for _ in range(2))
    np.testing.assert_array_equal(before.missed[own], after.missed[own])
    assert after.missed[~other].sum() >= before.missed[~other].sum()


def test_frames_of_one_clip_are_not_compared() -> None:
    embeddings, names = people(40, 4, np.full(160, 0.5))
    sources = [f"{name}-{i % 4 // 2}" for i, name in enumerate(names)]
    held = compare_held_out(embeddings, names, FMR, sources=sources)
    assert len(held.pairs) == 40 * 4
    assert all(sources[a] != sources[b] and names[a] == names[b] for a, b in held.pairs)


def test_a_verdict_needs_an_interval_that_excludes_zero() -> None:
    spread = np.random.default_rng(2).uniform(0.5, 2.5, 600)
    embeddings, names = people(200, 3, spread)
    held = compare_held_out(embeddings, names, FMR)
    rng = np.random.default_rng(3)
    good, noise = -spread + rng.normal(0, 0.1, 600), rng.normal(size=600)
    assert difference(held, good, noise).verdict == "clearly better"
    assert difference(held, noise, good).verdict == "clearly worse"
    assert difference(held, good, -spread + rng.normal(0, 0.1, 600)).verdict == "level"


def test_what_cannot_be_judged_is_refused() -> None:
    embeddings, names = people(20, 2, np.full(40, 1.0))
    with pytest.raises(ConfigError, match="non-mated comparisons"):
        compare_held_out(embeddings, names, 1e-5)
    with pytest.raises(ConfigError, match="mated comparisons"):
        compare_held_out(embeddings, names, FMR, sources=names)
