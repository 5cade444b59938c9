"""What a gate is asked on its control socket, and what it answers: MessagePack, one request, one reply."""

from __future__ import annotations

import msgspec

from facegate.pipeline.records import Box

MAX_CAMERAS = 256
MAX_REQUEST_BYTES = 64 * 1024


class ReportRequest(msgspec.Struct, frozen=True, tag="report"):
    """The run's counts so far: JSON, as of ``facegate run --report``."""


class ReloadRequest(msgspec.Struct, frozen=True, tag="reload"):
    """Read the configuration file again and go over to it."""


class LiveRequest(msgspec.Struct, frozen=True, tag="live"):
    """What cameras show right now."""

    have: dict[str, int]
    """Cameras, and the frame of each that the asker has already (-1: none): it gets no picture of that again."""
    longer_side: int = 320
    """Of the pictures, in pixels."""
    jpeg_quality: int = 75


Request = ReportRequest | ReloadRequest | LiveRequest


class LiveFace(msgspec.Struct, frozen=True, array_like=True):
    """A face that is seen right now."""

    track_id: int
    box: Box
    """In fractions of the picture's width and height."""
    quality: int | None
    """``None`` for one that was not scored."""
    advice: str = ""
    """What would help its quality most; empty where nothing would, or that is not known."""


class LiveCamera(msgspec.Struct, frozen=True):
    """What a camera shows."""

    camera: str
    seq: int
    """Of the frame."""
    age_s: float
    """Of the frame when this was answered."""
    width: int
    height: int
    """Of the frame, not of the picture."""
    faces: tuple[LiveFace, ...]
    jpeg: bytes | None
    """The picture, masked parts black; ``None`` where the asker has it, or nothing has come yet."""


class LiveReply(msgspec.Struct, frozen=True, tag="live"):
    """The answer to :class:`LiveRequest`; a camera that the gate does not have is left out."""

    run_id: str
    cameras: tuple[LiveCamera, ...]


class ReportReply(msgspec.Struct, frozen=True, tag="report"):
    """The answer to :class:`ReportRequest`."""

    json: bytes


class ReloadReply(msgspec.Struct, frozen=True, tag="reloaded"):
    """The answer to :class:`ReloadRequest`."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    ignored: tuple[str, ...]
    """Sections that only a restart changes."""


class ErrorReply(msgspec.Struct, frozen=True, tag="refused"):
    """Nothing was done, and why."""

    reason: str


Reply = LiveReply | ReportReply | ReloadReply | ErrorReply
