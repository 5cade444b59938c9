"""What a camera's gate saw lately, kept in memory so that it can be decided again at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from facegate.errors import ConfigError
from facegate.pipeline.config import CameraConfig, RunConfig
from facegate.pipeline.recording.format import Header
from facegate.pipeline.recording.record import SUFFIX, Gated, Recording
from facegate.pipeline.records import Answers, ScoredFrame

MOST_FACES = 100_000
"""About so many, the newest; some 2 KB each."""


class RunMemory(msgspec.Struct, frozen=True):
    """One run of the gate, as far as it concerns a camera."""

    folder: Path
    header: Header
    items: list[ScoredFrame | Answers | Gated]
    faces: int

    def config(self) -> RunConfig:
        """See :class:`~facegate.pipeline.recording.replay.Recorded`."""
        return RunConfig(
            cameras=tuple(
                CameraConfig(name=name, source="recording", gate=gate) for name, gate in self.header.gates.items()
            )
        )

    def seen(self) -> Iterator[ScoredFrame | Answers | Gated]:
        """See :class:`~facegate.pipeline.recording.replay.Recorded`."""
        return iter(self.items)


def remember(recordings: Path, camera: str, since: float) -> list[RunMemory]:
    """Runs that were recorded since a time (Unix, UTC), oldest first; damaged ones are left out.

    Of pieces that began before and went on, all is taken.
    """
    found: list[RunMemory] = []
    left = MOST_FACES
    runs = sorted((folder for folder in recordings.glob("*") if folder.is_dir()), reverse=True)
    for folder in runs:
        pieces = [piece for piece in sorted(folder.glob("*" + SUFFIX)) if _changed(piece) >= since]
        if not pieces or left <= 0:
            continue
        try:
            run = _run(folder, pieces, camera)
        except ConfigError:
            continue
        if run is not None:
            found.append(run)
            left -= run.faces
    return found[::-1]


def _run(folder: Path, pieces: list[Path], camera: str) -> RunMemory | None:
    header: Header | None = None
    items: list[ScoredFrame | Answers | Gated] = []
    for piece in pieces:
        recording = Recording(piece, crops=False)
        if header is None:
            header = recording.header
        else:
            items.append(Gated(recording.config(), recording.header.learned))
        grouped = _grouped(recording, camera)
        items += [
            item
            for item in recording.seen()
            if not isinstance(item, ScoredFrame) or item.frame.camera == camera or grouped
        ]
    frames = [item for item in items if isinstance(item, ScoredFrame) and item.frame.camera == camera]
    if header is None or not frames:
        return None
    return RunMemory(folder, header, items, sum(len(frame.faces) + len(frame.skipped) for frame in frames))


def _grouped(recording: Recording, camera: str) -> bool:
    """Whether other cameras' faces decide too."""
    gate = recording.header.gates.get(camera, {})
    return bool((gate.get("people") or {}).get("group"))


def _changed(piece: Path) -> float:
    try:
        return piece.stat().st_mtime
    except OSError:
        return 0.0  # it went meanwhile
