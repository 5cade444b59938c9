"""Builds the objects for recognition and enrollment from options."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from facegate.recognition.embedders import Embedder, load_embedder
from facegate.recognition.enrollment.enroller import Enroller
from facegate.recognition.enrollment.face_extraction import FaceExtractor
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.matching.decision_rule import DEFAULT_FPIR, DecisionRule, choose_rule
from facegate.recognition.matching.score_tail import find_impostor_model


class Recognition(msgspec.Struct, frozen=True):
    """Embedder, decision rule, and a factory of the extractor for enrollment pictures."""

    embedder: Embedder
    rule: DecisionRule
    warning: str | None
    """Why no false-positive rate is guaranteed, if so."""
    face_extractor: Callable[[], FaceExtractor]


def load_recognition(
    embedder: str,
    card: Path | None,
    detector: str,
    detector_path: Path | None,
    *,
    threshold: float | None = None,
    fpir: float = DEFAULT_FPIR,
) -> Recognition:
    """Load embedder and rule; see :func:`load_embedder` and :func:`choose_rule`."""

    def extractor() -> FaceExtractor:
        from facegate.detectors.base import load_detector
        from facegate.scoring.engine import load_scorer

        return FaceExtractor(load_detector(detector, detector_path), load_scorer())

    model = load_embedder(embedder, card)
    beside = Path(embedder) if Path(embedder).is_file() else None
    rule, warning = choose_rule(
        threshold, fpir, find_impostor_model(model.version, model.name, beside), model.threshold
    )
    return Recognition(model, rule, warning, extractor)


@contextmanager
def enrolling(
    path: Path,
    embedder: str,
    card: Path | None,
    detector: str,
    detector_path: Path | None,
    *,
    create: bool,
) -> Iterator[Enroller]:
    """Open the gallery with an :class:`Enroller`."""
    parts = load_recognition(embedder, card, detector, detector_path)
    with GalleryStore(path, create=create) as people:
        yield Enroller(people, parts.face_extractor, parts.embedder, parts.rule)
