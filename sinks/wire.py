"""Messages between gate and worker: MessagePack headers (msgspec), pictures in separate ZeroMQ frames.

Every message starts with a one-word kind; ``SHOT`` carries header, crop and optionally the whole picture, the
others at most a small body. The header states its version: newer minor versions, which only append fields and
frames, are accepted; other major versions are refused.
"""

from __future__ import annotations

from importlib.metadata import version
from time import monotonic, time
from typing import Literal, TypeVar

import cv2
import msgspec
import numpy as np

from facegate.errors import DeliveryError
from facegate.pipeline.images import blurred, encode_jpeg
from facegate.pipeline.quality.explain import QualityReasons, reasons_of
from facegate.pipeline.records import Box, Image, Shot, contiguous

VERSION = (1, 7)
SOFTWARE = version("facegate")
MAX_HEADER_BYTES = 64 * 1024
MAX_WORKER_MESSAGE_BYTES = 4096
"""Maximum size of a worker's message."""
MAX_RECOGNIZER_CHARS = 64
MAX_CROP_BYTES = 256 * 1024
MAX_CONTEXT_BYTES = 640 * 1024
"""Header, crop and context together stay below the default message limit of a NATS server, 1 MiB."""
CROP_SIDE = 112
MAX_CONTEXT_SIDE = 1280
CROP_JPEG, CONTEXT_JPEG = 95, (80, 50, 20)
"""JPEG quality of the crop, and of the context: the first value at which it is small enough."""

READY = b"READY"
"""Worker to gate, at the start and as a heartbeat: :class:`Ready`."""
SHOT = b"SHOT"
"""Gate to worker: :class:`ShotHeader`, the encoded crop, and the whole picture if ``context_size`` is set."""
ACK = b"ACK"
"""Worker to gate: :class:`Ack`, a shot is done."""
BYE = b"BYE"
"""Worker to gate: it leaves; its unacknowledged shots go to others."""
ENDED = b"ENDED"
"""Gate to worker: :class:`TrackEnded`, a track has ended; for workers that subscribed."""
LIVE = b"LIVE"
"""Gate to worker, every second: :class:`LiveTracksMessage`, the live tracks; for workers that subscribed."""
END = b"END"
"""Gate to worker: the run has ended."""


class Ready(msgspec.Struct, frozen=True):
    """A worker is ready for at most ``window`` unacknowledged shots at a time.

    The number is absolute: repeating the message is harmless, and a restarted gate learns of its workers.
    """

    window: int
    visits: bool = False
    """Subscribes to ended tracks; since 1.2."""
    feedback: bool = False
    """Sends feedback with acknowledgements; since 1.3."""
    live: bool = False
    """Subscribes to live tracks; since 1.6."""


class TrackEnded(msgspec.Struct, frozen=True):
    """No more shots of a track will follow; since 1.2. May be lost or late."""

    run_id: str
    camera: str
    track_id: int
    pts_s: float


class LiveTracksMessage(msgspec.Struct, frozen=True):
    """The tracks of a run that have sent shots and may send more; since 1.6.

    Complete for each camera in it: an unlisted track of a listed camera has ended. A run with many cameras
    needs several messages.
    """

    run_id: str
    cameras: dict[str, list[int]]
    """Track ids by camera."""


class Feedback(msgspec.Struct, frozen=True):
    """Recognition feedback on a shot, by which the gate decides whether to send another of the track."""

    named: bool
    """Whether the shot's visit has a name."""
    conclusive: bool
    """Whether more shots are unlikely to change that."""
    similarity: float
    """Similarity of this shot to the nearest person, -1..1."""
    runner_up_similarity: float
    """Similarity to the second nearest person, -1..1."""
    recognizer: str = ""
    """Identifier of the recognition model, at most 64 characters; changes when the model does."""


class Ack(msgspec.Struct, frozen=True):
    """A worker's acknowledgement; ``latency_ms`` is the time it spent on the shot."""

    shot_id: str
    latency_ms: float
    feedback: Feedback | None = None
    """Since 1.3."""


