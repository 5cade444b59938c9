"""The gallery: who can be named, from a folder of pictures per person."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np

from facegate.detectors.align import align
from facegate.detectors.base import Detector
from facegate.errors import GalleryError
from facegate.pipeline.images import read_image
from facegate.pipeline.records import Floats, Image
from facegate.recognition.embedders import Embedder

SUFFIXES = (".jpg", ".jpeg", ".png")


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
    """List the pictures of everybody in ``folder/<name>/*.{jpg,jpeg,png}``.

    Raises:
        GalleryError: no such folder, or nobody in it.
    """
    if not folder.is_dir():
        raise GalleryError(f"no gallery at {folder}: give a folder with one sub-folder of pictures per person")
    people = {
        person.name: sorted(file for file in person.iterdir() if file.suffix.lower() in SUFFIXES)
        for person in sorted(folder.iterdir())
        if person.is_dir() and not person.name.startswith(".")
    }
    people = {name: files for name, files in people.items() if files}
    if not people:
        raise GalleryError(f"gallery {folder} is empty: put pictures into {folder}/<name>/ (.jpg, .jpeg or .png)")
    return people


def enrol(
    people: dict[str, list[Path]],
    detector: Detector,
    embedder: Embedder,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Gallery:
    """Make a gallery of the people that :func:`find_people` found; the largest face of each picture counts.

    Raises:
        GalleryError: a picture without a face.
        SourceError: a file that is not a picture.
    """
    total, done = sum(len(files) for files in people.values()), 0
    templates = []
    for files in people.values():
        crops = []
        for file in files:
            crops.append(_crop_of(file, detector))
            done += 1
            progress(done, total)
        mean = embedder.embed(crops).mean(0)
        templates.append(mean / max(float(np.linalg.norm(mean)), 1e-12))
    return Gallery(list(people), np.stack(templates))


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
