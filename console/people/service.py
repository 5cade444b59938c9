"""Enrollment for the pages: serialized access to the gallery; models are loaded at the first use."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from time import time
from typing import Literal

import msgspec
import numpy as np

from facegate.console.pictures import pixels_of
from facegate.detectors.align import CROP_SIZE
from facegate.errors import GalleryError
from facegate.maintenance.erasure import erase_person
from facegate.pipeline.images import decode_image, encode_jpeg
from facegate.pipeline.records import Floats
from facegate.recognition.enrollment.checks import Fault
from facegate.recognition.enrollment.corrections import Correction, CorrectionStore
from facegate.recognition.enrollment.enroller import Enroller, PictureFile
from facegate.recognition.enrollment.face_extraction import FaceExtractor, pose_of
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.enrollment.names import person_name
from facegate.recognition.enrollment.records import Erased, FaceSample, Person, Picture, Pose
from facegate.recognition.enrollment.stored_visits import move_stored, name_stored
from facegate.recognition.enrollment.unknowns import UnknownCluster, UnknownStore, enroll_cluster
from facegate.recognition.enrollment.watch_lists import WatchListStore
from facegate.recognition.loading import Recognition, load_recognition, person_template
from facegate.recognition.matching.decision_rule import DEFAULT_FPIR
from facegate.sinks import wire
from facegate.store.records import StoredShot, StoredVisit

MIN_WALK_IN_QUALITY = 40
"""Somebody in front of a camera can come closer and hold still: less is not enrolled."""


class EnrollmentResult(msgspec.Struct, frozen=True):
    """Result of an enrollment."""

    added: int
    faults: list[Fault]
    """Reasons of rejected pictures, and problems of the gallery after the change."""


class CorrectionResult(msgspec.Struct, frozen=True):
    """Result of a correction."""

    made: Correction | None
    """``None``: somebody new was not enrolled, and nothing was changed."""
    enrolled: EnrollmentResult


class WalkInResult(msgspec.Struct, frozen=True):
    """What one picture of somebody in front of a camera gave."""

    state: Literal["nobody", "several", "poor", "pose", "refused", "added"]
    """Nobody or several people are there, the face is poor or shows no wanted pose, or a check refused it."""
    pose: Pose | None = None
    quality: int = 0
    advice: str = ""
    """How to improve the quality; empty if unknown or unnecessary."""
    faults: list[Fault] = []


class EnrollmentService:
    """A gallery file; thread-safe."""

    def __init__(
        self, path: Path, embedder: str = "auto", card: Path | None = None, fpir: float | None = None
    ) -> None:
        """Open the gallery; a missing file is created.

        Raises:
            GalleryError: it cannot be used.
        """
        self.gallery = self._path = path
        self._chosen = (embedder, card, fpir or DEFAULT_FPIR)
        self._lock = RLock()
        self._parts: Recognition | None = None
        self._extractor: FaceExtractor | None = None
        GalleryStore(path, create=True).close()

    def people(self) -> list[Person]:
        """All enrolled people."""
        with self._opened() as people:
            return people.people()

    def pictures(self, name: str) -> list[Picture]:
        """Pictures of a person; raises :class:`GalleryError` if the person is not enrolled."""
        with self._opened() as people:
            return people.pictures(name)

    def all_pictures(self) -> list[Picture]:
        """Enrolled pictures of everybody."""
        with self._opened() as people:
            return [picture for picture in people.pictures() if picture.kind == "enrolled"]

    def picture(self, row: int) -> bytes:
        """A crop as JPEG; raises :class:`GalleryError` if it does not exist."""
        with self._opened() as people:
            return encode_jpeg(people.crop(row), 90)

    def enroll(self, name: str, files: Sequence[tuple[str, bytes]], *, accept: bool = False) -> EnrollmentResult:
        """Enroll uploaded pictures of a person, given as (file name, content).

        Raises:
            GalleryError: the name is invalid, or a picture has no usable face.
            SourceError: a file is not a picture.
        """
        name = person_name(name)
        for source, content in files:
            pixels_of(source, content)
        with self._lock:
            samples = [self._extract(content, source) for source, content in files]
            return self._enroll(name, samples, accept)

    def enroll_crop(self, name: str, shot: StoredShot, jpeg: bytes, *, accept: bool = False) -> EnrollmentResult:
        """Enroll the crop of a shot; see :meth:`enroll`."""
        name = person_name(name)
        return self._enroll(name, [_sample(f"shot {shot.shot_id}", jpeg, shot.quality, shot)], accept)

    def walk_in(self, name: str, frame: bytes, camera: str, poses: Collection[Pose]) -> WalkInResult:
        """Enroll the person in front of a camera, if the face shows one of some poses clearly.

        Args:
            name: the person.
            frame: a picture of the camera.
            camera: its name.
            poses: poses that are still wanted.

        Raises:
            GalleryError: the name is invalid.
            SourceError: the frame is not a picture.
        """
        name = person_name(name)
        try:
            sample = self.extract(frame, f"camera {camera}")
        except GalleryError:
            return WalkInResult("nobody")
        seen = WalkInResult("pose", sample.pose, sample.quality, sample.advice)
        if sample.faces > 1:
            return msgspec.structs.replace(seen, state="several")
        if sample.quality < MIN_WALK_IN_QUALITY:
            return msgspec.structs.replace(seen, state="poor")
        if sample.pose not in poses:
            return seen
        result = self._enroll(name, [sample], False)
        return msgspec.structs.replace(seen, state="added" if result.added else "refused", faults=result.faults)

    def reject(self, name: str, source: str, jpeg: bytes, quality: int) -> None:
        """Add a counterexample, which is no longer matched to this person.

        Raises:
            GalleryError: the person is not enrolled.
        """
        with self._opened() as people:
            people.pictures(name)
            people.add(name, [_sample(source, jpeg, quality)], kind="negative")

    def correct(
        self,
        visit: StoredVisit,
        name: str | None,
        best: tuple[StoredShot, bytes] | None,
        *,
        accept: bool = False,
    ) -> CorrectionResult:
        """Record who a visit was, and learn from its best face.

        The face becomes a counterexample of the wrong person and, if it passes the checks, a picture of the right
        one. Somebody new is enrolled only with a picture that passes them, or with ``accept``.

        Args:
            visit: the visit.
            name: who it was; ``None``: not the person whose name it has.
            best: the visit's best shot and its crop, if they are stored.
            accept: enroll the face even if a check rejects it.

        Raises:
            GalleryError: the name is invalid, or somebody new has no face to enroll.
        """
        source = f"visit {visit.visit}"
        sample = None if best is None else _sample(source, best[1], visit.quality, best[0])
        at = time()
        with self._lock:
            known = {person.name for person in self.people()}
            result = EnrollmentResult(0, [])
            if name is not None:
                with self._opened() as people:
                    name = people.spelling(name)
                if sample is not None:
                    result = self._enroll(name, [sample], accept)
                elif name not in known:
                    raise GalleryError(
                        f"{name} is not enrolled, and the face of this visit is not stored; enroll a picture"
                    )
                if name not in known and not result.added:
                    return CorrectionResult(None, result)
            with CorrectionStore(self._path) as people:
                before = visit.name
                if before in known and before != name and sample is not None:
                    people.add(before, [sample], kind="negative")
                made = people.correct(visit.visit, name, before, None if sample is None else sample.digest, at)
        return CorrectionResult(made, result)

    def undo_correction(self, visit: str, now: float) -> tuple[Correction, Correction | None]:
        """Take the last correction of a visit back; return it and the one before it.

        Raises:
            GalleryError: there is none, or it is older than a day.
        """
        with self._lock, CorrectionStore(self._path) as people:
            return people.undo(visit, now), people.of_visit(visit)

    def watch_lists(self) -> dict[str, tuple[str, ...]]:
        """Watch lists that each person is in now."""
        found: dict[str, tuple[str, ...]] = {}
        with self._lock, WatchListStore(self._path) as people:
            for each in people.members(time()):
                found[each.person] = (*found.get(each.person, ()), each.list)
        return found

    def rename(self, name: str, new: str) -> None:
        """Rename a person; raises :class:`GalleryError`."""
        with self._opened() as people:
            people.rename(name, new)

    def merge(self, name: str, into: str) -> int:
        """Merge a person into another, return the number of moved pictures; raises :class:`GalleryError`."""
        with self._opened() as people:
            return people.merge(name, into)

    def remove_picture(self, row: int) -> None:
        """Remove a picture; raises :class:`GalleryError` if it does not exist."""
        with self._opened() as people:
            people.crop(row)
            people.remove_pictures([row])

    def remove(self, name: str, data: Path) -> list[Erased]:
        """Erase a person from the gallery, the unknown faces, the data folder and the backups."""
        parts = self._loaded()
        with self._lock:
            return erase_person(self._path, name, parts.embedder, data=data)

    def faults(self) -> list[Fault]:
        """Problems of the gallery."""
        with self._open_enroller() as enroller:
            return enroller.check()

    def unknowns(self) -> list[UnknownCluster]:
        """Unknown visitors, most visits first."""
        parts = self._loaded()
        with self._lock, UnknownStore(self._path) as unknowns:
            return unknowns.clusters(parts.embedder, parts.embedder.threshold)

    def unknown(self, row: int) -> bytes:
        """An unknown face as JPEG; raises :class:`GalleryError` if it does not exist."""
        with self._lock, UnknownStore(self._path) as unknowns:
            return encode_jpeg(unknowns.crop(row), 90)

    def name_unknown(self, cluster: int, name: str, without: Sequence[int], data: Path | None = None) -> int:
        """Enroll an unknown visitor and name its visits; return the number of new pictures.

        Args:
            cluster: the unknown visitor.
            name: the person, created if missing.
            without: rows of faces of other people; they become an unknown visitor of their own.
            data: folder whose stored visits get the name.

        Raises:
            GalleryError: the cluster does not exist, or the name is invalid.
        """
        name = person_name(name)
        found = self._unknown(cluster)
        if set(without) & {visit.row for visit in found.visits}:
            self.split_unknown(cluster, without, data)
        with self._lock, UnknownStore(self._path) as unknowns, GalleryStore(self._path) as people:
            added = enroll_cluster(unknowns, people, found, name, set(without))
        visits = [visit.visit for visit in found.visits if visit.row not in without]
        name_stored(data, visits, found.number, name)
        return added

    def split_unknown(self, cluster: int, rows: Sequence[int], data: Path | None = None) -> int:
        """Take faces out of an unknown visitor; return the number of the new one.

        Raises:
            GalleryError: the cluster does not exist, or the rows are none or all of its faces.
        """
        found = self._unknown(cluster)
        with self._lock, UnknownStore(self._path) as unknowns:
            number = unknowns.split(found, set(rows))
        move_stored(data, [visit.visit for visit in found.visits if visit.row in rows], number)
        return number

    def merge_unknowns(self, cluster: int, into: int, data: Path | None = None) -> int:
        """Make two unknown visitors one; return its number.

        Raises:
            GalleryError: a cluster does not exist, or both are the same.
        """
        first, second = self._unknown(cluster), self._unknown(into)
        if first.id == second.id:
            raise GalleryError(f"unknown visitor {cluster} cannot be merged with itself; choose another")
        with self._lock, UnknownStore(self._path) as unknowns:
            number = unknowns.merge(first, second)
        move_stored(data, [visit.visit for visit in (*first.visits, *second.visits)], number)
        return number

    def forget_unknown(self, cluster: int) -> None:
        """Delete the faces of an unknown visitor; raises :class:`GalleryError` if there are none."""
        rows = [visit.row for visit in self._unknown(cluster).visits]
        with self._lock, UnknownStore(self._path) as unknowns:
            unknowns.forget(rows)

    def _unknown(self, cluster: int) -> UnknownCluster:
        found = next((each for each in self.unknowns() if each.id == cluster), None)
        if found is None:
            raise GalleryError(f"there is no unknown visitor {cluster}; reload the page")
        return found

    def template(self, name: str) -> Floats:
        """Template ``(D,)`` of a person.

        Raises:
            GalleryError: the person is not enrolled, or has no usable picture.
        """
        parts = self._loaded()
        with self._lock:
            return person_template(self._path, parts, name)

    def extract(self, content: bytes, source: str) -> FaceSample:
        """Extract the largest face of a picture.

        Raises:
            SourceError: not a picture, or too large.
            GalleryError: no face found.
        """
        pixels_of(source, content)
        with self._lock:
            return self._extract(content, source)

    def forget_unknowns_before(self, oldest: Mapping[str, float]) -> None:
        """Delete unknown faces that are older than their camera keeps them, Unix times."""
        with self._lock, UnknownStore(self._path) as unknowns:
            unknowns.forget_before(oldest)

    def recognition(self) -> Recognition:
        """The recognizer, as used by the worker; loaded at the first call."""
        return self._loaded()

    def _enroll(self, name: str, samples: Sequence[FaceSample], accept: bool) -> EnrollmentResult:
        new = [(PictureFile(name, Path(sample.source)), sample) for sample in samples]
        with self._open_enroller() as enroller:
            taken = enroller.take(new, [accept] * len(new))
        return EnrollmentResult(taken.added, taken.faults)

    def _loaded(self) -> Recognition:
        with self._lock:
            if self._parts is None:
                embedder, card, fpir = self._chosen
                self._parts = load_recognition(embedder, card, "auto", None, fpir=fpir)
            return self._parts

    def _extract(self, content: bytes, source: str) -> FaceSample:
        if self._extractor is None:
            self._extractor = self._loaded().face_extractor()
        return self._extractor.extract(content, source)

    @contextmanager
    def _opened(self) -> Iterator[GalleryStore]:
        with self._lock, GalleryStore(self._path) as people:
            yield people

    @contextmanager
    def _open_enroller(self) -> Iterator[Enroller]:
        parts = self._loaded()
        with self._opened() as people:
            yield Enroller(people, parts.face_extractor, parts.embedder, parts.rule)


def _sample(source: str, jpeg: bytes, quality: int, shot: StoredShot | None = None) -> FaceSample:
    crop = decode_image(jpeg, source)
    landmarks = None if shot is None else np.array(wire.decode_header(shot.header).landmarks, np.float32)
    return FaceSample(
        source,
        hashlib.sha256(crop.tobytes()).hexdigest(),
        crop,
        quality,
        float(CROP_SIZE),
        0.0,
        1,
        pose=None if landmarks is None else pose_of(landmarks),
    )