class QualityBlock(msgspec.Struct, frozen=True):
    """ISO/IEC 29794-1 style: an integer 0..100 and what produced it."""

    value: int
    raw: float
    algorithm: str
    model: str
    calibration: str
    version: str = ""
    """Version of the software that computed it; since 1.1."""


class ReasonsBlock(msgspec.Struct, frozen=True):
    """Why the quality is what it is."""

    components: dict[str, int]
    """Quality components, 0 (worst) to 100 each; later minor versions may add some."""
    advice: str = ""
    """What would help most, one sentence; empty if the model has no advice."""
    defect: str | None = None
    """Defect advised on: ``dark``, ``bright``, ``blurred``, ``small``, ``turned``, ``covered`` or ``cut off``."""
    gain: int = 0
    """Expected gain of quality from following it, points."""


class EmbeddingBlock(msgspec.Struct, frozen=True):
    """Face template of the gate's model; comparable only with those of the same model."""

    model: str
    values: bytes
    """float32, little-endian, of unit length."""


class ShotHeader(msgspec.Struct, frozen=True):
    """Metadata of a shot. Coordinates are pixels of the full frame."""

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
    """Seconds on the stream's media clock."""
    captured_at: float | None
    """Unix time (UTC) by the camera's clock, if known."""
    frame_size: tuple[int, int]
    """Width and height."""
    box: Box
    confidence: float
    landmarks: list[tuple[float, float]]
    quality: QualityBlock
    crop_encoding: Literal["jpeg", "rgb24"]
    received_at: float | None = None
    """Unix time (UTC) of the frame's arrival by the gate's clock; since 1.1."""
    context_size: tuple[int, int] | None = None
    """Width and height of the whole picture, a JPEG in the frame after the crop; since 1.1."""
    embedding: EmbeddingBlock | None = None
    """Since 1.1."""
    lease: int = 0
    """In a fleet: revision of the camera's lease (fencing token); since 1.4. Of two nodes that sent shots of a
    camera, the one with the lower number held it first."""
    reasons: ReasonsBlock | None = None
    """Since 1.5."""


class EncodedShot(msgspec.Struct, frozen=True, eq=False):
    """A shot encoded for delivery."""

    shot_id: str
    camera: str
    track_id: int
    header: bytes
    crop: bytes
    context: bytes = b""
    """JPEG of the whole picture, or empty."""
    row: int = 0
    """Row in the spool; 0 for a shot in memory only."""

    @property
    def pictures(self) -> list[bytes]:
        """The frames after the header."""
        return [self.crop, self.context] if self.context else [self.crop]

    @property
    def size(self) -> int:
        """Bytes of header and pictures."""
        return len(self.header) + len(self.crop) + len(self.context)


T = TypeVar("T", Ready, Ack, TrackEnded, LiveTracksMessage, ShotHeader)


def encode(message: Ready | Ack | TrackEnded | LiveTracksMessage | ShotHeader) -> bytes:
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


def pack(shot: Shot, *, embedding: bool = False) -> EncodedShot:
    """Encode a shot.

    Args:
        shot: the shot.
        embedding: include the face template, if the model provides one.
    """
    face = shot.scored.face
    context = b"" if face.context is None else _context(blurred(face.context, face.blurred))
    size = (face.context.shape[1], face.context.shape[0]) if face.context is not None and context else None
    header = header_of(shot, context_size=size, embedding=_embedding(shot) if embedding else None)
    return EncodedShot(
        shot_id=shot.shot_id,
        camera=shot.camera,
        track_id=shot.track_id,
        header=encode(header),
        crop=encode_jpeg(face.crop, CROP_JPEG),
        context=context,
    )


def without_context(entry: EncodedShot) -> EncodedShot:
    """The same shot without its whole picture."""
    if not entry.context:
        return entry
    header = encode(msgspec.structs.replace(decode_header(entry.header), context_size=None))
    return msgspec.structs.replace(entry, header=header, context=b"")


