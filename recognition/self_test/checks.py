"""Checks whether a recognizer gets the input that it expects, and says what to change."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec
import numpy as np

from facegate.detectors.reference_faces import reference_crops, reference_faces
from facegate.errors import ModelError
from facegate.pipeline.records import Floats, contiguous
from facegate.recognition.embedders import Embedder, OnnxCard, OnnxEmbedder
from facegate.recognition.self_test.candidates import Candidate, candidates
from facegate.recognition.self_test.relations import Relations, relations
from facegate.scoring.backend_selection import cache_folder

REVISION = 1
"""Changes with whatever changes a verdict; passed self-tests of another revision are repeated."""
CLEARLY = 1.05
"""Ratio of separations from which another input is clearly better."""
MIN_SEPARATION = 2.0
ALIKE = 0.9
"""Mean similarity of different people from which everybody looks alike to a network."""
MAX_FALSE_MATCHES = 0.2
"""Share of pairs of different people that may reach a recognizer's threshold."""


class CardTrial(msgspec.Struct, frozen=True):
    """A card and what came of it."""

    candidate: Candidate
    relations: Relations


def check_recognizer(embedder: Embedder) -> None:
    """Refuse a recognizer that does not tell the reference faces apart, or does so better with another input.

    A passed test is remembered for this network and card.

    Raises:
        ModelError: what is wrong, and what to change.
    """
    passed = (
        cache_folder() / "self-tests" / hashlib.sha256(f"{REVISION}:{embedder.version}".encode()).hexdigest()[:32]
    )
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
    people = len(reference_faces())
    crops = reference_crops()
    rows = embedder.embed(crops)
    problem = _outputs(rows)
    if problem is not None:
        return problem
    own = relations(rows, people)
    if isinstance(embedder, OnnxEmbedder):
        best = trials(embedder)[0]
        better, change = best.relations, best.candidate.change
    else:
        exchanged = [contiguous(crop[:, :, ::-1]) for crop in crops]
        better, change = relations(embedder.embed(exchanged), people), "its color channels are exchanged"
    if better.separation > CLEARLY * own.separation and change:
        return f"{change} (separation {better.separation:.2f} instead of {own.separation:.2f})"
    if own.non_mated > ALIKE:
        return f"everybody looks alike to it (mean similarity {own.non_mated:.2f}): check its preprocessing"
    if own.separation < MIN_SEPARATION:
        return (
            f"it hardly tells people apart (separation {own.separation:.2f}): it is no face recognizer, or damaged"
        )
    return None


def trials(embedder: OnnxEmbedder, tried: Callable[[], object] = lambda: None) -> list[CardTrial]:
    """Every card that the network accepts among the candidates, best first."""
    found = []
    for candidate in candidates(embedder.card):
        found += measured(embedder, candidate.card, candidate.change)
        tried()
    return sorted(found, key=lambda trial: -trial.relations.separation)


def measured(embedder: OnnxEmbedder, card: OnnxCard, change: str) -> list[CardTrial]:
    """The trial of a card; empty if the network does not accept its input, or its output is not finite."""
    try:
        rows = embedder.with_card(card).embed(reference_crops())
    except ModelError:
        return []
    return (
        [CardTrial(Candidate(card, change), relations(rows, len(reference_faces())))] if np.isfinite(rows).all() else []
    )


def _outputs(rows: Floats) -> str | None:
    """What is wrong with embeddings as such."""
    if not np.isfinite(rows).all():
        return "its output is not finite: it overflows in this precision; export it in fp32"
    if not rows.any(1).all() or np.ptp(rows, axis=0).max() < 1e-4:
        return "its output is the same for everybody: this output is dead, or not the embedding"
    return None
