"""Tail of a recognizer's non-mated scores, from which thresholds for a given FPIR follow.

Scores are normalized by a cohort: from a probe's similarity to a person, its mean similarity to the nearest cohort
vectors is subtracted (adaptive score normalization on the probe side alone). Some faces resemble everybody, and a
fixed similarity misidentifies them. Normalized non-mated scores are distributed nearly alike for all probes, so one
tail, a generalized Pareto distribution above the highest thousandth (Pickands 1975), gives the rate above a
threshold, and the threshold for a false-positive identification rate (ISO/IEC 19795-1) in a gallery of any size:
``FPIR = 1 - (1 - rate) ** people``.

Each cohort vector is the mean of several people, so that nobody can be recognized by it.
"""

from __future__ import annotations

import hashlib
import math
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from facegate.errors import ConfigError, ModelError, os_errors
from facegate.paths import decode_yaml, replacing
from facegate.pipeline.records import Floats

SHARE = 1e-3
"""Fraction of the non-mated scores that form the tail."""
BODY = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002)
"""Rates below the tail whose empirical scores are stored."""
NEAREST_SHARE = 1 / 13
"""Fraction of the cohort averaged for the normalization."""
COHORT_MEMBERS = 3
"""Average number of people per cohort vector."""
MAX_COHORT = 512
MIN_PEOPLE = 200
MAX_COHORT_BYTES = 64 * 1024 * 1024
SUFFIX, COHORT_SUFFIX = ".tail.yaml", ".cohort.safetensors"


