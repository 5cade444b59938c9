"""A folder of pictures as a gallery: kept in step with a ``people.db``, so that only what is new is looked at."""

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
    """Tells whether a folder has changed, without reading its pictures."""

    files: tuple[tuple[str, int, int], ...]

    @classmethod
    def of(cls, folder: Path) -> Stamp:
        """Note names, sizes and times.

        Raises:
            GalleryError: no such folder, or nobody in it.
        """
        found = []
        for file in find_people(folder):
            try:
                stat = file.path.stat()
            except OSError:  # gone in the meantime
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
    """Make ``people`` hold what ``folder`` holds, and warn of what is wrong with it.

    A file without a usable face is left out, and so is a picture with a fault of which its person has others; where
    none would be left, the best is used all the same.

    Args:
        folder: one sub-folder of pictures per person.
        people: holds nothing else.
        enroller: looks at what is new.
        progress: called with files done and in all.
        strict: refuse what would be left out.

    Raises:
        GalleryError: nobody is left; or, if strict, anything would be left out.
        SourceError: if strict, a file that is not a picture.
    """
    files = find_people(folder)
    for name in {file.person for file in files}:
        if (spelled := people.spelling(name)) != name:
            people.rename(spelled, name)  # the folder was
    before = {(picture.person, picture.digest): picture.row for picture in people.pictures()}
    known_bad = people.unusable()
    bad: dict[str, str] = {}
    wanted: set[tuple[str, str]] = set()
    looks: dict[str, list[FaceSample]] = {}
    for index, file in enumerate(files):
        try:
            digest, look = _see(file, before, known_bad, wanted, enroller)
            if look is not None:
                looks.setdefault(file.person, []).append(look)
            wanted.add((file.person, digest))
        except (GalleryError, SourceError) as error:
            if strict:
                raise
            log.warning("picture left out of the gallery", person=file.person, reason=str(error))
            if isinstance(error, _UnusableError):
                bad[error.digest] = str(error)
        progress(index + 1, len(files))
    gone = [row for key, row in before.items() if key not in wanted]
    people.remove_pictures(gone)
    for person, found in looks.items():
        people.add(person, found)
    with_pictures = {person for person, _ in wanted}
    for name in sorted({file.person for file in files} - with_pictures):
        if strict:
            raise GalleryError(f"no picture of {name} can be used: add one, or remove the folder")
        log.warning("nobody will be named so: no picture of this person can be used", person=name)
    for somebody in people.people():
        if somebody.name not in with_pictures:
            people.remove(somebody.name)
    people.keep_unusable(bad)
    if not wanted:
        raise GalleryError("no picture in the gallery can be used: give clear pictures of one face each")
    if looks or gone or enroller.unseen():
        _judge(people, enroller.check(), strict)


class _UnusableError(GalleryError):
    """A file of which nothing can be enrolled."""

    def __init__(self, digest: str, reason: str) -> None:
        super().__init__(reason)
        self.digest = digest


def _see(
    file: PictureFile,
    before: dict[tuple[str, str], int],
    known_bad: dict[str, str],
    wanted: set[tuple[str, str]],
    enroller: Enroller,
) -> tuple[str, FaceSample | None]:
    """The digest of a file, and what is seen in it if it is new."""
    content = read_picture_file(file.path)
    digest = hashlib.sha256(content).hexdigest()
    if digest in known_bad:
        raise _UnusableError(digest, known_bad[digest])
    if (file.person, digest) in before or (file.person, digest) in wanted:
        return digest, None
    try:
        return digest, enroller.extract(content, str(file.path))
    except (GalleryError, SourceError) as error:
        raise _UnusableError(digest, str(error)) from error


def _judge(people: GalleryStore, faults: Sequence[Fault], strict: bool) -> None:
    """Warn of faults, and leave out of templates what has one and can be spared."""
    wrong = {fault.row: fault for fault in faults if fault.row is not None}
    left_out = []
    pictures = people.pictures()
    for person in {picture.person for picture in pictures}:
        own = [picture for picture in pictures if picture.person == person]
        faulty = [picture for picture in own if picture.row in wrong]
        if len(faulty) == len(own):
            faulty.remove(max(faulty, key=lambda picture: picture.quality))
        left_out += [picture.row for picture in faulty]
    for fault in faults:
        used = "" if fault.row in left_out or fault.kind is FaultKind.ALIKE else "; used, as there is no better one"
        if strict and not used and fault.kind is not FaultKind.ALIKE:
            raise GalleryError(f"{fault.source}: {fault.reason}: {fault.remedy}")
        what = "two people of the gallery look alike" if fault.kind is FaultKind.ALIKE else "picture with a fault"
        log.warning(
            what, person=fault.person, picture=fault.source, reason=fault.reason + used, remedy=fault.remedy
        )
    people.use(left_out)
