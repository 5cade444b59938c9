"""A person's data in a console's data folder: renaming and erasure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Set
from pathlib import Path
from typing import Any

import msgspec

from facegate.errors import FacegateError, GalleryError, os_errors, os_reason
from facegate.pipeline.recording.record import SUFFIX
from facegate.pipeline.records import Floats
from facegate.recognition.embedders import Embedder, recognizer_id
from facegate.recognition.enrollment.names import name_key
from facegate.recognition.enrollment.records import Erased
from facegate.recognition.search.template_index import FOLDER as INDEX_FOLDER
from facegate.recognition.search.template_index import drop_removed
from facegate.recognition.worker.name_changes import named_visit, renamed_line
from facegate.recognition.worker.open_visits import OpenVisits
from facegate.sinks.spool import Spool
from facegate.sinks.wire import EncodedShot
from facegate.store.reader import StoreReader, VisitFilter
from facegate.store.records import TrackRecord
from facegate.store.templates import TemplateReader
from facegate.store.writer import StoreWriter

PAGE = 4096
"""Templates compared at once."""
SLACK_S = 30.0
"""A segment last written this long after a track's end contains all of it."""


def store_of(data: Path) -> Path:
    """Path of the store in a console's data folder."""
    return data / "store.db"


def spools_of(data: Path) -> list[Path]:
    """Paths of all spools in a console's data folder, of its gate and its worker."""
    return [*sorted(data.glob("*.spool")), *_publisher_spools(data)]


def check_data(data: Path | None) -> None:
    """Check that a folder, if one is given, is a console's data folder.

    Raises:
        GalleryError: it is not.
    """
    if data is not None and not (store_of(data).is_file() or spools_of(data)):
        raise GalleryError(f"{data} is not a data folder of 'facegate serve': nothing was changed; correct --data")


def rename_stored(data: Path | None, name: str, new: str) -> None:
    """Rename a person in the store and in the pending events of a data folder, if there is one.

    Raises:
        FacegateError: a file cannot be written.
    """
    if data is None:
        return
    key = name_key(name)
    for path in _publisher_spools(data):
        rename_waiting(path, lambda each: new if name_key(each) == key else each)
    if store_of(data).is_file():
        with StoreWriter(store_of(data)) as store:
            for spelling in _spellings(store, {key}):
                store.rename(spelling, new)


def name_stored(data: Path | None, visits: Collection[str], number: int | None, name: str) -> None:
    """Name the stored visits of an unknown visitor: those given, and those with its number.

    Raises:
        StoreError: the store cannot be written.
    """
    if data is not None and store_of(data).is_file():
        with StoreWriter(store_of(data)) as store:
            store.name_visits(visits, number, name)


def move_stored(data: Path | None, visits: Collection[str], number: int) -> None:
    """Give stored visits to another unknown visitor.

    Raises:
        StoreError: the store cannot be written.
    """
    if data is not None and store_of(data).is_file():
        with StoreWriter(store_of(data)) as store:
            store.move_visits(visits, number)


def _spellings(store: StoreWriter, keys: Set[str]) -> list[str]:
    return [name for name in store.names() if name_key(name) in keys]


class FaceMatcher(msgspec.Struct, frozen=True):
    """Tells which faces show a person."""

    embedder: Embedder
    shows: Callable[[Floats], Any]
    """Returns the mask ``(N,)`` for embeddings ``(N, D)``."""

    def visits(self, path: Path) -> set[str]:
        """Visits in a store that have no name and show the person.

        Raises:
            StoreError: the store cannot be read.
        """
        found: set[str] = set()
        row = 0
        with TemplateReader(path) as store:
            while True:
                ids, templates = store.after(recognizer_id(self.embedder), row, PAGE)
                if not len(ids):
                    return found
                row = int(ids[-1])
                visits = store.visits_with(ids[self.shows(templates)].tolist(), VisitFilter(known=False))
                found |= {visit.visit for visit in visits.values()}


