"""The messages between gate and worker: MessagePack headers (msgspec) and the crop in its own ZeroMQ frame.

Every message starts with a one-word kind; ``SHOT`` carries header and crop, the others at most a small body.
The header names its version: a newer minor version only adds fields and is read, another major is refused.
"""

from __future__ import annotations

from typing import Literal, TypeVar

import cv2
import msgspec
import numpy as np

from facegate.errors import DeliveryError
from facegate.pipeline.records import Box, Image, Shot, contiguous

VERSION = (1, 0)
MAX_HEADER_BYTES = 64 * 1024
MAX_CROP_BYTES = 256 * 1024
CROP_SIDE = 112
JPEG_QUALITY = 95

READY = b"READY"
"""Worker to gate, at the start and as a heartbeat: :class:`Ready`."""
SHOT = b"SHOT"
"""Gate to worker: :class:`ShotHeader` and the encoded crop."""
ACK = b"ACK"
"""Worker to gate: :class:`Ack`, this shot is done."""
BYE = b"BYE"
"""Worker to gate: it leaves; what it has not acknowledged goes to others."""
END = b"END"
"""Gate to worker: the run has ended."""


class Ready(msgspec.Struct, frozen=True):
    """A worker is there and takes at most ``window`` unacknowledged shots at a time.

    The number is absolute, so repeating the message is harmless and a restarted gate learns of its workers.
    """

    window: int


class Ack(msgspec.Struct, frozen=True):
    """A worker's receipt; ``latency_ms`` is the time it spent on the shot."""

    shot_id: str
    latency_ms: float


class QualityBlock(msgspec.Struct, frozen=True):
    """ISO/IEC 29794-1 style: an integer 0..100 and what produced it."""

    value: int
    raw: float
    algorithm: str
    model: str
    calibration: str


class ShotHeader(msgspec.Struct, frozen=True):
    """Everything about a shot but its pixels. Coordinates are pixels of the full frame."""

    version: tuple[int, int]
    shot_id: str
    run_id: str
    camera: str
    track_id: int
    face_id: str
    rank: int
    reason: str
    frame_seq: int
    pts_s: float
    """Media time, seconds."""
    captured_at: float | None
    """Unix time (UTC) where the camera tells it."""
    frame_size: tuple[int, int]
    """Width and height."""
    box: Box
    confidence: float
    landmarks: list[tuple[float, float]]
    quality: QualityBlock
    crop_encoding: Literal["jpeg", "rgb24"]


T = TypeVar("T", Ready, Ack, ShotHeader)


def encode(message: Ready | Ack | ShotHeader) -> bytes:
    """Pack a message body."""
    return msgspec.msgpack.encode(message)


def decode(body: bytes, kind: type[T]) -> T:
    """Unpack and validate a message body.

    Raises:
        DeliveryError: too large, not MessagePack, or fields missing or of the wrong type.
    """
    if len(body) > MAX_HEADER_BYTES:
        raise DeliveryError(f"message of {len(body)} bytes refused: at most {MAX_HEADER_BYTES} are allowed")
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except (
        msgspec.DecodeError,
        UnicodeDecodeError,
    ) as error:  # msgspec lets text that is not UTF-8 through as such
        raise DeliveryError(f"malformed {kind.__name__} message refused: {error}") from error


def decode_header(body: bytes) -> ShotHeader:
    """Unpack a shot's header and check its version.

    Raises:
        DeliveryError: malformed, or of another major version.
    """
    header = decode(body, ShotHeader)
    if header.version[0] != VERSION[0]:
        raise DeliveryError(f"shot of wire version {header.version[0]} refused: this side reads {VERSION[0]}.x")
    return header


def pack_shot(shot: Shot) -> tuple[bytes, bytes]:
    """Return header and JPEG crop of a shot."""
    face, info = shot.scored.face, shot.quality_info
    header = ShotHeader(
        version=VERSION,
        shot_id=shot.shot_id,
        run_id=shot.run_id,
        camera=shot.camera,
        track_id=shot.track_id,
        face_id=face.face_id,
        rank=shot.rank,
        reason=shot.reason.value,
        frame_seq=face.frame.seq,
        pts_s=face.frame.pts_s,
        captured_at=face.frame.captured_at,
        frame_size=(face.frame.width, face.frame.height),
        box=face.detection.box,
        confidence=face.detection.confidence,
        landmarks=[(float(x), float(y)) for x, y in face.detection.landmarks],
        quality=QualityBlock(
            value=shot.quality,
            raw=shot.scored.raw,
            algorithm=info.algorithm,
            model=info.model,
            calibration=info.calibration,
        ),
        crop_encoding="jpeg",
    )
    _, encoded = cv2.imencode(
        ".jpg", cv2.cvtColor(face.crop, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )
    return encode(header), encoded.tobytes()


def unpack_crop(header: ShotHeader, payload: bytes) -> Image:
    """Return the ``(112, 112, 3)`` RGB crop.

    Raises:
        DeliveryError: too large, not decodable, or of another size.
    """
    if len(payload) > MAX_CROP_BYTES:
        raise DeliveryError(f"crop of {len(payload)} bytes refused: at most {MAX_CROP_BYTES} are allowed")
    shape = (CROP_SIDE, CROP_SIDE, 3)
    if header.crop_encoding == "rgb24":
        if len(payload) != CROP_SIDE * CROP_SIDE * 3:
            raise DeliveryError(f"raw crop of shot {header.shot_id} has the wrong length ({len(payload)} bytes)")
        return np.frombuffer(payload, dtype=np.uint8).reshape(shape)
    # imdecode would allocate whatever a forged JPEG header asks for; look at the size first.
    if _jpeg_size(payload) != shape[:2]:
        raise DeliveryError(f"crop of shot {header.shot_id} is not a {CROP_SIDE}x{CROP_SIDE} JPEG")
    image = cv2.imdecode(np.frombuffer(payload, dtype=np.uint8), cv2.IMREAD_COLOR)
    if image is None or image.shape != shape:
        raise DeliveryError(f"crop of shot {header.shot_id} is a damaged JPEG")
    return contiguous(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def _jpeg_size(payload: bytes) -> tuple[int, int] | None:
    """Height and width from a JPEG's start-of-frame marker (ITU-T T.81, B.2.2)."""
    if payload[:2] != b"\xff\xd8":
        return None
    position = 2
    while position + 9 <= len(payload) and payload[position] == 0xFF:
        marker = payload[position + 1]
        if marker in (0xC0, 0xC1, 0xC2):
            height = int.from_bytes(payload[position + 5 : position + 7], "big")
            width = int.from_bytes(payload[position + 7 : position + 9], "big")
            return height, width
        length = int.from_bytes(payload[position + 2 : position + 4], "big")
        if length < 2:
            return None
        position += 2 + length
    return None
