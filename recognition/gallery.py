"""The gallery: who can be named, from a folder of pictures per person."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np
import structlog

from facegate.detectors.align import align
from facegate.detectors.base import Detector
from facegate.errors import GalleryError, SourceError
from facegate.pipeline.images import read_image
from facegate.pipeline.records import Floats, Image
from facegate.recognition.embedders import Embedder

log = structlog.get_logger(__name__)


class Match(msgspec.Struct, frozen=True):
    """The nearest person, named only at or above the threshold."""

    name: str | None
    similarity: float


class Gallery:
    """One template per person: the mean of the unit embeddings of their pictures, scaled to unit length."""

    def __init__(self, names: list[str], templates: Floats) -> None:
        self.names = names
        self.templates = templates
        """``(P, D)``, unit length, in the order of ``names``."""

    def match(self, embedding: Floats, threshold: float) -> Match:
        """Compare a unit embedding ``(D,)`` with everybody (open set: nobody is a possible answer)."""
        similarities = self.templates @ embedding
        best = int(np.argmax(similarities))
        similarity = float(similarities[best])
        return Match(self.names[best] if similarity >= threshold else None, similarity)


def find_people(folder: Path) -> dict[str, list[Path]]:
    """List the files of everybody in ``folder/<name>/``; which of them are pictures shows when they are read.

    Raises:
        GalleryError: no such folder, or nobody in it.
    """
    if not folder.is_dir():
        raise GalleryError(f"no gallery at {folder}: give a folder with one sub-folder of pictures per person")
    people = {
        person.name: sorted(file for file in person.iterdir() if file.is_file() and not file.name.startswith("."))
        for person in sorted(folder.iterdir())
        if person.is_dir() and not person.name.startswith(".")
    }
    if not any(people.values()):
        raise GalleryError(f"gallery {folder} is empty: put pictures into {folder}/<name>/")
    return people


def enrol(
    people: dict[str, list[Path]],
    detector: Detector,
    embedder: Embedder,
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    strict: bool = False,
) -> Gallery:
    """Make a gallery of the people that :func:`find_people` found; the largest face of each picture counts.

    A file that cannot be used is left out with a warning, and so is a person of whom nothing is left.

    Args:
        people: files of each.
        detector: finds the faces.
        embedder: makes the templates.
        progress: called with files done and in all.
        strict: refuse instead of leaving out.

    Raises:
        GalleryError: nobody is left; or, if strict, a picture without a face or a person without a picture.
        SourceError: if strict, a file that is not a picture.
    """
    total, done = sum(len(files) for files in people.values()), 0
    templates: dict[str, Floats] = {}
    for name, files in people.items():
        crops = []
        for file in files:
            try:
                crops.append(_crop_of(file, detector))
            except (GalleryError, SourceError) as error:
                if strict:
                    raise
                log.warning("picture left out of the gallery", person=name, reason=str(error))
            done += 1
            progress(done, total)
        if crops:
            mean = embedder.embed(crops).mean(0)
            templates[name] = mean / max(float(np.linalg.norm(mean)), 1e-12)
            continue
        if strict:
            raise GalleryError(f"no picture of {name} can be used: add one, or remove the folder")
        log.warning("nobody will be named so: no picture of this person can be used", person=name)
    if not templates:
        raise GalleryError("no picture in the gallery can be used: give clear pictures of one face each")
    return Gallery(list(templates), np.stack(list(templates.values())))


def _crop_of(file: Path, detector: Detector) -> Image:
    """The aligned crop of a picture's largest face; already aligned 112x112 crops get a border to be found in."""
    image = read_image(file)
    faces = detector.detect([image])[0]
    if not faces:
        side = max(image.shape[:2])
        bordered = cv2.copyMakeBorder(image, side // 2, side // 2, side // 2, side // 2, cv2.BORDER_REPLICATE)
        faces, image = detector.detect([bordered])[0], bordered
    if not faces:
        raise GalleryError(f"no face found in {file}: replace or remove the picture")
    return align(image, max(faces, key=lambda face: face.width * face.height).landmarks)
