"""Enrollment: from picture files into ``people.db``, with checks of every picture."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Protocol

import cv2
import msgspec
import numpy as np

from facegate.errors import ConfigError, GalleryError, SourceError
from facegate.pipeline.images import read_picture_file
from facegate.pipeline.records import Floats, Image
from facegate.recognition.embedders import Embedder
from facegate.recognition.enrollment.checks import Fault, FaultKind, PersonEvidence, find_faults
from facegate.recognition.enrollment.face_extraction import FaceExtractor
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.enrollment.names import folder_person, name_key, person_name
from facegate.recognition.enrollment.records import Embedded, FaceSample, Picture

Progress = Callable[[int, int], None]
CHUNK = 32
THUMBNAIL = 16


class DuplicateRule(Protocol):
    """Similarity from which two of a number of people are probably one."""

    def duplicate_threshold(self, people: int) -> float:
        """Threshold on the cosine of two templates."""
        ...


class PictureFile(msgspec.Struct, frozen=True):
    """A file that may be a picture of a person."""

    person: str
    path: Path


class EnrollmentReport(msgspec.Struct, frozen=True):
    """Result of an enrollment."""

    added: int
    known: int
    """Files enrolled before, by content."""
    faults: list[Fault]
    """Faults of the new pictures, which were not added, and pairs of people that look alike."""
    rotated: dict[str, int] = {}
    """Pictures whose face was not upright, and by how many degrees they were rotated counterclockwise."""


def find_people(folder: Path) -> list[PictureFile]:
    """List the files of all people, ``folder/<name>/*``; they need not be pictures.

    Raises:
        GalleryError: no such folder, no people in it, or an invalid name.
    """
    if not folder.is_dir():
        raise GalleryError(f"no gallery at {folder}: give a folder with one subfolder of pictures per person")
    names: dict[str, str] = {}
    found = []
    for person in sorted(folder.iterdir()):
        if person.is_dir() and not person.name.startswith(".") and (files := _files(person)):
            # Folders whose names differ only in spelling belong to one person.
            name = folder_person(person.name)
            name = names.setdefault(name_key(name), name)
            found += [PictureFile(name, file) for file in files]
    if not found:
        raise GalleryError(f"gallery {folder} is empty: put pictures into {folder}/<name>/")
    return found


def find_new(paths: Sequence[Path], name: str | None) -> list[PictureFile]:
    """List the files to enroll: those of one person, or those of a folder with a subfolder per person.

    Raises:
        ConfigError: without a name, and not one folder.
        GalleryError: see :func:`find_people` and :func:`find_pictures`.
    """
    if name is not None:
        return find_pictures(paths, name)
    remedy = "give one folder with a subfolder per person, or pictures of one person and --name"
    if len(paths) > 1:
        raise ConfigError(f"several PICTURES without --name: {remedy}")
    if not paths[0].is_dir():
        wrong = "is a file, but --name is missing" if paths[0].exists() else "does not exist"
        raise ConfigError(f"{paths[0]} {wrong}: {remedy}")
    return find_people(paths[0])


def find_pictures(paths: Sequence[Path], name: str) -> list[PictureFile]:
    """List pictures of one person: files, and the files of folders.

    Raises:
        GalleryError: a path is missing, there are no files, or the name is invalid.
    """
    name, found = person_name(name), list[PictureFile]()
    for path in paths:
        if not path.exists():
            raise GalleryError(f"{path} does not exist: give files or folders of pictures")
        found += [PictureFile(name, file) for file in (_files(path) if path.is_dir() else [path])]
    if not found:
        raise GalleryError(f"no pictures in {', '.join(map(str, paths))}: give files or folders of pictures")
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))


class Enroller:
    """Extracts faces from files, checks them against the gallery, and adds those without faults."""

    def __init__(
        self,
        people: GalleryStore,
        make_extractor: Callable[[], FaceExtractor],
        embedder: Embedder,
        duplicate_rule: DuplicateRule,
    ) -> None:
        """Create an enroller.

        Args:
            people: the gallery; its owner closes it.
            make_extractor: creates the face extractor; called when the first new file is read.
            embedder: computes embeddings.
            duplicate_rule: decides which pairs of people look alike.
        """
        self.people = people
        self._make_extractor = make_extractor
        self._extractor: FaceExtractor | None = None
        self._embedder = embedder
        self._duplicate_rule = duplicate_rule

    def embed_missing(self, progress: Progress = lambda done, total: None) -> None:
        """Embed the stored crops that have no embedding of this model yet."""
        rows = self.people.missing(self._embedder.version)
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            vectors = self._embedder.embed([self.people.crop(row) for row in chunk])
            self.people.keep_embeddings(self._embedder.version, dict(zip(chunk, vectors, strict=True)))
            progress(min(start + CHUNK, len(rows)), len(rows))

    def unseen(self) -> bool:
        """Whether some pictures have no embedding of this model yet."""
        return bool(self.people.missing(self._embedder.version))

    def check(self) -> list[Fault]:
        """Find all faults of the gallery."""
        self.embed_missing()
        return self._faults(self._evidence([], np.empty((0, 0), np.float32)))

    def examine(self, files: Sequence[PictureFile], progress: Progress = lambda done, total: None) -> list[Fault]:
        """Add all pictures with a face, and find all faults of the gallery."""
        faults, samples, _ = self._sample(self._spelled(files), progress)
        for person in sorted({file.person for file, _ in samples}):
            self.people.add(person, [sample for file, sample in samples if file.person == person])
        return faults + self.check()

    def add(
        self,
        files: Sequence[PictureFile],
        accept: Callable[[Path], bool] = lambda path: False,
        progress: Progress = lambda done, total: None,
    ) -> EnrollmentReport:
        """Enroll pictures; those with a fault are skipped unless accepted. One transaction per person.

        Args:
            files: what to enroll.
            accept: whether a file is enrolled even if a check rejects it.
            progress: called with the number of files done and in total.
        """
        kept = {(p.person, p.digest) for p in self.people.pictures() if p.kind == "enrolled"}
        faults, new, known = self._sample(self._spelled(files), progress, kept)
        taken = self.take(new, [accept(file.path) for file, _ in new])
        return EnrollmentReport(taken.added, known + taken.known, faults + taken.faults, taken.rotated)

    def take(self, new: Sequence[tuple[PictureFile, FaceSample]], right: Sequence[bool]) -> EnrollmentReport:
        """Enroll extracted faces; see :meth:`add`.

        Args:
            new: files and their faces.
            right: for each, whether it is enrolled even if a check rejects it.
        """
        self.embed_missing()
        new = list(zip(self._spelled([file for file, _ in new]), [sample for _, sample in new], strict=True))
        faults: list[Fault] = []
        vectors = self._embed([sample.crop for _, sample in new])
        found = self._faults(self._evidence(new, vectors))
        # New pictures have negative rows while they are checked.
        wrong = {fault.row for fault in found if fault.row is not None and fault.row < 0}
        faults += [
            _advised(fault, new[-1 - fault.row][1])
            for fault in found
            if fault.row is not None and fault.row < 0 and not right[-1 - fault.row]
        ]
        added = known = 0
        for accepted in (False, True):
            for person in sorted({file.person for file, _ in new}):
                chosen = [
                    index
                    for index, (file, _) in enumerate(new)
                    if file.person == person and right[index] == accepted and (accepted or -1 - index not in wrong)
                ]
                if chosen:
                    fresh = self.people.add(person, [new[index][1] for index in chosen], accepted=accepted)
                    added, known = (
                        added + fresh,
                        known + len(chosen) - fresh,
                    )  # another process may have been faster
        newcomers = {file.person for file, _ in new}
        faults += [
            fault
            for fault in self.check()
            if fault.kind is FaultKind.ALIKE and {fault.person, fault.other} & newcomers
        ]
        rotated = {sample.source: sample.rotated for _, sample in new if sample.rotated}
        return EnrollmentReport(added, known, faults, rotated)

    def _spelled(self, files: Sequence[PictureFile]) -> list[PictureFile]:
        """The same files with the gallery's spelling of names."""
        spelled = {name: self.people.spelling(name) for name in {file.person for file in files}}
        return [PictureFile(spelled[file.person], file.path) for file in files]

    def _sample(
        self, files: Sequence[PictureFile], progress: Progress, kept: Collection[tuple[str, str]] = ()
    ) -> tuple[list[Fault], list[tuple[PictureFile, FaceSample]], int]:
        """Extract faces; return faults, new faces, and the number of files among ``kept`` people and digests."""
        faults, samples, known = [], [], 0
        seen: dict[tuple[str, str], Path] = {}
        for index, file in enumerate(files):
            try:
                content = read_picture_file(file.path)
                key = file.person, hashlib.sha256(content).hexdigest()
                if key in kept:
                    known += 1
                elif key in seen:
                    reason, remedy = f"the same file as {seen[key]}", "remove one of them"
                    faults.append(Fault(FaultKind.TWICE, file.person, str(file.path), reason, remedy))
                else:
                    seen[key] = file.path
                    samples.append((file, self.extract(content, str(file.path))))
            except (GalleryError, SourceError) as error:
                reason, _, remedy = str(error).rpartition(": ")
                faults.append(Fault(FaultKind.UNUSABLE, file.person, str(file.path), reason or remedy, remedy))
            progress(index + 1, len(files))
        return faults, samples, known

    def extract(self, content: bytes, source: str) -> FaceSample:
        """See :meth:`FaceExtractor.extract`."""
        if self._extractor is None:
            self._extractor = self._make_extractor()
        return self._extractor.extract(content, source)

    def _embed(self, crops: Sequence[Image]) -> Floats:
        parts = [self._embedder.embed(crops[start : start + CHUNK]) for start in range(0, len(crops), CHUNK)]
        return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)

    def _evidence(self, new: Sequence[tuple[PictureFile, FaceSample]], vectors: Floats) -> PersonEvidence:
        embedded: Embedded = self.people.embedded(self._embedder.version)
        place = {int(row): index for index, row in enumerate(embedded.rows)}
        kept = [p for p in self.people.pictures() if p.kind == "enrolled" and p.row in place]
        pictures = kept + [_as_picture(-1 - index, file, sample) for index, (file, sample) in enumerate(new)]
        own = embedded.vectors[[place[picture.row] for picture in kept]]
        crops = [self.people.crop(picture.row) for picture in kept] + [sample.crop for _, sample in new]
        return PersonEvidence(
            pictures=pictures,
            vectors=own if not len(vectors) else np.concatenate([own.reshape(-1, vectors.shape[1]), vectors]),
            thumbnails=np.stack([_thumbnail(crop) for crop in crops]) if crops else np.empty((0, 0), np.float32),
        )

    def _faults(self, evidence: PersonEvidence) -> list[Fault]:
        if not evidence.pictures:
            return []
        people = len({picture.person for picture in evidence.pictures})
        return find_faults(evidence, self._embedder.threshold, self._duplicate_rule.duplicate_threshold(people))


def _as_picture(row: int, file: PictureFile, sample: FaceSample) -> Picture:
    return Picture(
        row=row,
        person=file.person,
        kind="enrolled",
        source=sample.source,
        digest=sample.digest,
        quality=sample.quality,
        width=sample.width,
        yaw_ratio=sample.yaw_ratio,
        faces=sample.faces,
        accepted=False,
    )


def _thumbnail(crop: Image) -> Floats:
    small = cv2.resize(crop, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    gray: Floats = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32).reshape(-1)
    return gray


def _advised(fault: Fault, sample: FaceSample) -> Fault:
    """Replace the remedy of a poor picture by the model's advice."""
    if fault.kind is not FaultKind.POOR or not sample.advice:
        return fault
    return msgspec.structs.replace(fault, remedy=f"take another picture: {sample.advice}")
