"""How often strangers come how near: the tail of a recognizer's non-mated scores, and what it promises.

A face is compared with people *relative to strangers*: from its similarity to a person, the mean similarity to its
nearest strangers in a cohort is taken (adaptive score normalization in its simplest form, on the side of the probe
alone). Some faces are near to everybody; a fixed similarity names them falsely. What is left is nearly the same for
all probes, so that one tail, a generalized Pareto distribution beyond the highest thousandth (Pickands 1975), tells
how often a stranger scores above a limit, and the limit that keeps a promise in a gallery of any size (false
positive identification rate, ISO/IEC 19795-1): ``FPIR = 1 - (1 - rate) ** people``.

A cohort is of means of several people each; nobody can be recognized by it.
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

from facegate.errors import ConfigError, ModelError
from facegate.pipeline.records import Floats

SHARE = 1e-3
"""The tail is what lies above all but this share of the non-mated scores."""
BODY = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002)
"""Rates below the tail whose scores are kept as they are."""
NEAREST_SHARE = 1 / 13
"""Of the cohort, so many are a face's nearest strangers."""
COHORT_MEMBERS = 3
"""People of whom each vector of a cohort is the mean, on average."""
MAX_COHORT = 512
MIN_PEOPLE = 200
MAX_COHORT_BYTES = 64 * 1024 * 1024
SUFFIX, COHORT_SUFFIX = ".tail.yaml", ".cohort.safetensors"


