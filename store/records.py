"""What the store holds, as records. Times are Unix time (UTC), by the gate's clock."""

from __future__ import annotations

import msgspec

from facegate.pipeline.records import Box, Outcome


class VisitUpdate(msgspec.Struct, frozen=True):
    """What a worker knows of a visit by now."""

    visit: str
    """``RUN/CAMERA/TRACK``."""
    camera: str
    track_id: int
    name: str | None
    similarity: float
    margin: float
    fpir: float | None
    seen: float | None
    ended: bool


class StoredShot(msgspec.Struct, frozen=True):
    """A shot without its pixels."""

    id: int
    """Grows with every shot that is stored."""
    shot_id: str
    visit: str
    camera: str
    seen: float
    quality: int
    rank: int
    reason: str
    name: str | None
    """Of its visit."""
    header: bytes
    """As on the wire (docs/wire.md)."""


class StoredVisit(msgspec.Struct, frozen=True):
    """A track of which a shot was sent."""

    id: int
    visit: str
    camera: str
    track_id: int
    first: float
    last: float
    """When the frames of its first and last shots came."""
    shots: int
    best: str | None
    """``shot_id`` of the best shot, while it is kept."""
    quality: int
    """Of the best shot."""
    answered: bool
    """Whether a worker has said anything of it."""
    name: str | None
    similarity: float | None
    margin: float | None
    fpir: float | None
    ended: bool
    revision: int
    """Grows with every change of any visit."""


class FaceOutcome(msgspec.Struct, frozen=True, array_like=True):
    """One face of a track and what became of it."""

    face_id: str
    pts_s: float
    quality: int | None
    """``None`` for a face that was not scored."""
    outcome: Outcome
    box: Box
    reason: str | None = None
    """Of a shot."""
    shot_id: str | None = None


class TrackRecord(msgspec.Struct, frozen=True):
    """Everything that was decided of a track."""

    run_id: str
    camera: str
    track_id: int
    first: float
    last: float
    faces: int
    quality: int | None
    """Of its best face; ``None`` where none was scored."""
    outcomes: dict[str, int]
    events: tuple[FaceOutcome, ...] = msgspec.field(name="story")
    """By the time of their frames; of very long tracks, the first ones and those that were sent."""
    segment: str | None = msgspec.field(default=None, name="piece")
    """Of the recording, in which the track begins."""
    offset: int = 0
    """Bytes into that piece."""

    @property
    def visit(self) -> str:
        """Its id as a visit."""
        return f"{self.run_id}/{self.camera}/{self.track_id}"