def header_of(
    shot: Shot, *, context_size: tuple[int, int] | None = None, embedding: EmbeddingBlock | None = None
) -> ShotHeader:
    """Build the header of a shot."""
    face, info = shot.scored.face, shot.quality_info
    return ShotHeader(
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
            raw=shot.scored.raw_score,
            algorithm=info.algorithm,
            model=info.model,
            calibration=info.calibration,
            version=SOFTWARE,
        ),
        crop_encoding="jpeg",
        received_at=round(time() - (monotonic() - face.frame.received_s), 3),
        context_size=context_size,
        embedding=embedding,
        lease=face.frame.lease,
        reasons=reasons_block(reasons_of(shot.scored, info.model)),
    )


def reasons_block(why: QualityReasons) -> ReasonsBlock:
    """Convert quality reasons to their wire form."""
    seen, advice = msgspec.structs.asdict(why.components), why.advice
    return ReasonsBlock(seen) if advice is None else ReasonsBlock(seen, advice.text, advice.defect, advice.gain)


def _embedding(shot: Shot) -> EmbeddingBlock | None:
    values = shot.scored.embedding
    if values is None:
        return None
    unit = values / max(float(np.linalg.norm(values)), 1e-12)
    return EmbeddingBlock(model=shot.quality_info.model, values=unit.astype("<f4").tobytes())


def _context(image: Image) -> bytes:
    """JPEG of at most ``MAX_CONTEXT_BYTES``; empty if even the coarsest is larger."""
    coarser = (encode_jpeg(image, quality) for quality in CONTEXT_JPEG)
    return next((encoded for encoded in coarser if len(encoded) <= MAX_CONTEXT_BYTES), b"")


def unpack_crop(header: ShotHeader, payload: bytes) -> Image:
    """Return the ``(112, 112, 3)`` RGB crop.

    Raises:
        DeliveryError: too large, not decodable, or not 112 x 112.
    """
    if len(payload) > MAX_CROP_BYTES:
        raise DeliveryError(f"crop of {len(payload)} bytes refused: at most {MAX_CROP_BYTES} are allowed")
    shape = (CROP_SIDE, CROP_SIDE, 3)
    if header.crop_encoding == "rgb24":
        if len(payload) != CROP_SIDE * CROP_SIDE * 3:
            raise DeliveryError(f"raw crop of shot {header.shot_id} has the wrong length ({len(payload)} bytes)")
        return np.frombuffer(payload, dtype=np.uint8).reshape(shape)
    return _picture(header, payload, shape, "crop")


def unpack_context(header: ShotHeader, payload: bytes) -> Image:
    """Return the whole picture, ``(H, W, 3)`` RGB as ``context_size`` says; boxes scale by ``W / frame_size[0]``.

    Raises:
        DeliveryError: there is none, or it is too large, not decodable, or of another size than stated.
    """
    if header.context_size is None:
        raise DeliveryError(f"shot {header.shot_id} has no context picture")
    width, height = header.context_size
    if not (0 < width <= MAX_CONTEXT_SIDE and 0 < height <= MAX_CONTEXT_SIDE) or len(payload) > MAX_CONTEXT_BYTES:
        raise DeliveryError(
            f"context of {width}x{height}, {len(payload)} bytes refused: at most {MAX_CONTEXT_SIDE} pixels a side "
            f"and {MAX_CONTEXT_BYTES} bytes are allowed"
        )
    return _picture(header, payload, (height, width, 3), "context")


def _picture(header: ShotHeader, payload: bytes, shape: tuple[int, int, int], what: str) -> Image:
    # imdecode would allocate the size in a forged JPEG header: check it first.
    if _jpeg_size(payload) != shape[:2]:
        raise DeliveryError(f"{what} of shot {header.shot_id} is not a {shape[1]}x{shape[0]} JPEG")
    image = cv2.imdecode(np.frombuffer(payload, dtype=np.uint8), cv2.IMREAD_COLOR)
    if image is None or image.shape != shape:
        raise DeliveryError(f"{what} of shot {header.shot_id} is a damaged JPEG")
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