def erase_named(path: Path, keys: Set[str], matcher: FaceMatcher) -> int:
    """Erase the visits of a person from a store; return their number.

    Args:
        path: file of a store.
        keys: keys of the person's names, see :func:`name_key`.
        matcher: tells which visits without a name are the person's.

    Raises:
        StoreError: the store cannot be written.
    """
    visits = matcher.visits(path)
    with StoreWriter(path) as store:
        return store.erase_person(*_spellings(store, keys), also=visits)


def erase_stored(data: Path, keys: Set[str], matcher: FaceMatcher) -> list[Erased]:
    """Erase a person's stored visits and the recordings that show them; late data of these visits is refused.

    After an interruption, call again: the store comes last, as it tells where the recordings are.

    Args:
        data: a console's data folder.
        keys: keys of the person's names, see :func:`name_key`.
        matcher: tells which visits without a name are the person's.

    Raises:
        FacegateError: a file cannot be read or written.
    """
    path, recordings = store_of(data), data / "recordings"
    if not path.is_file():
        return []
    visits = {visit for spool in _publisher_spools(data) for visit in _pending_visits(spool, keys)}
    visits |= matcher.visits(path)
    for file in sorted((data / "names").glob("*.visits")):
        with OpenVisits(file) as kept:
            visits |= {visit for visit, given in kept.names().items() if name_key(given) in keys}
    with StoreReader(path) as reader, StoreWriter(path) as store:
        names = _spellings(store, keys)
        tracks = [
            *(track for name in names for track in reader.tracks_of(name)),
            *(track for visit in visits if (track := reader.track(visit)) is not None),
        ]
        segments = sum(
            _erase_recorded(recordings, track) for track in {track.visit: track for track in tracks}.values()
        )
        found = store.erase_person(*names, also=visits)
    with TemplateReader(path) as templates, os_errors(GalleryError, f"cannot delete from {data / INDEX_FOLDER}"):
        drop_removed(templates, data / INDEX_FOLDER)
    return [
        Erased(str(path), found, "stored visits"),
        Erased(str(recordings), segments, "recording segments"),
    ]


def rename_waiting(path: Path, new_name: Callable[[str], str | None]) -> int:
    """Apply current names to the events pending in a spool; return how many have changed.

    Raises:
        DeliveryError: the file is not a spool, or cannot be written.
    """
    changed = 0

    def header(entry: EncodedShot) -> bytes | None:
        nonlocal changed
        if entry.crop:
            return entry.header  # shots contain no names
        renamed = renamed_line(entry.header, new_name)
        changed += renamed != entry.header
        return renamed

    spool = Spool(path)
    try:
        spool.rewrite(header)
    finally:
        spool.close()
    return changed


def _publisher_spools(data: Path) -> list[Path]:
    return sorted((data / "names").glob("*.spool"))


def _pending_visits(path: Path, keys: Set[str]) -> set[str]:
    """Visits of a person with a pending event."""

    def is_named(name: str) -> bool:
        return name_key(name) in keys

    spool, found, row = Spool(path), set(), 0
    try:
        while page := spool.after(row, 256):
            row = page[-1].row
            found |= {visit for entry in page if (visit := named_visit(entry.header, is_named)) is not None}
    finally:
        spool.close()
    return found


def _erase_recorded(recordings: Path, track: TrackRecord) -> int:
    """Delete the segments that contain a track, with everything else in them; return their number."""
    gone = 0
    if track.segment is None:
        return gone
    for segment in sorted((recordings / track.run_id).glob("*" + SUFFIX)):
        if segment.name >= track.segment:
            try:
                over = segment.stat().st_mtime > track.last + SLACK_S
                segment.unlink()
            except FileNotFoundError:
                continue  # deleted with another track
            except OSError as error:
                raise FacegateError(f"cannot delete {segment}: {os_reason(error)}") from error
            gone += 1
            if over:
                break
    return gone
