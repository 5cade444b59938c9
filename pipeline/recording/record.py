"""What a gate saw, in a file: so that it can be decided again, explained and compared.

Format: a stream of MessagePack objects, each after its length (4 bytes, big endian): one :class:`Header`, then one
:class:`SeenFrame` for each frame with faces or ended tracks and for each camera's last, and between them, where
recognisers answer, what they said (format 2). Crops are JPEG; decisions
need the numbers alone. Sources are not in it, so no address or password is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np

from facegate.errors import ConfigError
from facegate.pipeline.config import CameraConfig, RunConfig
from facegate.pipeline.gating.keeping import KeepState
from facegate.pipeline.records import (
    Answers,
    Box,
    Detection,
    Face,
    FrameRef,
    Image,
    Outcome,
    QualityInfo,
    ScoredFace,
    ScoredFrame,
    SkippedFace,
)

FORMAT = 2
READABLE = (1, 2)
"""The first knew no answers."""
LARGEST = 64 * 2**20
"""Bytes of one object; more is refused before it is read."""
JPEG_QUALITY = 90
_LENGTH = struct.Struct(">I")


class Header(msgspec.Struct, frozen=True, tag="facegate-recording"):
    """How the recording was made."""

    format: int
    run_id: str
    quality_info: QualityInfo
    people: tuple[float, float] | None
    gates: dict[str, dict[str, Any]]
    """Each camera's gate configuration."""
    learned: dict[str, KeepState] = {}
    """What cameras with ``keep`` had learned when it began."""


class SeenFace(msgspec.Struct, frozen=True, array_like=True):
    """One scored face; arrays as little-endian bytes."""

    face_id: str
    track_id: int
    box: Box
    confidence: float
    landmarks: bytes
    quality: int
    raw: float
    patches: bytes
    embedding: bytes | None
    left_early: bool
    crop: bytes
    fused: float | None = None


class SeenSkipped(msgspec.Struct, frozen=True, array_like=True):
    """One face that was not scored."""

    face_id: str
    track_id: int
    box: Box
    confidence: float
    landmarks: bytes
    outcome: Outcome
    crop: bytes


class SeenFrame(msgspec.Struct, frozen=True, array_like=True, tag="frame"):
    """One frame as it reached the gate."""

    frame: FrameRef
    faces: tuple[SeenFace, ...]
    ended: tuple[int, ...]
    last: bool
    skipped: tuple[SeenSkipped, ...] = ()


class SeenAnswers(msgspec.Struct, frozen=True, array_like=True, tag="answers"):
    """What recognisers had said when the next frame came."""

    said: Answers


class Recorder:
    """Writes a recording; owns its file."""

    def __init__(
        self,
        path: Path,
        config: RunConfig,
        run_id: str,
        info: QualityInfo,
        people: Any,
        learned: dict[str, KeepState],
    ) -> None:
        """Open ``path`` and write the header.

        Raises:
            ConfigError: it cannot be written.
        """
        try:
            self._file = path.open("wb")
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {(error.strerror or 'unknown error').lower()}") from error
        gates = {}
        for camera in config.cameras:
            gate = config.gate_for(camera.name).model_dump(mode="json")
            if gate["online"] is not None:
                gate["online"]["state"] = None  # a replay starts from nothing and changes nothing
            gate["state"] = None
            gates[camera.name] = gate
        self._write(Header(FORMAT, run_id, info, people, gates, learned))

    def see(self, item: ScoredFrame | Answers) -> None:
        """Record what the gate decides by; frames in which nothing happens are left out."""
        if isinstance(item, Answers):
            self._write(SeenAnswers(item))
            return
        frame = item
        if frame.faces or frame.skipped or frame.ended or frame.last:
            faces = tuple(_seen(face) for face in frame.faces)
            skipped = tuple(_seen_skipped(face) for face in frame.skipped)
            self._write(SeenFrame(frame.frame, faces, frame.ended, frame.last, skipped))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, item: Header | SeenFrame | SeenAnswers) -> None:
        content = msgspec.msgpack.encode(item)
        self._file.write(_LENGTH.pack(len(content)) + content)