class ScoreTail(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Distribution of non-mated scores."""

    model: str
    """Prefix of the embedder's version."""
    above: float
    """Score exceeded by ``SHARE`` of the non-mated comparisons."""
    scale: float
    shape: float
    """Shape of the generalized Pareto distribution of the excess; below 0 it is bounded."""
    body: tuple[float, ...]
    """Scores at the rates of ``BODY``."""
    median_normalization: float
    """Median normalization: a score plus this is roughly a similarity."""
    comparisons: int
    """Number of non-mated comparisons it was fitted to."""
    cohort_sha256: str
    source: str

    def rate(self, score: float) -> float:
        """Fraction of non-mated comparisons with at least this score."""
        if score < self.above:
            scores, logs = [*self.body, self.above], [*(math.log(rate) for rate in BODY), math.log(SHARE)]
            return math.exp(float(np.interp(score, scores, logs)))
        beyond = (score - self.above) / self.scale
        if abs(self.shape) < 1e-9:
            return SHARE * math.exp(-beyond)
        base = 1 + self.shape * beyond
        return SHARE * base ** (-1 / self.shape) if base > 0 else 0.0

    def score_at(self, rate: float) -> float:
        """Score reached by this fraction of non-mated comparisons (inverse of ``rate``)."""
        if rate > SHARE:
            scores, logs = [*self.body, self.above], [*(math.log(rate) for rate in BODY), math.log(SHARE)]
            return float(np.interp(-math.log(rate), [-log for log in logs], scores))
        log = math.log(rate / SHARE)
        if abs(self.shape) < 1e-9:
            return self.above - self.scale * log
        return self.above + self.scale * math.expm1(-self.shape * log) / self.shape


class ImpostorModel(msgspec.Struct, frozen=True, eq=False):
    """A cohort and the score tail fitted with it."""

    tail: ScoreTail
    cohort: Floats
    """``(C, D)``, unit length."""

    def cohort_mean_similarity(self, embeddings: Floats) -> Floats:
        """See :func:`cohort_mean_similarity`."""
        return cohort_mean_similarity(embeddings, self.cohort)


def cohort_mean_similarity(embeddings: Floats, cohort: Floats) -> Floats:
    """Mean similarity ``(N,)`` of unit embeddings ``(N, D)`` to their nearest cohort vectors of ``(C, D)``."""
    nearest = max(1, round(len(cohort) * NEAREST_SHARE))
    similarities = embeddings @ cohort.T
    found: Floats = np.partition(similarities, -nearest, axis=1)[:, -nearest:].mean(1)
    return found


def make_cohort(people: Floats, seed: int = 0) -> Floats:
    """Cluster people into cohort vectors, ``(C, D)`` of unit length.

    Args:
        people: ``(P, D)`` one unit embedding per person.
        seed: seed of the clustering.

    Raises:
        ConfigError: fewer than ``MIN_PEOPLE``.
    """
    from scipy.cluster.vq import kmeans2

    if len(people) < MIN_PEOPLE:
        raise ConfigError(f"a cohort needs at least {MIN_PEOPLE} people, got {len(people)}: give more people")
    count = min(MAX_COHORT, len(people) // COHORT_MEMBERS)
    means = kmeans2(people.astype(np.float64), count, seed=seed, minit="points")[0]
    # As stored, so that the tail is fitted with the same values.
    unit: Floats = (means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)).astype(np.float16)
    return unit.astype(np.float32)


def fit_tail(scores: Floats, *, model: str, typical: float, cohort: Floats, source: str) -> ScoreTail:
    """Fit the tail to non-mated scores ``(N,)``.

    Raises:
        ConfigError: too few scores.
    """
    from scipy.stats import genpareto

    if len(scores) * SHARE < 100:
        raise ConfigError(f"{len(scores)} comparisons are too few to fit a tail: give more people")
    above = float(np.quantile(scores, 1 - SHARE))
    shape, _, scale = genpareto.fit(scores[scores > above].astype(float) - above, floc=0)
    return ScoreTail(
        model=model,
        above=round(above, 5),
        scale=round(float(scale), 5),
        shape=round(float(shape), 5),
        body=tuple(round(float(value), 5) for value in np.quantile(scores, [1 - rate for rate in BODY])),
        median_normalization=round(typical, 5),
        comparisons=len(scores),
        cohort_sha256=hashlib.sha256(_pack(cohort)).hexdigest(),
        source=source,
    )


def write_impostor_model(impostors: ImpostorModel, folder: Path, name: str) -> tuple[Path, Path]:
    """Write tail and cohort into ``folder`` where :func:`find_impostor_model` finds them; return the files."""
    files = folder / (name + SUFFIX), folder / (name + COHORT_SUFFIX)
    for file, content in zip(files, (msgspec.yaml.encode(impostors.tail), _pack(impostors.cohort)), strict=True):
        with os_errors(ConfigError, f"cannot write {file}"), replacing(file) as part:
            part.write_bytes(content)
    return files


def find_impostor_model(version: str, name: str, beside: Path | None = None) -> ImpostorModel | None:
    """Load the impostor model of an embedder; ``None`` if there is none.

    Args:
        version: version of the embedder.
        name: name of the embedder.
        beside: file of the embedder; an impostor model beside it takes precedence over a shipped one.

    Raises:
        ModelError: it is damaged.
        ConfigError: it is invalid, or of another embedder.
    """
    if beside is not None and beside.with_suffix(SUFFIX).is_file():
        found = _read(beside.with_suffix(SUFFIX), beside.with_suffix(COHORT_SUFFIX))
        if not version.startswith(found.tail.model):
            raise ConfigError(
                f"{beside.with_suffix(SUFFIX)} belongs to another model: measure it again or remove it"
            )
        return found
    cards = resources.files("facegate.recognition") / "cards"
    tail = cards / (name + SUFFIX)
    if "/" in name or not tail.is_file():
        return None
    found = _read(tail, cards / (name + COHORT_SUFFIX))
    return found if version.startswith(found.tail.model) else None


def _read(tail: Any, cohort: Any) -> ImpostorModel:
    try:
        known = decode_yaml(tail.read_bytes(), ScoreTail)
        content = cohort.read_bytes()
    except msgspec.DecodeError as error:
        raise ConfigError(f"invalid {tail.name}: {error}") from error
    except OSError as error:
        raise ModelError(
            f"cannot read {cohort.name}, the cohort of {tail.name}: put it beside that file"
        ) from error
    if len(content) > MAX_COHORT_BYTES or hashlib.sha256(content).hexdigest() != known.cohort_sha256:
        raise ModelError(f"{cohort.name} does not match {tail.name}: restore both files")
    try:
        vectors: NDArray[Any] = load(content)["cohort"]
    except (SafetensorError, KeyError, ValueError) as error:
        raise ModelError(f"cannot read {cohort.name}: {error}") from error
    return ImpostorModel(known, vectors.astype(np.float32))


def _pack(cohort: Floats) -> bytes:
    return save({"cohort": np.ascontiguousarray(cohort, dtype=np.float16)})
