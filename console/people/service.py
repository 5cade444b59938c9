"""The gallery as the pages use it: one question or change at a time, and heavy models only once they are needed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock

import msgspec

from facegate.console.pictures import pixels_of
from facegate.detectors.align import CROP_SIZE
from facegate.errors import GalleryError
from facegate.pipeline.images import decode_image, encode_jpeg
from facegate.recognition.enrollment.checks import Fault
from facegate.recognition.enrollment.enroller import Enroller, PictureFile
from facegate.recognition.enrollment.erasure import erase_everywhere
from facegate.recognition.enrollment.face_extraction import FaceExtractor
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.enrollment.names import person_name
from facegate.recognition.enrollment.records import Erased, FaceSample, Person, Picture
from facegate.recognition.enrollment.unknowns import UnknownCluster, UnknownStore, enroll_cluster
from facegate.recognition.loading import Recognition, load_recognition
from facegate.recognition.matching.gallery import DEFAULT_FPIR


class EnrollmentResult(msgspec.Struct, frozen=True):
    """What came of enrolling pictures."""

    added: int
    faults: list[Fault]
    """Why the others were not, and what is odd now."""


class EnrollmentService:
    """One gallery's file; of any thread."""

    def __init__(
        self, path: Path, embedder: str = "auto", card: Path | None = None, fpir: float | None = None
    ) -> None:
        """Make the file where it is missing.

        Raises:
            GalleryError: it cannot be used.
        """
        self.gallery = self._path = path
        self._chosen = (embedder, card, fpir or DEFAULT_FPIR)
        self._lock = RLock()
        self._parts: Recognition | None = None
        self._looker: FaceExtractor | None = None
        GalleryStore(path, create=True).close()

    def people(self) -> list[Person]:
        """Everybody."""
        with self._opened() as people:
            return people.people()

    def pictures(self, name: str) -> list[Picture]:
        """Of one person; raises :class:`GalleryError` where there is none."""
        with self._opened() as people:
            return people.pictures(name)

    def picture(self, row: int) -> bytes:
        """A crop as JPEG; raises :class:`GalleryError` where it is gone."""
        with self._opened() as people:
            return encode_jpeg(people.crop(row), 90)

    def enroll(self, name: str, files: Sequence[tuple[str, bytes]], *, accept: bool = False) -> EnrollmentResult:
        """Enroll uploaded pictures of a person, each with its name.

        Raises:
            GalleryError: a name that cannot be one, or no picture in which a face can be found.
            SourceError: a file that is no picture.
        """
        name = person_name(name)
        for source, content in files:
            pixels_of(source, content)
        with self._lock:
            looks = [self._extract(content, source) for source, content in files]
            return self._enroll(name, looks, accept)

    def enroll_crop(
        self, name: str, source: str, jpeg: bytes, quality: int, *, accept: bool = False
    ) -> EnrollmentResult:
        """Enroll a face that the gate has sent; see :meth:`enroll`."""
        name = person_name(name)
        return self._enroll(name, [_look(source, jpeg, quality)], accept)

    def reject(self, name: str, source: str, jpeg: bytes, quality: int) -> None:
        """A face that must not be taken for this person any more.

        Raises:
            GalleryError: there is no such person.
        """
        with self._opened() as people:
            people.pictures(name)
            people.add(name, [_look(source, jpeg, quality)], kind="negative")

    def rename(self, name: str, new: str) -> None:
        """Call somebody otherwise; raises :class:`GalleryError`."""
        with self._opened() as people:
            people.rename(name, new)

    def merge(self, name: str, into: str) -> int:
        """Give somebody's pictures to another; raises :class:`GalleryError`."""
        with self._opened() as people:
            return people.merge(name, into)

    def remove_picture(self, row: int) -> None:
        """Remove one picture; raises :class:`GalleryError` where there is none."""
        with self._opened() as people:
            people.crop(row)
            people.remove_pictures([row])

    def remove(self, name: str, data: Path) -> list[Erased]:
        """Remove somebody from the gallery, from the unknown faces and from all that a console's folder holds."""
        parts = self._loaded()
        with self._lock:
            return erase_everywhere(self._path, name, parts.embedder, parts.embedder.threshold, data=data)

    def faults(self) -> list[Fault]:
        """Everything that is wrong with the gallery."""
        with self._open_enroller() as enroller:
            return enroller.check()

    def unknowns(self) -> list[UnknownCluster]:
        """Unknown visitors, those with the most visits first."""
        parts = self._loaded()
        with self._lock, UnknownStore(self._path) as unknowns:
            return unknowns.clusters(parts.embedder, parts.embedder.threshold)

    def unknown(self, row: int) -> bytes:
        """A face as JPEG; raises :class:`GalleryError` where it is gone."""
        with self._lock, UnknownStore(self._path) as unknowns:
            return encode_jpeg(unknowns.crop(row), 90)

    def name_unknown(self, cluster: int, name: str, without: Sequence[int]) -> int:
        """Enroll an unknown visitor; return how many pictures are new.

        Raises:
            GalleryError: there is no such cluster, or the name cannot be one.
        """
        name = person_name(name)
        found = next((each for each in self.unknowns() if each.id == cluster), None)
        if found is None:
            raise GalleryError("this unknown visitor is not there any more: load the page again")
        with self._lock, UnknownStore(self._path) as unknowns, GalleryStore(self._path) as people:
            return enroll_cluster(unknowns, people, found, name, set(without))

    def forget_unknown(self, cluster: int) -> None:
        """Forget an unknown visitor's faces."""
        rows = [visit.row for each in self.unknowns() if each.id == cluster for visit in each.visits]
        if not rows:
            raise GalleryError("this unknown visitor is not there any more: load the page again")
        with self._lock, UnknownStore(self._path) as unknowns:
            unknowns.forget(rows)

    def recognition(self) -> Recognition:
        """What the worker recognizes with too; loaded at the first call."""
        return self._loaded()

    def _enroll(self, name: str, looks: Sequence[FaceSample], accept: bool) -> EnrollmentResult:
        new = [(PictureFile(name, Path(look.source)), look) for look in looks]
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
        if self._looker is None:
            self._looker = self._loaded().face_extractor()
        return self._looker.extract(content, source)

    @contextmanager
    def _opened(self) -> Iterator[GalleryStore]:
        with self._lock, GalleryStore(self._path) as people:
            yield people

    @contextmanager
    def _open_enroller(self) -> Iterator[Enroller]:
        parts = self._loaded()
        with self._opened() as people:
            yield Enroller(people, parts.face_extractor, parts.embedder, parts.rule)


def _look(source: str, jpeg: bytes, quality: int) -> FaceSample:
    crop = decode_image(jpeg, source)
    return FaceSample(source, hashlib.sha256(crop.tobytes()).hexdigest(), crop, quality, float(CROP_SIZE), 0.0, 1)