class Recording:
    """A recording that was read: its header, and its frames as often as wanted."""

    def __init__(self, path: Path) -> None:
        """Read the header.

        Raises:
            ConfigError: not a recording, or of another version.
        """
        self._path = path
        with self._open() as file:
            try:
                self.header = msgspec.msgpack.decode(_read(file, path) or b"", type=Header)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise ConfigError(
                    f"{path} is not a recording: make one with 'facegate run ... --record'"
                ) from error
        if self.header.format not in READABLE:
            raise ConfigError(f"{path} has format {self.header.format}; this version reads up to {FORMAT}")

    def config(self) -> RunConfig:
        """The recorded gates, as a configuration without sources."""
        return RunConfig(
            cameras=tuple(
                CameraConfig(name=name, source="recording", gate=gate) for name, gate in self.header.gates.items()
            )
        )

    def seen(self) -> Iterator[ScoredFrame | Answers]:
        """Everything that the gate decided by, in its order; a last piece that was cut off is left out.

        Raises:
            ConfigError: damaged.
        """
        with self._open() as file:
            _read(file, self._path)
            while (content := _read(file, self._path)) is not None:
                try:
                    item = msgspec.msgpack.decode(content, type=SeenFrame | SeenAnswers)
                    yield _scored(item) if isinstance(item, SeenFrame) else item.said
                except (msgspec.DecodeError, ValueError) as error:
                    raise ConfigError(f"{self._path} is damaged: {error}") from error

    def frames(self) -> Iterator[ScoredFrame]:
        """The frames alone.

        Raises:
            ConfigError: damaged.
        """
        return (item for item in self.seen() if isinstance(item, ScoredFrame))

    def _open(self) -> Any:
        try:
            return self._path.open("rb")
        except OSError as error:
            reason = (error.strerror or "unknown error").lower()
            raise ConfigError(f"cannot read {self._path}: {reason}") from error


def _read(file: Any, path: Path) -> bytes | None:
    prefix = file.read(_LENGTH.size)
    if len(prefix) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(prefix)
    if length > LARGEST:
        raise ConfigError(f"{path} is not a recording, or damaged: an object of {length} bytes")
    content: bytes = file.read(length)
    return content if len(content) == length else None


def _seen(face: ScoredFace) -> SeenFace:
    detection = face.face.detection
    return SeenFace(
        face_id=face.face.face_id,
        track_id=face.track_id,
        box=detection.box,
        confidence=detection.confidence,
        landmarks=_floats(detection.landmarks),
        quality=face.quality,
        raw=face.raw,
        patches=_floats(face.patches),
        embedding=None if face.embedding is None else _floats(face.embedding),
        left_early=face.left_early,
        crop=_jpeg(face.face.crop),
        fused=face.fused,
    )


def _seen_skipped(face: SkippedFace) -> SeenSkipped:
    detection = face.face.detection
    return SeenSkipped(
        face_id=face.face.face_id,
        track_id=face.track_id,
        box=detection.box,
        confidence=detection.confidence,
        landmarks=_floats(detection.landmarks),
        outcome=face.outcome,
        crop=_jpeg(face.face.crop),
    )


def _floats(values: Any) -> bytes:
    return np.ascontiguousarray(values, "<f4").tobytes()


def _jpeg(crop: Image) -> bytes:
    bgr = cv2.cvtColor(crop, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def _scored(seen: SeenFrame) -> ScoredFrame:
    faces = tuple(_face(face, seen.frame) for face in seen.faces)
    skipped = tuple(SkippedFace(_seen_face(face, seen.frame), face.track_id, face.outcome) for face in seen.skipped)
    return ScoredFrame(frame=seen.frame, faces=faces, ended=seen.ended, last=seen.last, skipped=skipped)


def _seen_face(seen: SeenFace | SeenSkipped, ref: FrameRef) -> Face:
    landmarks = np.frombuffer(seen.landmarks, "<f4").reshape(5, 2)
    return Face(seen.face_id, ref, Detection(seen.box, seen.confidence, landmarks), _decoded(seen.crop))


def _face(seen: SeenFace, ref: FrameRef) -> ScoredFace:
    return ScoredFace(
        face=_seen_face(seen, ref),
        track_id=seen.track_id,
        quality=seen.quality,
        raw=seen.raw,
        patches=np.frombuffer(seen.patches, "<f4"),
        embedding=None if seen.embedding is None else np.frombuffer(seen.embedding, "<f4"),
        left_early=seen.left_early,
        fused=seen.fused,
    )


def _decoded(jpeg: bytes) -> Image:
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if image is None or image.shape != (112, 112, 3):
        raise ValueError("a crop is not a 112x112 picture")
    return np.ascontiguousarray(image[:, :, ::-1]).astype(np.uint8, copy=False)
