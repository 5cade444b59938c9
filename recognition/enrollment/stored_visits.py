"""What a console's folder holds of somebody: renamed, or removed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from facegate.errors import FacegateError
from facegate.pipeline.recording.record import SUFFIX
from facegate.recognition.enrollment.records import Erased
from facegate.recognition.worker.name_changes import named_visit, renamed_line
from facegate.recognition.worker.open_visits import OpenVisits
from facegate.sinks.spool import Spool
from facegate.sinks.wire import EncodedShot
from facegate.store.reader import StoreReader
from facegate.store.records import TrackRecord
from facegate.store.writer import StoreWriter

SLACK_S = 30.0
"""A piece that was written this long after a track ended has all of it."""


def store_of(data: Path) -> Path:
    """The store in a console's folder."""
    return data / "store.db"


def spools_of(data: Path) -> list[Path]:
    """Every spool in a console's folder: of its gate, and of its worker."""
    return [*sorted(data.glob("*.spool")), *_outboxes(data)]


def rename_stored(data: Path | None, name: str, new: str) -> None:
    """Let everything that is stored in a folder, if there is one, and what waits there have somebody's new name.

    Raises:
        FacegateError: a file cannot be written.
    """
    if data is None:
        return
    for path in _outboxes(data):
        rename_waiting(path, lambda each: new if each == name else each)
    if store_of(data).is_file():
        with StoreWriter(store_of(data)) as store:
            store.rename(name, new)


def erase_stored(data: Path, name: str) -> list[Erased]:
    """Remove somebody's stored visits, and recordings that show them; what comes late of these visits is refused.

    Cut short, the same call finds the rest: the store tells where the recordings are.

    Raises:
        FacegateError: a file cannot be read or written.
    """
    path, recordings = store_of(data), data / "recordings"
    if not path.is_file():
        return []
    visits = {visit for outbox in _outboxes(data) for visit in _waiting(outbox, name)}
    for file in sorted((data / "names").glob("*.visits")):
        with OpenVisits(file) as kept:
            visits |= {visit for visit, given in kept.names().items() if given == name}
    with StoreReader(path) as reader, StoreWriter(path) as store:
        tracks = [
            *reader.tracks_of(name),
            *(track for visit in visits if (track := reader.track(visit)) is not None),
        ]
        pieces = sum(
            _erase_recorded(recordings, track) for track in {track.visit: track for track in tracks}.values()
        )
        found = store.erase_person(name, visits)
    return [
        Erased(str(path), found, "stored visits"),
        Erased(str(recordings), pieces, "pieces of recordings"),
    ]


def rename_waiting(path: Path, new_name: Callable[[str], str | None]) -> int:
    """Let events that wait in a spool go out under the names that hold now; return how many have changed.

    Raises:
        DeliveryError: it is no spool, or cannot be written.
    """
    changed = 0

    def header(entry: EncodedShot) -> bytes | None:
        nonlocal changed
        if entry.crop:
            return entry.header  # a shot: nobody is named in it
        renamed = renamed_line(entry.header, new_name)
        changed += renamed != entry.header
        return renamed

    spool = Spool(path)
    try:
        spool.rewrite(header)
    finally:
        spool.close()
    return changed


def _outboxes(data: Path) -> list[Path]:
    return sorted((data / "names").glob("*.spool"))


def _waiting(path: Path, name: str) -> set[str]:
    """Visits of somebody that an event which waits tells of."""
    spool, found, row = Spool(path), set(), 0
    try:
        while page := spool.after(row, 256):
            row = page[-1].row
            found |= {visit for entry in page if (visit := named_visit(entry.header, name)) is not None}
    finally:
        spool.close()
    return found


def _erase_recorded(recordings: Path, track: TrackRecord) -> int:
    """Remove the pieces in which a track is; others who are in them go with it."""
    gone = 0
    if track.segment is None:
        return gone
    for piece in sorted((recordings / track.run_id).glob("*" + SUFFIX)):
        if piece.name >= track.segment:
            try:
                over = piece.stat().st_mtime > track.last + SLACK_S
                piece.unlink()
            except FileNotFoundError:
                continue  # removed meanwhile, with another track
            except OSError as error:
                raise FacegateError(f"cannot remove {piece}: {(error.strerror or 'error').lower()}") from error
            gone += 1
            if over:
                break
    return gone
