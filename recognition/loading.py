"""Builds the objects for recognition and enrollment from options."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import msgspec

from facegate.errors import GalleryError
from facegate.inference.devices import Device
from facegate.pipeline.records import Floats, Image
from facegate.recognition.embedders import Embedder, load_embedder
from facegate.recognition.enrollment.enroller import Enroller
from facegate.recognition.enrollment.face_extraction import FaceExtractor
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.enrollment.names import name_key
from facegate.recognition.matching.decision_rule import DEFAULT_FPIR, DecisionRule, choose_rule
from facegate.recognition.matching.gallery import Gallery
from facegate.recognition.matching.score_tail import ImpostorModel, find_impostor_model
from facegate.recognition.self_test.checks import check_recognizer


class OneAtATime:
    """Thread-safe wrapper that serializes calls of an embedder."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._lock = Lock()
        self.name, self.version, self.threshold = embedder.name, embedder.version, embedder.threshold

    def embed(self, crops: Sequence[Image]) -> Floats:
        """See :class:`Embedder`."""
        with self._lock:
            return self._embedder.embed(crops)


class Recognition(msgspec.Struct, frozen=True):
    """Embedder, decision rule, and a factory of the extractor for enrollment pictures."""

    embedder: Embedder
    rule: DecisionRule
    warning: str | None
    """Why no false-positive rate is guaranteed, if so."""
    impostors: ImpostorModel | None
    """Impostor model of the embedder, if known."""
    face_extractor: Callable[[], FaceExtractor]


def load_recognition(
    embedder: str,
    card: Path | None,
    detector: str,
    detector_path: Path | None,
    *,
    threshold: float | None = None,
    fpir: float = DEFAULT_FPIR,
    device: Device = "auto",
) -> Recognition:
    """Load embedder and rule; see :func:`load_embedder` and :func:`choose_rule`."""

    def extractor() -> FaceExtractor:
        from facegate.detectors.base import load_detector
        from facegate.scoring.engine import load_scorer

        return FaceExtractor(load_detector(detector, detector_path, device=device), load_scorer(device=device))

    model = load_embedder(embedder, card, device)
    check_recognizer(model, device)
    beside = Path(embedder) if Path(embedder).is_file() else None
    impostors = find_impostor_model(model.version, model.name, beside)
    rule, warning = choose_rule(threshold, fpir, impostors, model.threshold)
    return Recognition(model, rule, warning, impostors, extractor)


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


def person_template(path: Path, parts: Recognition, name: str) -> Floats:
    """Template ``(D,)`` of a person in a gallery.

    Raises:
        GalleryError: no such gallery or person, or the person has no usable picture.
    """
    with GalleryStore(path) as people:
        people.pictures(name)  # raises GalleryError for an unknown name
        Enroller(people, parts.face_extractor, parts.embedder, parts.rule).embed_missing()
        gallery = Gallery.of(people.embedded(parts.embedder.version))
    row = next((row for row, each in enumerate(gallery.names) if name_key(each) == name_key(name)), None)
    if row is None:
        raise GalleryError(f"{name} has no usable picture: enroll one")
    template: Floats = gallery.templates[row]
    return template
