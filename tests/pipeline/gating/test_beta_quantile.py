"""Quantiles of the beta distribution, against published values of the Clopper-Pearson and Jeffreys intervals."""

from __future__ import annotations

import pytest

from facegate.pipeline.gating.beta_quantile import beta_quantile, beta_share


@pytest.mark.parametrize(
    ("a", "b", "probability", "value"),
    [
        (1, 10, 0.95, 0.2588656),  # "rule of three": 0 of 10
        (1, 1, 0.3, 0.3),
        (2, 1, 0.25, 0.5),
        (0.5, 0.5, 0.5, 0.5),
        (3, 8, 0.95, 0.5069013),  # upper bound of 2 of 10
        (10.5, 90.5, 0.025, 0.0525847),  # Jeffreys, 10 of 100
        (10.5, 90.5, 0.975, 0.1701239),
    ],
)
def test_known_quantiles(a: float, b: float, probability: float, value: float) -> None:
    assert beta_quantile(a, b, probability) == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize(("a", "b"), [(0.5, 5000.5), (40.5, 4960.5), (2500, 2500), (1, 3000), (3000, 1)])
def test_quantile_and_share_are_inverse(a: float, b: float) -> None:
    for probability in (0.001, 0.025, 0.5, 0.95, 0.999):
        assert beta_share(a, b, beta_quantile(a, b, probability)) == pytest.approx(probability, rel=1e-9)
