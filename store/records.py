"""Records of the store. Times are Unix times (UTC) by the gate's clock."""

from __future__ import annotations

import msgspec
import numpy as np

from facegate.pipeline.records import Box, Floats, Outcome


class VisitUpdate(msgspec.Struct, frozen=True):
    """Current result of a visit, as in a worker's event; decoded from its JSON."""

    visit: str
    """``RUN/CAMERA/TRACK``."""
    camera: str
    track_id: int
    name: str | None
    similarity: float
    margin: float
    fpir: float | None
    seen: float | None = msgspec.field(default=None, name="seen_at")
    """Unix time (UTC) of arrival of the first shot's frame."""
    event: str = ""
    """``ended``: no shot follows; ``changed``: another name, perhaps after the end."""
    unknown_id: int | None = None
    seen_before: int | None = None
    first_seen: float | None = None
    """The unknown visitor: its number, earlier visits, and Unix time of the first one."""


class VisitTemplate(msgspec.Struct, frozen=True):
    """The template of a visit."""

    visit: str
    """``RUN/CAMERA/TRACK``."""
    recognizer: str
    """See :func:`facegate.recognition.embedders.recognizer_id`."""
    vector: bytes
    """Unit embedding, float16, little-endian."""

    def embedding(self) -> Floats:
        """The unit embedding, ``(D,)``."""
        return np.frombuffer(self.vector, "<f2").astype(np.float32)


def packed(embedding: Floats) -> bytes:
    """Serialize a unit embedding ``(D,)`` as in :class:`VisitTemplate`."""
    return embedding.astype("<f2").tobytes()


class StoredShot(msgspec.Struct, frozen=True):
    """A shot without its pixels."""

    id: int
    """Row id; increases with every stored shot."""
    shot_id: str
    visit: str
    camera: str
    seen: float
    quality: int
    rank: int
    reason: str
    name: str | None
    """Name of its visit."""
    header: bytes
    """As on the wire (docs/reference/wire.md)."""


class StoredVisit(msgspec.Struct, frozen=True):
    """A track that sent a shot."""

    id: int
    visit: str
    camera: str
    track_id: int
    first: float
    last: float
    """Arrival of its first and last faces; of its first and last shots, while or where its track is not stored."""
    shots: int
    best: str | None
    """``shot_id`` of the best shot, while it is stored."""
    quality: int
    """Quality of the best shot, 0..100."""
    answered: bool
    """Whether a worker has reported on it."""
    name: str | None
    similarity: float | None
    margin: float | None
    fpir: float | None
    ended: bool
    corrected: float | None
    """Unix time at which somebody corrected the name; ``None`` for the recognizer's decision."""
    revision: int
    """Number of its last change; increases with every change of any visit."""
    unknown_id: int | None = None
    """Number of an unknown visitor, the same in all visits."""
    seen_before: int | None = None
    """Number of its earlier visits."""
    first_seen: float | None = None
    """Unix time (UTC) of its first visit."""


class VisitClip(msgspec.Struct, frozen=True, eq=False):
    """Seconds of video around a visit."""

    visit: str
    camera: str
    began: float
    """Unix time (UTC) of the first packet."""
    offset_s: float
    """Seconds from the first packet, which holds a key picture, to the time that was asked for."""
    seconds: float
    codec: str
    """FFmpeg's name of the codec."""
    mp4: bytes
    """Fragmented MP4 without sound; empty in lists."""


class FaceOutcome(msgspec.Struct, frozen=True, array_like=True):
    """A face of a track and its outcome."""

    face_id: str
    pts_s: float
    quality: int | None
    """``None`` for a face that was not scored."""
    outcome: Outcome
    box: Box
    reason: str | None = None
    """Reason of the shot, if one was sent."""
    shot_id: str | None = None


class TrackRecord(msgspec.Struct, frozen=True):
    """Decision history of a track."""

    run_id: str
    camera: str
    track_id: int
    first: float
    last: float
    faces: int
    quality: int | None
    """Quality of its best face, 0..100; ``None`` if none was scored."""
    outcomes: dict[str, int]
    events: tuple[FaceOutcome, ...] = msgspec.field(name="story")
    """In order of their frames; very long tracks keep the first ones and those that were sent."""
    segment: str | None = msgspec.field(default=None, name="piece")
    """Segment of the recording in which the track begins."""
    offset: int = 0
    """Offset into that segment, bytes."""

    @property
    def visit(self) -> str:
        """Id of the visit."""
        return f"{self.run_id}/{self.camera}/{self.track_id}"
