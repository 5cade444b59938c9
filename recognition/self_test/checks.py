"""Checks whether a recognizer gets the input that it expects, and says what to change."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
import numpy as np

from facegate.detectors.reference_faces import reference_crops, reference_faces
from facegate.errors import ModelError
from facegate.pipeline.records import Floats
from facegate.recognition.embedders import Embedder, OnnxEmbedder, shipped_cards
from facegate.recognition.self_test.candidates import Candidate, candidates
from facegate.recognition.self_test.relations import (
    CLEAR,
    Relations,
    is_better,
    mean_similarity,
    reason,
    relations,
)
from facegate.scoring.backend_selection import cache_folder

REVISION = 1
"""Changes with whatever changes a verdict; passed self-tests of another revision are repeated."""
MIN_SEPARATION = 3.0
MIN_ALIVE = 0.75
"""Share of the outputs that have to differ between faces."""
ALIKE = 0.75
"""Mean similarity of different people from which everybody looks alike to a network."""


class CardTrial(msgspec.Struct, frozen=True):
    """A card and what came of it."""

    candidate: Candidate
    relations: Relations


def check_recognizer(embedder: Embedder, device: str = "cpu") -> None:
    """Refuse a recognizer that does not tell the reference faces apart, or to which another input suits better.

    A passed test is remembered for this network, card and device.

    Raises:
        ModelError: what is wrong, and what to change.
    """
    key = hashlib.sha256(f"{REVISION}:{device}:{embedder.version}".encode()).hexdigest()[:32]
    passed = cache_folder() / "self-tests" / key
    if passed.is_file():
        return
    problem = find_problem(embedder)
    if problem is not None:
        raise ModelError(f"recognizer '{embedder.name}' failed its self-test: {problem}")
    try:
        passed.parent.mkdir(parents=True, exist_ok=True)
        passed.touch()
    except OSError:
        return  # it is tested again at the next start


def find_problem(embedder: Embedder) -> str | None:
    """What is wrong with a recognizer or its input; ``None`` if nothing is."""
    people, crops = len(reference_faces()), reference_crops()
    rows = embedder.raw(crops) if isinstance(embedder, OnnxEmbedder) else embedder.embed(crops)
    problem = _outputs(rows)
    if problem is not None:
        return problem
    own = relations(rows, people)
    if isinstance(embedder, OnnxEmbedder) and embedder.card not in shipped_cards():
        better = best_change(embedder, own)
        if better is not None:
            return f"{better.candidate.change} ({reason(own, better.relations)})"
    if own.non_mated > ALIKE:
        return f"everybody looks alike to it (mean similarity {own.non_mated:.2f}): check its preprocessing"
    if own.separation < MIN_SEPARATION:
        return (
            f"it hardly tells people apart (separation {own.separation:.1f}): it is no face recognizer, or damaged"
        )
    return None


def best_change(embedder: OnnxEmbedder, own: Relations) -> CardTrial | None:
    """The best of the cards that clearly suit a network better than its own; ``None`` if there is none."""
    usable = (trial for trial in trials(embedder) if trial.relations.separation >= MIN_SEPARATION)
    better = [trial for trial in usable if is_better(own, trial.relations, CLEAR)]
    return best_of(better) if better else None


def best_of(found: Sequence[CardTrial]) -> CardTrial:
    """The trial with which a network tells people apart best; of equal ones, that with most evidence."""
    best = found[0]
    for trial in found[1:]:
        if is_better(best.relations, trial.relations):
            best = trial
    return best


def trials(embedder: OnnxEmbedder) -> list[CardTrial]:
    """Every card among the candidates whose input the network accepts."""
    found = []
    for candidate in candidates(embedder.card):
        found += measured(embedder, candidate)
    return found


def measured(embedder: OnnxEmbedder, candidate: Candidate) -> list[CardTrial]:
    """The trial of a card; empty if the network does not accept its input, or its output is useless."""
    crops, people = reference_crops(), len(reference_faces())
    step = len(crops) // people
    network = embedder.with_card(candidate.card)
    try:
        plain = network.raw(crops[::step])
        # Most wrong inputs make everybody alike, which the faces as they are show.
        if _outputs(plain) or mean_similarity(plain) > ALIKE:
            return []
        others = network.raw([crop for index, crop in enumerate(crops) if index % step])
    except ModelError:
        return []
    rows = np.concatenate([plain[:, None], others.reshape(people, step - 1, -1)], axis=1).reshape(len(crops), -1)
    return [] if _outputs(rows) else [CardTrial(candidate, relations(rows, people))]


def _outputs(rows: Floats) -> str | None:
    """What is wrong with embeddings as such."""
    if not np.isfinite(rows).all():
        return "its output is not finite: it overflows in this precision; export it in fp32"
    spread = np.ptp(rows, axis=0) > 1e-6 * max(float(np.abs(rows).max()), 1e-12)
    if not spread.any():
        return "its output is the same for everybody: this output is dead, or not the embedding"
    if spread.mean() < MIN_ALIVE:
        return f"{len(spread) - spread.sum()} of its {len(spread)} outputs are dead: it is damaged"
    return None
