"""A folder of pictures as a gallery: synchronized with a ``people.db``, so that only new files are processed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
import structlog

from facegate.errors import GalleryError, SourceError
from facegate.pipeline.images import read_picture_file
from facegate.recognition.enrollment.checks import Fault, FaultKind
from facegate.recognition.enrollment.enroller import Enroller, PictureFile, Progress, find_people
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.enrollment.records import FaceSample

log = structlog.get_logger(__name__)


class Stamp(msgspec.Struct, frozen=True):
    """Names, sizes and times of a folder's files, to detect changes without reading pictures."""

    files: tuple[tuple[str, int, int], ...]

    @classmethod
    def of(cls, folder: Path) -> Stamp:
        """Take the stamp of a folder.

        Raises:
            GalleryError: no such folder, or no people in it.
        """
        found = []
        for file in find_people(folder):
            try:
                stat = file.path.stat()
            except OSError:  # deleted meanwhile
                continue
            found.append((str(file.path), stat.st_size, stat.st_mtime_ns))
        return cls(tuple(found))


def sync(
    folder: Path,
    people: GalleryStore,
    enroller: Enroller,
    progress: Progress = lambda done, total: None,
    *,
    strict: bool = False,
) -> None:
    """Synchronize ``people`` with ``folder``, and log faults.

    Files without a usable face are skipped, and so are pictures with a fault, unless their person has no other:
    then the best one is used.

    Args:
        folder: one subfolder of pictures per person.
        people: gallery of this folder alone.
        enroller: extracts faces of new files.
        progress: called with the number of files done and in total.
        strict: raise instead of skipping a picture.

    Raises:
        GalleryError: no usable picture; or, if strict, a picture would be skipped.
        SourceError: if strict, a file that is not a picture.
    """
    files = find_people(folder)
    for name in {file.person for file in files}:
        if (spelled := people.spelling(name)) != name:
            people.rename(spelled, name)  # the folder was renamed
    before = {(picture.person, picture.digest): picture.row for picture in people.pictures()}
    known_bad = people.unusable()
    bad: dict[str, str] = {}
    listed: set[tuple[str, str]] = set()
    samples: dict[str, list[FaceSample]] = {}
    for index, file in enumerate(files):
        try:
            digest, sample = _extract_new(file, before, known_bad, listed, enroller)
            if sample is not None:
                samples.setdefault(file.person, []).append(sample)
            listed.add((file.person, digest))
        except (GalleryError, SourceError) as error:
            if strict:
                raise
            log.warning("picture skipped", person=file.person, reason=str(error))
            if isinstance(error, _UnusableError):
                bad[error.digest] = str(error)
        progress(index + 1, len(files))
    removed = [row for key, row in before.items() if key not in listed]
    people.remove_pictures(removed)
    for person, found in samples.items():
        people.add(person, found)
    with_pictures = {person for person, _ in listed}
    for name in sorted({file.person for file in files} - with_pictures):
        if strict:
            raise GalleryError(f"no usable picture of {name}: add one, or remove the folder")
        log.warning(
            "person skipped",
            person=name,
            reason="none of their pictures passed the enrollment checks",
            remedy="add a clear picture",
        )
    for known in people.people():
        if known.name not in with_pictures:
            people.remove(known.name)
    people.keep_unusable(bad)
    if not listed:
        raise GalleryError("no usable picture in the gallery: give clear pictures of one face each")
    if samples or removed or enroller.unseen():
        _apply_faults(people, enroller.check(), strict)


class _UnusableError(GalleryError):
    """A file that cannot be enrolled."""

    def __init__(self, digest: str, reason: str) -> None:
        super().__init__(reason)
        self.digest = digest


def _extract_new(
    file: PictureFile,
    before: dict[tuple[str, str], int],
    known_bad: dict[str, str],
    listed: set[tuple[str, str]],
    enroller: Enroller,
) -> tuple[str, FaceSample | None]:
    """The digest of a file, and its face if the file is new."""
    content = read_picture_file(file.path)
    digest = hashlib.sha256(content).hexdigest()
    if digest in known_bad:
        raise _UnusableError(digest, known_bad[digest])
    if (file.person, digest) in before or (file.person, digest) in listed:
        return digest, None
    try:
        return digest, enroller.extract(content, str(file.path))
    except (GalleryError, SourceError) as error:
        raise _UnusableError(digest, str(error)) from error


def _apply_faults(people: GalleryStore, faults: Sequence[Fault], strict: bool) -> None:
    """Log faults, and exclude faulty pictures from templates where their person has others."""
    wrong = {fault.row: fault for fault in faults if fault.row is not None}
    excluded = []
    pictures = people.pictures()
    for person in {picture.person for picture in pictures}:
        own = [picture for picture in pictures if picture.person == person]
        faulty = [picture for picture in own if picture.row in wrong]
        if len(faulty) == len(own):
            faulty.remove(max(faulty, key=lambda picture: picture.quality))
        excluded += [picture.row for picture in faulty]
    for fault in faults:
        used = "" if fault.row in excluded or fault.kind is FaultKind.ALIKE else "; used for lack of a better one"
        if strict and not used and fault.kind is not FaultKind.ALIKE:
            raise GalleryError(f"{fault.source}: {fault.reason}: {fault.remedy}")
        log.warning(
            "gallery fault",
            kind=fault.kind.value,
            person=fault.person,
            picture=fault.source,
            reason=fault.reason + used,
            remedy=fault.remedy,
        )
    people.use(excluded)
