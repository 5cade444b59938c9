"""Evaluation of quality methods against recognizers (``facegate evaluate``)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from facegate.errors import ConfigError, os_errors
from facegate.evaluation.datasets import FaceSet, Pair, verification_accuracy
from facegate.evaluation.edc import Curve, Mode, bootstrap, compare_all, edc, interval, lower_bound, similarity_at
from facegate.evaluation.methods.base import CHUNK, Loader, QualityMethod
from facegate.evaluation.methods.baselines import ConfidenceQuality, LaplacianQuality, RandomQuality, WidthQuality
from facegate.evaluation.methods.passes import NormQuality, ScorerQuality
from facegate.paths import replacing
from facegate.recognition.embedders import Embedder
from facegate.scoring.families import QUALITIES
from facegate.scoring.network.architecture import AGGREGATIONS, DISTANCES

Progress = Callable[[str, int, int], None]

PLAIN: dict[str, type[QualityMethod]] = {
    "random": RandomQuality,
    "laplacian": LaplacianQuality,
    "width": WidthQuality,
    "confidence": ConfidenceQuality,
}
REFERENCE = "laplacian"
"""Baseline that all methods are compared with, if it is among them: sharpness costs next to nothing."""
OWN = ("default", *QUALITIES)
"""Methods of facegate's own model: the quality of its card, or any of its numbers."""
RESEARCH = {
    "stochastic": "stochastic",
    "grafiqs": "grafiqs",
    "sdd": "sdd:MODEL.onnx",
    "lightqnet": "lightqnet:MODEL.pb",
}
"""Research methods, available in a clone of the repository only, with their syntax."""


class MethodResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """One method against one recognizer."""

    method: str
    problem: str | None = None
    fnmr0: float | None = None
    mean_fnmr: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    against: str | None = None
    """Baseline of the difference of ratios, on the same resamples."""
    difference_low: float | None = None
    difference_high: float | None = None
    discard: list[float] | None = None
    fnmr: list[float] | None = None


class RecognizerResult(msgspec.Struct, frozen=True):
    """One recognizer and all methods."""

    recognizer: str
    verification_accuracy: float | None
    mated: int
    non_mated: int
    similarity: float
    """Similarity threshold at the FMR, for a recognizer's card."""
    fnmr0: float
    oracle_mean_fnmr: float
    methods: tuple[MethodResult, ...]


class Evaluation(msgspec.Struct, frozen=True):
    """Result of ``facegate evaluate``."""

    dataset: str
    pictures: int
    people: int
    degraded_seed: int | None
    fmr: float
    limit: float
    mode: Mode
    recognizers: tuple[RecognizerResult, ...]


class Settings(msgspec.Struct, frozen=True):
    """Settings of an evaluation."""

    fmr: float = 1e-3
    limit: float = 0.3
    mode: Mode = "schlett"
    resamples: int = 200


def make_method(spec: str, load: Loader) -> QualityMethod:
    """Build the method that ``spec`` names.

    ``laplacian``; ``vitnt``; ``vitnt/uniform/0-5/alpha4/cosine``, a variant of the card; ``attention@2``, read
    after block 2; ``estimate@linear`` or ``@monotone``, fused over depth; ``norm:model.onnx``.

    Raises:
        ConfigError: unknown method.
    """
    kind, _, path = spec.partition(":")
    if kind == "norm" and path:
        return NormQuality(Path(path))
    if spec in PLAIN:
        return PLAIN[spec]()
    if spec in OWN:
        return ScorerQuality(load(None if spec == "default" else spec))  # type: ignore[arg-type]
    if spec.startswith("vitnt/"):
        return ScorerQuality(load("vitnt", **_settings(spec)))
    if "@" in kind or kind in RESEARCH:
        return _research_method(spec, load)
    known = [*PLAIN, *OWN, "vitnt/VARIANT", "norm:MODEL.onnx", "NUMBER@BLOCK", *RESEARCH.values()]
    raise ConfigError(f"unknown quality method '{spec}': choose from {', '.join(known)}")


def _research_method(spec: str, load: Loader) -> QualityMethod:
    try:
        from facegate.evaluation.research.factory import make_research_method
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"quality method '{spec}' is a research method, not part of the installed package: run it from a "
            "clone of the repository"
        ) from error
    return make_research_method(spec, load)


def _settings(spec: str) -> dict[str, Any]:
    """Parse a variant such as ``vitnt/uniform/0-5/alpha4/cosine``."""
    settings: dict[str, Any] = {}
    for part in spec.split("/")[1:]:
        first, _, last = part.partition("-")
        if part in AGGREGATIONS:
            settings["aggregation"] = part
        elif part in DISTANCES:
            settings["distance"] = part
        elif first.isdecimal() and last.isdecimal():
            settings["blocks"] = tuple(range(int(first), int(last) + 1))
        elif part.startswith("alpha") and _number(part[5:]) is not None:
            settings["alpha"] = _number(part[5:])
        else:
            raise ConfigError(
                f"invalid variant '{part}' in '{spec}': write for example vitnt/uniform/0-5/alpha4/cosine"
            )
    return settings


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def short_name(spec: str) -> str:
    """Name for tables: ``norm:a`` for ``norm:models/a.onnx``."""
    kind, _, path = spec.partition(":")
    return f"{kind}:{Path(path).stem}" if path else kind


