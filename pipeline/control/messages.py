"""Messages of the control socket: MessagePack, one reply per request."""

from __future__ import annotations

import msgspec

from facegate.pipeline.records import Box

MAX_CAMERAS = 256
MAX_REQUEST_BYTES = 64 * 1024


class ReportRequest(msgspec.Struct, frozen=True, tag="report"):
    """Request the run's counts so far, as the JSON of ``facegate run --report``."""


class ReloadRequest(msgspec.Struct, frozen=True, tag="reload"):
    """Request a reload of the configuration file."""


class LiveRequest(msgspec.Struct, frozen=True, tag="live"):
    """Request the live view of cameras."""

    have: dict[str, int]
    """Cameras, each with the number of the frame that the client already has (-1: none); it is not sent again."""
    longer_side: int = 320
    """Longer side of the pictures in pixels."""
    jpeg_quality: int = 75


Request = ReportRequest | ReloadRequest | LiveRequest


class LiveFace(msgspec.Struct, frozen=True, array_like=True):
    """A face in the current frame."""

    track_id: int
    box: Box
    """Fractions of the picture's width and height."""
    quality: int | None
    """0 to 100; ``None`` for a face that was not scored."""
    advice: str = ""
    """What would improve its quality most; empty if nothing would, or it is unknown."""


class LiveCamera(msgspec.Struct, frozen=True):
    """Live view of a camera."""

    camera: str
    seq: int
    """Number of the frame."""
    age_s: float
    """Age of the frame at the time of the reply, seconds."""
    width: int
    height: int
    """Size of the frame in pixels, not of the picture."""
    faces: tuple[LiveFace, ...]
    jpeg: bytes | None
    """The picture, masked parts black; ``None`` if the client has it already."""


class LiveReply(msgspec.Struct, frozen=True, tag="live"):
    """Reply to :class:`LiveRequest`; unknown cameras are missing."""

    run_id: str
    cameras: tuple[LiveCamera, ...]


class ReportReply(msgspec.Struct, frozen=True, tag="report"):
    """Reply to :class:`ReportRequest`."""

    json: bytes


class ReloadReply(msgspec.Struct, frozen=True, tag="reloaded"):
    """Reply to :class:`ReloadRequest`: names of cameras."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    ignored: tuple[str, ...]
    """Changed sections that need a restart."""


class ErrorReply(msgspec.Struct, frozen=True, tag="refused"):
    """The request was refused; nothing was done."""

    reason: str


Reply = LiveReply | ReportReply | ReloadReply | ErrorReply
