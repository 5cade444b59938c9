"""Erasure of a person from gallery, unknown faces, spools, result files and a console's data."""

from __future__ import annotations

import fcntl
from collections.abc import Collection, Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from facegate.errors import DeliveryError, GalleryError, os_errors
from facegate.paths import replacing
from facegate.pipeline.records import Floats
from facegate.recognition.embedders import Embedder, recognizer_id
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.enrollment.names import name_key
from facegate.recognition.enrollment.records import Erased
from facegate.recognition.enrollment.stored_visits import (
    FaceMatcher,
    check_data,
    erase_stored,
    rename_waiting,
    spools_of,
)
from facegate.recognition.enrollment.unknowns import UnknownStore
from facegate.recognition.worker.template_entries import template_of
from facegate.sinks import wire
from facegate.sinks.spool import Spool
from facegate.sinks.wire import EncodedShot

PAGE = 64


def erase_everywhere(
    gallery: Path,
    name: str,
    embedder: Embedder,
    min_similarity: float,
    spools: Sequence[Path] = (),
    results: Sequence[Path] = (),
    data: Path | None = None,
    former: Collection[str] = (),
) -> list[Erased]:
    """Delete everything that shows or names a person. The gallery comes last: after an interruption, call again.

    Args:
        gallery: the gallery's file.
        name: a person in it.
        embedder: computes embeddings.
        min_similarity: similarity from which two faces are one person.
        spools: spools of gates and workers.
        results: output files of workers; no worker may be writing to them.
        data: a console's data folder: its store, recordings and spools.
        former: keys of the person's former names, which nobody else has now.

    Raises:
        GalleryError: no such gallery, person or place, or a result file that cannot be read or is being written to.
        DeliveryError: a file is not a spool.
    """
    check_places(spools, results, data)
    erased = []
    if data is not None:
        spools = [*spools, *(path for path in spools_of(data) if path not in spools)]
    with GalleryStore(gallery) as people:
        keys = {name_key(name), *former}
        matcher = face_matcher(people, name, embedder, min_similarity)
        if data is not None:
            erased += erase_stored(data, keys, matcher)
        for path in spools:
            erased.append(Erased(str(path), erase_from_spool(path, keys, matcher), "pending entries"))
        for path in results:
            erased.append(Erased(str(path), _from_results(path, keys), "lines"))
        with UnknownStore(gallery) as unknowns:
            rows, vectors = unknowns.vectors(embedder)
            found = [row for row, own in zip(rows, matcher.shows(vectors), strict=True) if own]
            unknowns.forget(found)
        erased.append(Erased(str(gallery), len(found), "unknown faces"))
        erased.append(Erased(str(gallery), people.remove(name), "pictures"))
    return erased


def face_matcher(people: GalleryStore, name: str, embedder: Embedder, min_similarity: float) -> FaceMatcher:
    """Build the matcher of a person in a gallery.

    Args:
        people: the gallery.
        name: the person.
        embedder: computes embeddings.
        min_similarity: similarity from which two faces are one person.

    Raises:
        GalleryError: the person is not enrolled.
    """
    crops = [people.crop(picture.row) for picture in people.pictures(name) if picture.kind == "enrolled"]
    templates = embedder.embed(crops) if crops else np.zeros((0, 1), np.float32)

    def shows(vectors: Floats) -> Any:
        if not len(templates) or not len(vectors):
            return np.zeros(len(vectors), bool)
        return (vectors @ templates.T).max(1) >= min_similarity

    return FaceMatcher(embedder, shows)


def check_places(spools: Sequence[Path], results: Sequence[Path], data: Path | None) -> None:
    """Check that all places exist, before anything is removed.

    Raises:
        GalleryError: one does not.
    """
    for path in (*spools, *results):
        if not path.is_file():
            raise GalleryError(f"no file {path}: nothing was removed")
    check_data(data)


def erase_from_spool(path: Path, keys: Set[str], matcher: FaceMatcher) -> int:
    """Delete the pending shots, templates and events of a person; return their number.

    Args:
        path: file of a spool.
        keys: keys of the person's names, see :func:`name_key`.
        matcher: tells which faces are the person's.

    Raises:
        DeliveryError: not a spool, or not writable.
    """
    spool = Spool(path)
    embedder, shows = matcher.embedder, matcher.shows
    try:
        count = 0
        for dead in (False, True):
            for page in _pages(spool, dead):
                faces = [(entry.row, crop) for entry in page if entry.crop and (crop := _crop(entry)) is not None]
                seen = shows(embedder.embed([crop for _, crop in faces])) if faces else ()
                own = [row for (row, _), shown in zip(faces, seen, strict=True) if shown]
                templates = [(entry.row, found) for entry in page if (found := template_of(entry)) is not None]
                own += [
                    row
                    for row, template in templates
                    if template.recognizer == recognizer_id(embedder) and shows(template.embedding()[None])[0]
                ]
                count += spool.erase_rows(own)
        return count + rename_waiting(path, lambda each: None if name_key(each) in keys else each)
    finally:
        spool.close()


def _pages(spool: Spool, dead: bool) -> Iterator[list[EncodedShot]]:
    row = 0
    while page := spool.after(row, PAGE, dead=dead):
        row = page[-1].row
        yield page


def _crop(entry: EncodedShot) -> Any:
    try:
        return wire.unpack_crop(wire.decode_header(entry.header), entry.crop)
    except DeliveryError:
        return None  # unreadable, so it shows no face


class _NamedLine(msgspec.Struct, frozen=True):
    """Fields of a worker's line that name a person."""

    name: str | None = None
    before: str | None = None
    visit: str | None = None

    def names(self, keys: Set[str]) -> bool:
        return any(name_key(own) in keys for own in (self.name, self.before) if own is not None)


def _parse(line: bytes) -> _NamedLine:
    try:
        return msgspec.json.decode(line, type=_NamedLine)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _NamedLine()  # an incomplete or foreign line


def _from_results(path: Path, keys: Set[str]) -> int:
    """Delete the lines that name a person, and all other lines of these visits."""
    with os_errors(GalleryError, f"cannot rewrite {path}"), _exclusive(path):
        lines = [(line, _parse(line)) for line in path.read_bytes().splitlines(keepends=True)]
        visits = {fields.visit for _, fields in lines if fields.names(keys)} - {None}
        kept = [line for line, fields in lines if not fields.names(keys) and fields.visit not in visits]
        if len(kept) < len(lines):
            with replacing(path, path.stat().st_mode & 0o777) as part:
                part.write_bytes(b"".join(kept))
        return len(lines) - len(kept)


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise GalleryError(f"a worker is writing to {path}: stop it first") from None
        yield
