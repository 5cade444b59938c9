"""Factory of research methods."""

from __future__ import annotations

from pathlib import Path

from facegate.errors import ConfigError
from facegate.evaluation.methods.base import Loader, QualityMethod
from facegate.evaluation.research.baselines import LightQNetQuality, SimilarityQuality
from facegate.evaluation.research.depth import NUMBERS, WEIGHTS, DepthQuality
from facegate.evaluation.research.gradients import GradientQuality
from facegate.evaluation.research.stochastic import StochasticQuality


def make_research_method(spec: str, load: Loader) -> QualityMethod:
    """Build the method that ``spec`` names.

    ``stochastic``; ``grafiqs``; ``sdd:MODEL.onnx``; ``lightqnet:MODEL.pb``; ``attention@2``, read after block 2;
    ``estimate@linear`` or ``@monotone``, fused over depth.

    Raises:
        ConfigError: unknown method.
    """
    kind, _, path = spec.partition(":")
    if "@" in kind:
        return _by_depth(kind, load)
    if kind == "stochastic":
        return StochasticQuality(load())
    if kind == "grafiqs":
        return GradientQuality(load())
    if not path:
        raise ConfigError(f"'{spec}' needs a model: write {kind}:MODEL")
    return SimilarityQuality(path) if kind == "sdd" else LightQNetQuality(Path(path))


def _by_depth(spec: str, load: Loader) -> QualityMethod:
    number, _, what = spec.partition("@")
    found = next((known for known in NUMBERS if known == number), None)
    weights = next((known for known in WEIGHTS if known == what), None)
    if found is None or (weights is None and not what.isdecimal()):
        raise ConfigError(
            f"invalid method '{spec}': write {', '.join(NUMBERS)}, @, and a block or {' or '.join(WEIGHTS)}"
        )
    scorer = load("vitnt", device="cpu", dtype="fp32", backend="torch")
    return DepthQuality(scorer, found, int(what) if weights is None else weights)