class Results:
    """Caches scores and embeddings on disk by content, so that an interrupted run can continue."""

    def __init__(self, folder: Path, faces: FaceSet, progress: Progress) -> None:
        self._folder = folder
        self._faces = faces
        self._digest = faces.digest
        self._progress = progress

    def quality(self, method: QualityMethod) -> NDArray[np.float64]:
        """Scores ``(N,)`` of a method."""
        return self._kept(
            method.name,
            lambda: method.score(self._faces, lambda done, total: self._progress(method.name, done, total)),
        )

    def embeddings(self, embedder: Embedder) -> NDArray[np.float32]:
        """Unit embeddings ``(N, D)`` of a recognizer."""
        return self._kept(f"embedding:{embedder.version}", lambda: self._embed(embedder)).astype(np.float32)

    def _embed(self, embedder: Embedder) -> NDArray[np.float64]:
        crops, parts = self._faces.crops, []
        for start in range(0, len(crops), CHUNK):
            parts.append(embedder.embed(list(crops[start : start + CHUNK])))
            self._progress(embedder.name, min(start + CHUNK, len(crops)), len(crops))
        return np.concatenate(parts).astype(np.float64)

    def _kept(self, name: str, compute: Callable[[], NDArray[np.float64]]) -> NDArray[np.float64]:
        key = hashlib.sha256(f"{self._digest}:{name}".encode()).hexdigest()[:24]
        path = self._folder / f"{key}.npy"
        if path.is_file():
            kept: NDArray[np.float64] = np.load(path, allow_pickle=False)
            return kept
        values = compute()
        with os_errors(ConfigError, f"cannot write {path}", "give another --cache folder"):
            self._folder.mkdir(parents=True, exist_ok=True)
            with replacing(path, keep_suffix=True) as part:
                np.save(part, values)
        return values


def evaluate_methods(
    embedder: Embedder,
    methods: dict[str, NDArray[np.float64]],
    results: Results,
    faces: FaceSet,
    settings: Settings,
    pairs: list[Pair] | None,
) -> RecognizerResult:
    """Evaluate methods against one recognizer.

    Raises:
        ConfigError: the set has no mated or too few non-mated comparisons.
    """
    embeddings = results.embeddings(embedder)
    comparisons = compare_all(embeddings, faces.names)
    chance = edc(comparisons, np.zeros(len(faces.files)), settings.fmr, settings.limit, settings.mode)
    curves: dict[str, Curve] = {}
    problems: dict[str, str] = {}
    for name, scores in methods.items():
        try:
            curves[name] = edc(comparisons, scores, settings.fmr, settings.limit, settings.mode)
        except ConfigError as error:
            problems[name] = str(error)
    resampled: dict[str, NDArray[np.float64]] = {}
    if settings.mode == "schlett" and settings.resamples and chance.fnmr0 > 0:
        sound = {name: methods[name] for name in curves}
        resampled = bootstrap(comparisons, sound, settings.fmr, limit=settings.limit, resamples=settings.resamples)
    reference = REFERENCE if REFERENCE in resampled else None
    judged = tuple(
        MethodResult(method=name, problem=problems[name])
        if name in problems
        else _method_result(name, curves[name], resampled, reference)
        for name in methods
    )
    return RecognizerResult(
        recognizer=embedder.name,
        verification_accuracy=verification_accuracy(pairs, faces.files, embeddings) if pairs else None,
        mated=len(comparisons.mated),
        non_mated=len(comparisons.non_mated),
        similarity=similarity_at(comparisons, settings.fmr),
        fnmr0=chance.fnmr0,
        oracle_mean_fnmr=lower_bound(chance.fnmr0, settings.limit),
        methods=judged,
    )


def _method_result(
    name: str, curve: Curve, resampled: dict[str, NDArray[np.float64]], reference: str | None
) -> MethodResult:
    around = interval(curve.ratio, resampled[name]) if name in resampled else None
    apart = None
    if reference is not None and name != reference and name in resampled:
        apart = interval(0.0, resampled[name] - resampled[reference])
    return MethodResult(
        method=name,
        fnmr0=curve.fnmr0,
        mean_fnmr=curve.mean_fnmr,
        ratio=curve.ratio if curve.fnmr0 > 0 else None,
        ratio_low=None if around is None else around.low,
        ratio_high=None if around is None else around.high,
        against=reference if apart is not None else None,
        difference_low=None if apart is None else apart.low,
        difference_high=None if apart is None else apart.high,
        discard=[float(x) for x in curve.discard],
        fnmr=[float(x) for x in curve.fnmr],
    )


def plot(evaluation: Evaluation, path: Path) -> None:
    """Draw the curves, one panel per recognizer."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    count = len(evaluation.recognizers)
    figure, panels = pyplot.subplots(1, count, figsize=(6 * count, 4.5), squeeze=False)
    for panel, result in zip(panels[0], evaluation.recognizers, strict=True):
        for method in result.methods:
            if method.discard is not None and method.fnmr is not None:
                label = f"{method.method} ({method.ratio:.2f})" if method.ratio else method.method
                panel.step([*method.discard, 1.0], [*method.fnmr, method.fnmr[-1]], where="post", label=label)
        x = np.linspace(0, evaluation.limit, 50)
        panel.plot(x, np.maximum(0, result.fnmr0 - x) / (1 - x), "k:", label="oracle")
        panel.set(
            xlim=(0, evaluation.limit),
            ylim=(0, 1.5 * result.fnmr0 or 1.0),
            xlabel="fraction of comparisons discarded",
            ylabel=f"FNMR at FMR {evaluation.fmr:g}",
            title=result.recognizer,
        )
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
