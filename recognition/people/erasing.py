"""A person is taken out of everything that was written about them: gallery, unknown faces, spools, result files."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from facegate.errors import DeliveryError, GalleryError
from facegate.pipeline.records import Floats
from facegate.recognition.embedders import Embedder
from facegate.recognition.people.store import People
from facegate.recognition.people.unknowns import Unknowns
from facegate.sinks import wire
from facegate.sinks.spool import Spool
from facegate.sinks.wire import Entry

PAGE = 64


class Erased(msgspec.Struct, frozen=True):
    """What was found of a person in one place, and is gone."""

    place: str
    found: int
    what: str


def erase_everywhere(
    gallery: Path,
    name: str,
    embedder: Embedder,
    alike: float,
    spools: Sequence[Path] = (),
    results: Sequence[Path] = (),
    progress: Callable[[str], None] = lambda place: None,
) -> list[Erased]:
    """Delete what shows or names a person. The gallery comes last: cut short, the same call finds the rest.

    Args:
        gallery: the gallery's file.
        name: of a person in it.
        embedder: compares the faces.
        alike: similarity from which two faces are one person.
        spools: of gates and workers.
        results: lines that a worker has written; nobody may be writing to them.
        progress: is told each place.

    Raises:
        GalleryError: no such gallery or person, or a file of results that cannot be read or is being written to.
        DeliveryError: what is said to be a spool is none.
    """
    for path in (*spools, *results):
        if not path.is_file():
            raise GalleryError(f"there is no file {path}: nothing was removed")
    erased = []
    with People(gallery) as people:
        crops = [people.crop(picture.row) for picture in people.pictures(name)]
        templates = embedder.embed(crops) if crops else np.zeros((0, 1), np.float32)

        def shows(vectors: Floats) -> Any:
            """Which of ``(N, D)`` vectors are this person's."""
            if not len(templates) or not len(vectors):
                return np.zeros(len(vectors), bool)
            return (vectors @ templates.T).max(1) >= alike

        for path in spools:
            progress(str(path))
            erased.append(Erased(str(path), _from_spool(path, name, embedder, shows), "that waited"))
        for path in results:
            progress(str(path))
            erased.append(Erased(str(path), _from_results(path, name), "lines"))
        progress(str(gallery))
        with Unknowns(gallery) as unknowns:
            rows, vectors = unknowns.vectors(embedder)
            found = [row for row, own in zip(rows, shows(vectors), strict=True) if own]
            unknowns.forget(found)
        erased.append(Erased(str(gallery), len(found), "unknown faces"))
        erased.append(Erased(str(gallery), people.remove(name), "pictures"))
    return erased


def _from_spool(path: Path, name: str, embedder: Embedder, shows: Callable[[Floats], Any]) -> int:
    spool = Spool(path)
    try:
        count = 0
        for dead in (False, True):
            for page in _pages(spool, dead):
                named = [entry.row for entry in page if not entry.crop and _names(entry.header, name)]
                faces = [(entry.row, crop) for entry in page if entry.crop and (crop := _crop(entry)) is not None]
                vectors = (
                    np.stack(list(embedder.embed([crop for _, crop in faces])))
                    if faces
                    else np.zeros((0, 1), np.float32)
                )
                seen = [row for (row, _), own in zip(faces, shows(vectors), strict=True) if own]
                count += spool.erase_rows([*named, *seen])
        return count
    finally:
        spool.close()


def _pages(spool: Spool, dead: bool) -> Iterator[list[Entry]]:
    row = 0
    while page := spool.after(row, PAGE, dead=dead):
        row = page[-1].row
        yield page


def _crop(entry: Entry) -> Any:
    try:
        return wire.unpack_crop(wire.decode_header(entry.header), entry.crop)
    except DeliveryError:
        return None  # nobody can see a face in it


def _names(line: bytes | str, name: str) -> bool:
    try:
        told = json.loads(line)
    except ValueError:
        return False
    return isinstance(told, dict) and name in (told.get("name"), told.get("before"))


def _from_results(path: Path, name: str) -> int:
    """Leave out the lines that name somebody, and the others of the visits that did."""
    try:
        with _alone(path):
            lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines(keepends=True)
            visits = {json.loads(line).get("visit") for line in lines if _names(line, name)} - {None}
            kept = [line for line in lines if not _names(line, name) and _visit(line) not in visits]
            if len(kept) < len(lines):
                part = path.with_name(path.name + ".part")
                part.touch(mode=path.stat().st_mode & 0o777)
                part.write_text("".join(kept), encoding="utf-8", errors="surrogateescape")
                part.replace(path)
            return len(lines) - len(kept)
    except OSError as error:
        raise GalleryError(f"cannot rewrite {path}: {(error.strerror or 'unknown error').lower()}") from error


def _visit(line: str) -> Any:
    try:
        told = json.loads(line)
    except ValueError:
        return ""
    return told.get("visit", "") if isinstance(told, dict) else ""


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise GalleryError(f"a worker writes to {path}: stop it first") from None
        yield
