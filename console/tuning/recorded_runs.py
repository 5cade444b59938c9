"""Recent recordings of a camera, cached in memory for fast replay."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from pathlib import Path
from time import monotonic

import msgspec

from facegate.errors import ConfigError
from facegate.pipeline.config import RunConfig
from facegate.pipeline.recording.format import Header
from facegate.pipeline.recording.record import SUFFIX, GateChange, Recording, config_of
from facegate.pipeline.records import FeedbackBatch, ScoredFrame

MAX_FACES = 100_000
"""Approximate maximum number of cached faces, newest first; about 2 KB each."""


class RunSegment(msgspec.Struct, frozen=True):
    """The part of a segment that concerns one camera."""

    path: Path
    recording: Recording
    items: list[ScoredFrame | FeedbackBatch | GateChange]
    faces: int
    size: int
    """Size of the file in bytes when it was read."""

    def face_ids(self, camera: str) -> set[str]:
        """Ids of the scored faces of a camera."""
        frames = [item for item in self.items if isinstance(item, ScoredFrame) and item.frame.camera == camera]
        return {face.face.face_id for frame in frames for face in frame.faces}


class RecordedRun(msgspec.Struct, frozen=True):
    """The part of a run that concerns one camera."""

    camera: str
    header: Header
    items: list[ScoredFrame | FeedbackBatch | GateChange]
    faces: int
    segments: list[RunSegment]

    def config(self) -> RunConfig:
        """See :class:`~facegate.pipeline.recording.replay.ReplaySource`."""
        return config_of(self.header.gates)

    def events(self) -> Iterator[ScoredFrame | FeedbackBatch | GateChange]:
        """See :class:`~facegate.pipeline.recording.replay.ReplaySource`."""
        return iter(self.items)


class RecordedRuns:
    """Cache of recorded runs; not thread-safe. A segment is read again only when it has grown."""

    def __init__(self, recordings: Path) -> None:
        self._recordings = recordings
        self._pieces: dict[tuple[str, Path], RunSegment] = {}

    def runs(self, camera: str, since: float, deadline: float = inf) -> tuple[list[RecordedRun], int]:
        """Runs of a camera since a time (Unix seconds, UTC), oldest first; damaged segments are skipped.

        A segment that spans ``since`` is included as a whole; above ``MAX_FACES``, the oldest segments are dropped.

        Args:
            camera: name of the camera.
            since: Unix time.
            deadline: monotonic time after which only one new segment is read, and the next call reads on.

        Returns:
            The runs, and the number of segments that are still to be read.
        """
        used: dict[tuple[str, Path], RunSegment] = {}
        found: list[RecordedRun] = []
        left, unread, has_read = MAX_FACES, 0, False
        folders = sorted((folder for folder in self._recordings.glob("*") if folder.is_dir()), reverse=True)
        for folder in folders:
            pieces: list[RunSegment] = []
            for path in sorted(folder.glob("*" + SUFFIX), reverse=True):
                if left <= 0 or _changed(path) < since:
                    break
                is_new = not self._is_current(camera, path)
                if unread or (is_new and has_read and monotonic() > deadline):
                    unread += 1
                    continue
                has_read = has_read or is_new
                try:
                    piece = self._read(camera, path)
                except (ConfigError, OSError):
                    continue  # removed in the meantime, or damaged
                used[camera, path] = piece
                pieces.insert(0, piece)
                left -= piece.faces
            if sum(piece.faces for piece in pieces):
                found.insert(0, _run(camera, pieces))
        others = {key: piece for key, piece in self._pieces.items() if key[0] != camera}
        # Keeps one other camera: operators switch between two.
        kept = next(iter(others), (None, None))[0]
        self._pieces = {key: piece for key, piece in others.items() if key[0] == kept} | used
        return found, unread

    def _is_current(self, camera: str, path: Path) -> bool:
        known = self._pieces.get((camera, path))
        return known is not None and known.size == _size(path)

    def _read(self, camera: str, path: Path) -> RunSegment:
        known, size = self._pieces.get((camera, path)), path.stat().st_size
        if known is not None and known.size == size:
            return known
        recording = Recording(path, crops=False)
        grouped = _grouped(recording, camera)
        items = [
            item
            for item in recording.events()
            if not isinstance(item, ScoredFrame) or item.frame.camera == camera or grouped
        ]
        frames = [item for item in items if isinstance(item, ScoredFrame) and item.frame.camera == camera]
        faces = sum(len(frame.faces) + len(frame.skipped) for frame in frames)
        return RunSegment(path, recording, items, faces, size)


def _run(camera: str, pieces: list[RunSegment]) -> RecordedRun:
    items: list[ScoredFrame | FeedbackBatch | GateChange] = []
    for index, piece in enumerate(pieces):
        if index:
            items.append(GateChange(piece.recording.config(), piece.recording.header.learned))
        items += piece.items
    return RecordedRun(camera, pieces[0].recording.header, items, sum(piece.faces for piece in pieces), pieces)


def _grouped(recording: Recording, camera: str) -> bool:
    """Whether the faces of other cameras influence the decisions."""
    gate = recording.header.gates.get(camera, {})
    return bool((gate.get("people") or {}).get("group"))


def _size(piece: Path) -> int:
    try:
        return piece.stat().st_size
    except OSError:
        return -1  # removed in the meantime


def _changed(piece: Path) -> float:
    try:
        return piece.stat().st_mtime
    except OSError:
        return 0.0  # removed in the meantime