class ScoreTail(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of strangers' scores."""

    model: str
    """What the embedder's version starts with."""
    above: float
    """Score that ``SHARE`` of the non-mated comparisons reach."""
    scale: float
    shape: float
    """Of the generalized Pareto distribution of what lies above; below 0 it ends somewhere."""
    body: tuple[float, ...]
    """Scores at the rates of ``BODY``."""
    median_normalization: float
    """Median of what is taken from a similarity: score + typical is about a similarity."""
    comparisons: int
    """Non-mated comparisons it was fit on."""
    cohort_sha256: str
    source: str

    def rate(self, score: float) -> float:
        """Share of the comparisons with strangers that score at least so much."""
        if score < self.above:
            scores, logs = [*self.body, self.above], [*(math.log(rate) for rate in BODY), math.log(SHARE)]
            return math.exp(float(np.interp(score, scores, logs)))
        beyond = (score - self.above) / self.scale
        if abs(self.shape) < 1e-9:
            return SHARE * math.exp(-beyond)
        base = 1 + self.shape * beyond
        return SHARE * base ** (-1 / self.shape) if base > 0 else 0.0

    def score_at(self, rate: float) -> float:
        """The score that this share of the comparisons with strangers reaches (the inverse of ``rate``)."""
        if rate > SHARE:
            scores, logs = [*self.body, self.above], [*(math.log(rate) for rate in BODY), math.log(SHARE)]
            return float(np.interp(-math.log(rate), [-log for log in logs], scores))
        log = math.log(rate / SHARE)
        if abs(self.shape) < 1e-9:
            return self.above - self.scale * log
        return self.above + self.scale * math.expm1(-self.shape * log) / self.shape


class ImpostorModel(msgspec.Struct, frozen=True, eq=False):
    """A cohort and the tail that was fit with it."""

    tail: ScoreTail
    cohort: Floats
    """``(C, D)``, unit length."""

    def cohort_mean_similarity(self, embeddings: Floats) -> Floats:
        """How near each unit embedding ``(N, D)`` is to its nearest strangers: ``(N,)`` mean similarities."""
        return cohort_mean_similarity(embeddings, self.cohort)


def cohort_mean_similarity(embeddings: Floats, cohort: Floats) -> Floats:
    """Mean similarity of each of ``(N, D)`` to its nearest in ``(C, D)``; ``(N,)``."""
    nearest = max(1, round(len(cohort) * NEAREST_SHARE))
    similarities = embeddings @ cohort.T
    found: Floats = np.partition(similarities, -nearest, axis=1)[:, -nearest:].mean(1)
    return found


def make_cohort(people: Floats, seed: int = 0) -> Floats:
    """Means of neighboring people, ``(C, D)`` of unit length.

    Args:
        people: ``(P, D)`` one unit embedding per person.
        seed: of the clustering.

    Raises:
        ConfigError: too few people.
    """
    from scipy.cluster.vq import kmeans2

    if len(people) < MIN_PEOPLE:
        raise ConfigError(f"a cohort needs {MIN_PEOPLE} or more people; there are {len(people)}")
    count = min(MAX_COHORT, len(people) // COHORT_MEMBERS)
    means = kmeans2(people.astype(np.float64), count, seed=seed, minit="points")[0]
    # As it is kept, so that the tail is fit with the very numbers.
    unit: Floats = (means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)).astype(np.float16)
    return unit.astype(np.float32)


def fit_tail(scores: Floats, *, model: str, typical: float, cohort: Floats, source: str) -> ScoreTail:
    """Fit the tail of non-mated scores ``(N,)``.

    Raises:
        ConfigError: too few to know a tail by.
    """
    from scipy.stats import genpareto

    if len(scores) * SHARE < 100:
        raise ConfigError(f"{len(scores)} comparisons are too few to know their tail by: give more people")
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


def write_impostor_model(strangers: ImpostorModel, folder: Path, name: str) -> tuple[Path, Path]:
    """Write tail and cohort as ``name`` into ``folder``, as :func:`find_impostor_model` finds them; return the files."""
    files = folder / (name + SUFFIX), folder / (name + COHORT_SUFFIX)
    files[1].write_bytes(_pack(strangers.cohort))
    files[0].write_bytes(msgspec.yaml.encode(strangers.tail))
    return files


def find_impostor_model(version: str, name: str, beside: Path | None = None) -> ImpostorModel | None:
    """What is known of a recognizer's strangers; ``None`` where nothing is.

    Args:
        version: of the embedder.
        name: of the embedder.
        beside: its file; what lies beside it is taken before what ships.

    Raises:
        ModelError: it is damaged.
        ConfigError: it is not valid, or lies beside another model's file.
    """
    if beside is not None and beside.with_suffix(SUFFIX).is_file():
        found = _read(beside.with_suffix(SUFFIX), beside.with_suffix(COHORT_SUFFIX))
        if not version.startswith(found.tail.model):
            raise ConfigError(f"{beside.with_suffix(SUFFIX)} was made for another model: make it anew or remove it")
        return found
    cards = resources.files("facegate.recognition") / "cards"
    tail = cards / (name + SUFFIX)
    if "/" in name or not tail.is_file():
        return None
    found = _read(tail, cards / (name + COHORT_SUFFIX))
    return found if version.startswith(found.tail.model) else None


def _read(tail: Any, cohort: Any) -> ImpostorModel:
    try:
        known = msgspec.yaml.decode(tail.read_bytes(), type=ScoreTail)
        content = cohort.read_bytes()
    except msgspec.DecodeError as error:
        raise ConfigError(f"{tail.name} is not valid: {error}") from error
    except OSError as error:
        raise ModelError(f"{tail.name} has no cohort beside it: {cohort.name} cannot be read") from error
    if len(content) > MAX_COHORT_BYTES or hashlib.sha256(content).hexdigest() != known.cohort_sha256:
        raise ModelError(f"{cohort.name} is not the cohort that {tail.name} was made with")
    try:
        vectors: NDArray[Any] = load(content)["cohort"]
    except (SafetensorError, KeyError, ValueError) as error:
        raise ModelError(f"{cohort.name} cannot be read: {error}") from error
    return ImpostorModel(known, vectors.astype(np.float32))


def _pack(cohort: Floats) -> bytes:
    return save({"cohort": np.ascontiguousarray(cohort, dtype=np.float16)})
