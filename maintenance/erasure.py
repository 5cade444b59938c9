"""Erasure of a person from everything that is kept, with automatic backups and damaged files."""

from __future__ import annotations

import glob
import shutil
from collections.abc import Collection, Mapping, Sequence, Set
from contextlib import ExitStack
from pathlib import Path

import msgspec

from facegate.errors import FacegateError, os_errors
from facegate.maintenance.backups import FOLDER, PART, automatic, exclusive
from facegate.maintenance.files import DAMAGED
from facegate.recognition.embedders import Embedder
from facegate.recognition.enrollment.erasure import check_places, erase_everywhere, erase_from_spool, face_matcher
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.enrollment.names import name_key
from facegate.recognition.enrollment.records import Erased
from facegate.recognition.enrollment.stored_visits import FaceMatcher, erase_named, spools_of
from facegate.recognition.enrollment.unknowns import UnknownStore


class Identity(msgspec.Struct, frozen=True):
    """How a person is recognized in backups, where the name may be an earlier one."""

    key: str
    """Key of the name, see :func:`name_key`."""
    digests: Set[str]
    """Digests of the person's enrolled pictures."""
    others: Mapping[str, Set[str]]
    """Digests of everyone else in the gallery, by key of the name."""

    def is_person(self, key: str, digests: Set[str]) -> bool:
        """Whether an entry of a backup is this person rather than someone else in the gallery."""
        own = len(digests & self.digests)
        other = max((len(digests & pictures) for pictures in self.others.values()), default=0)
        return own > other or (key == self.key and own == other)


def erase_person(
    gallery: Path,
    name: str,
    embedder: Embedder,
    spools: Sequence[Path] = (),
    results: Sequence[Path] = (),
    data: Path | None = None,
) -> list[Erased]:
    """Erase a person from everything; the gallery comes last: after an interruption, call again.

    Args:
        gallery: the gallery's file; automatic backups beside it are included.
        name: a person in it.
        embedder: computes embeddings; faces as similar as its threshold are the same person.
        spools: spools of gates and workers.
        results: output files of workers; no worker may be writing to them.
        data: a console's data folder: its store, recordings, spools and automatic backups.

    Raises:
        GalleryError: no such gallery, person or place, or a result file that cannot be read or is being written to.
        FacegateError: a file cannot be read or written.
    """
    check_places(spools, results, data)
    with GalleryStore(gallery) as people:
        name = people.spelling(name)
    found = read_identity(gallery, name)
    with GalleryStore(gallery) as people:
        faces = face_matcher(people, name, embedder, embedder.threshold)
    beside = [gallery.absolute().parent, *([] if data is None else [data.absolute()])]
    folders = [folder / FOLDER for folder in dict.fromkeys(beside)]
    with ExitStack() as held:
        for folder in folders:
            held.enter_context(exclusive(folder))
        erased, former = erase_in_backups(folders, found, faces)
        erased += _delete_damaged(gallery.absolute(), spools, data)
        erased += erase_everywhere(gallery, name, embedder, embedder.threshold, spools, results, data, former)
    return erased


def read_identity(gallery: Path, name: str) -> Identity:
    """Identify a person of a gallery.

    Raises:
        GalleryError: no such gallery or person.
    """
    with GalleryStore(gallery) as people:
        people.pictures(name)  # raises GalleryError for an unknown name
        found = _pictures(people)
    key = name_key(name)
    return Identity(key, found.pop(key), found)


def _pictures(people: GalleryStore) -> dict[str, set[str]]:
    """Digests of enrolled pictures by key of the person's name."""
    found: dict[str, set[str]] = {name_key(person.name): set() for person in people.people()}
    for picture in people.pictures():
        if picture.kind == "enrolled":
            found[name_key(picture.person)].add(picture.digest)
    return found


def erase_in_backups(
    folders: Collection[Path], person: Identity, faces: FaceMatcher
) -> tuple[list[Erased], set[str]]:
    """Erase a person, under whatever name, and all unknown faces from automatic backups.

    Args:
        folders: folders of automatic backups.
        person: the person to erase.
        faces: tells which faces are the person's.

    Returns:
        The number of backups with the person by folder, and the keys of the person's former names that nobody
        else has now.

    Raises:
        FacegateError: a backup cannot be written.
    """
    backups = {backup: _read_pictures(backup / "people.db") for folder in folders for backup in automatic(folder)}
    person = _with_earlier_pictures(person, backups.values())
    own = {
        backup: {key for key, digests in people.items() if person.is_person(key, digests)}
        for backup, people in backups.items()
    }
    former = set().union(*own.values()) - set(person.others) - {person.key}
    erased = []
    for folder in folders:
        count = 0
        for backup in automatic(folder):
            strangers = set(backups[backup]) - own[backup]
            names = ({person.key} | former | own[backup]) - strangers
            count += _erase_in_backup(backup, own[backup], names, faces) > 0
        for left in folder.glob(f"*{PART}"):
            _delete_folder(left)
        erased.append(Erased(str(folder), count, "copies in automatic backups"))
    return erased, former


def _read_pictures(gallery: Path) -> dict[str, set[str]]:
    if not gallery.is_file():
        return {}
    with GalleryStore(gallery) as people:
        return _pictures(people)


def _with_earlier_pictures(person: Identity, backups: Collection[Mapping[str, Set[str]]]) -> Identity:
    """Add the pictures that the person had in backups, until there are no more."""
    while True:
        found = [digests for people in backups for key, digests in people.items() if person.is_person(key, digests)]
        pictures = set(person.digests).union(*found)
        if pictures == person.digests:
            return person
        person = msgspec.structs.replace(person, digests=pictures)


def _erase_in_backup(backup: Path, people: Set[str], names: Set[str], faces: FaceMatcher) -> int:
    found = 0
    gallery, store = backup / "people.db", backup / "store.db"
    if gallery.is_file():
        with GalleryStore(gallery) as opened, UnknownStore(gallery) as unknowns:
            for key in people:
                found += 1 + opened.remove(key)
            unknowns.forget_all()
    if store.is_file():
        found += erase_named(store, names, faces)
    for spool in spools_of(backup):
        found += erase_from_spool(spool, names, faces)
    return found


def _delete_folder(folder: Path) -> None:
    """Delete what an interrupted backup has left."""
    with os_errors(FacegateError, f"cannot delete {folder}"):
        shutil.rmtree(folder)


def _delete_damaged(gallery: Path, spools: Sequence[Path], data: Path | None) -> list[Erased]:
    """Delete files that were set aside as damaged: nothing can be erased from them."""
    places = [(path.parent, glob.escape(path.name)) for path in (gallery, *spools)]
    if data is not None:
        places += [(data, "people.db"), (data, "store.db"), (data, "*.spool"), (data / "names", "*.spool")]
    files = {path for folder, name in places for path in folder.glob(f"{name}{DAMAGED}*")}
    for path in files:
        with os_errors(FacegateError, f"cannot delete {path}"):
            path.unlink(missing_ok=True)
    whole = [path for path in files if not path.name.endswith((".txt", "-wal", "-shm"))]
    counts = {folder: sum(path.parent == folder for path in whole) for folder in sorted({p.parent for p in whole})}
    return [Erased(str(folder), count, "files set aside as damaged") for folder, count in counts.items()]
