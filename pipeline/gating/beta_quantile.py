"""Quantiles of the beta distribution, for confidence intervals of proportions."""

from __future__ import annotations

import math

MAX_TERMS = 10_000
TINY = 1e-300
BISECTIONS = 200


def beta_quantile(a: float, b: float, probability: float) -> float:
    """The value in 0..1 below which a beta distribution has ``probability``; ``a`` and ``b`` above 0."""
    if a == 1:
        return float(1 - (1 - probability) ** (1 / b))
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        if beta_share(a, b, middle) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def beta_share(a: float, b: float, x: float) -> float:
    """Share of a beta distribution below ``x`` (the regularized incomplete beta function)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on the other side
        return 1 - beta_share(b, a, 1 - x)
    log = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log) / (a * _fraction(a, b, x))


def _fraction(a: float, b: float, x: float) -> float:
    """Continued fraction of the incomplete beta function (DLMF 8.17.22), by Lentz's method."""
    value = ratio = 1.0
    below = 0.0
    for term in range(1, MAX_TERMS):
        m = term // 2
        if term % 2:
            step = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            step = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        below = 1 / (1 + step * below or TINY)
        ratio = 1 + step / ratio or TINY
        value *= below * ratio
        if abs(below * ratio - 1) < 1e-15:
            break
    return value
