"""Recordings of a gate's input, for replay, explanation and comparison.

Format: a stream of MessagePack objects, each preceded by its length (4 bytes, big endian): one :class:`Header`,
then one :class:`RecordedFrame` for each frame with faces or ended tracks and for each camera's last frame. Between
them are recognition feedback (since format 2) and changed gate settings (since format 3). Crops are JPEG; decisions
need the numbers only. Sources are not recorded, so a recording contains no URL or password.

A recording is one file, or a folder of segments, each of which is a recording.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from time import time
from typing import IO, Any, Protocol

import msgspec
import structlog

from facegate.errors import ConfigError, os_errors
from facegate.pipeline.config import CameraConfig, RunConfig
from facegate.pipeline.gating.recall_threshold import RecallState
from facegate.pipeline.recording.format import (
    Header,
    RecordedFeedback,
    RecordedFrame,
    RecordedGates,
    record_face,
    record_skip,
    scored_frame,
)
from facegate.pipeline.recording.legacy import current_gates
from facegate.pipeline.records import FeedbackBatch, QualityInfo, ScoredFrame

FORMAT = 4
READABLE = (1, 2, 3, 4)
"""Format 1 has no feedback, 2 no changes of gates, 3 no sightings of a fleet."""
SUFFIX = ".rec"
MAX_OBJECT_BYTES = 64 * 2**20
"""Maximum size of one object; larger ones are rejected before they are read."""
_LENGTH = struct.Struct(">I")

log = structlog.get_logger(__name__)


class RecordingPosition(msgspec.Struct, frozen=True):
    """Position in a recording."""

    segment: str
    """Name of the file."""
    offset: int


class RunInfo(msgspec.Struct, frozen=True):
    """Data of a run that does not depend on its gates."""

    run_id: str
    info: QualityInfo
    people: tuple[float, float] | None


class RecordingWriter(Protocol):
    """Writes a gate's input."""

    @property
    def position(self) -> RecordingPosition:
        """Position of the last object."""
        ...

    def write(self, item: ScoredFrame | FeedbackBatch) -> None:
        """Record an input of the gate; frames without faces or ended tracks are omitted."""
        ...

    def change_gates(self, config: RunConfig, learned: dict[str, RecallState]) -> None:
        """Record changed gates, for cameras that start from now on. Thread-safe."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class Recorder:
    """Writes a recording; owns its file."""

    def __init__(
        self,
        path: Path,
        config: RunConfig,
        begin: RunInfo,
        learned: dict[str, RecallState],
        *,
        every_crop: bool = True,
    ) -> None:
        """Open ``path`` and write the header; crops of unscored faces are recorded with ``every_crop``.

        Raises:
            ConfigError: it cannot be written.
        """
        with os_errors(ConfigError, f"cannot write {path}"):
            self._file = path.open("wb", buffering=0)  # concurrent readers see every object
        self._path = path
        self._every_crop = every_crop
        self._lock = Lock()
        self.size = 0
        """Bytes written."""
        self.position = RecordingPosition(path.name, 0)
        header = Header(FORMAT, begin.run_id, begin.info, begin.people, _gates(config), learned, round(time(), 3))
        try:
            self._write(header)
        except ConfigError:
            self._file.close()
            if path.is_file():  # not a device
                path.unlink()
            raise

    def write(self, item: ScoredFrame | FeedbackBatch) -> None:
        """See :class:`RecordingWriter`."""
        if isinstance(item, FeedbackBatch):
            self._write(RecordedFeedback(item))
            return
        frame = item
        if frame.faces or frame.skipped or frame.ended or frame.last:
            faces = tuple(record_face(face) for face in frame.faces)
            skipped = tuple(record_skip(face, self._every_crop) for face in frame.skipped)
            self._write(RecordedFrame(frame.frame, faces, frame.ended, frame.last, skipped))

    def change_gates(self, config: RunConfig, learned: dict[str, RecallState]) -> None:
        """See :class:`RecordingWriter`."""
        self._write(RecordedGates(_gates(config), learned))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, item: Header | RecordedFrame | RecordedFeedback | RecordedGates) -> None:
        content = msgspec.msgpack.encode(item)
        with self._lock, os_errors(ConfigError, f"cannot write {self._path}"):
            self.position = RecordingPosition(self.position.segment, self.size)
            whole = _LENGTH.pack(len(content)) + content
            if self._file.write(whole) != len(whole):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.size += len(whole)


def _gates(config: RunConfig) -> dict[str, dict[str, Any]]:
    gates = {}
    for camera in config.cameras:
        gate = config.gate_for(camera.name).model_dump(mode="json")
        gate["state"] = None  # a replay reads and writes no state
        gates[camera.name] = gate
    return gates


class GateChange(msgspec.Struct, frozen=True):
    """Changed gates, for cameras that start from here on."""

    config: RunConfig
    """Without sources."""
    learned: dict[str, RecallState]


class Recording:
    """Reads a recording; can be iterated repeatedly."""

    def __init__(self, path: Path, *, crops: bool = True) -> None:
        """Read the header.

        Args:
            path: a file, or a folder of segments, which are read in the order of their names.
            crops: also decode crops, which decisions do not need and which takes most of the time.

        Raises:
            ConfigError: not a recording, or of another version.
        """
        self._path = path
        self._crops = crops
        self._warned: set[str] = set()
        self.cut: str | None = None
        """Where the recording is incomplete, once :meth:`events` has been read; ``None`` if every object is whole.
        The run goes on, was killed, or had a full disk; or the file was copied in part."""
        self.header = self._header(self._pieces()[0])

    def config(self) -> RunConfig:
        """The recorded gates, as a configuration without sources."""
        return config_of(self.header.gates)

    def events(self) -> Iterator[ScoredFrame | FeedbackBatch | GateChange]:
        """Yield the gate's inputs in order; a truncated last object is omitted.

        Raises:
            ConfigError: damaged.
        """
        self.cut = None
        for index, piece in enumerate(self._pieces()):
            header = self._header(piece)
            if index:
                yield GateChange(config_of(header.gates), header.learned)
            yield from self._items(piece, 0)

    def frames(self) -> Iterator[ScoredFrame]:
        """Yield the frames only.

        Raises:
            ConfigError: damaged.
        """
        return (item for item in self.events() if isinstance(item, ScoredFrame))

    def frames_from(self, place: RecordingPosition) -> Iterator[ScoredFrame]:
        """Yield the frames from a position on; none if its segment was deleted.

        Raises:
            ConfigError: damaged.
        """
        for piece in self._pieces():
            if piece.name >= place.segment:
                offset = place.offset if piece.name == place.segment else 0
                yield from (item for item in self._items(piece, offset) if isinstance(item, ScoredFrame))

    def _pieces(self) -> list[Path]:
        if not self._path.is_dir():
            return [self._path]
        pieces = sorted(self._path.glob("*" + SUFFIX))
        if not pieces:
            raise ConfigError(f"no recording in {self._path}: give the folder of one run")
        return pieces

    def _header(self, piece: Path) -> Header:
        with _open(piece) as file:
            try:
                header = msgspec.msgpack.decode(_read(file, piece) or b"", type=Header)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise ConfigError(
                    f"{piece} is not a recording: make one with 'facegate run ... --record'"
                ) from error
        if header.format not in READABLE:
            raise ConfigError(
                f"{piece} has format {header.format}, this version reads up to {FORMAT}: install a newer facegate"
            )
        return msgspec.structs.replace(header, gates=self._current(header.gates))

    def _current(self, gates: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        current, removed = current_gates(gates)
        for setting in removed:
            self._warn(setting, "min_quality alone decides")
        return current

    def _warn(self, feature: str, effect: str) -> None:
        if feature not in self._warned:
            self._warned.add(feature)
            log.warning(
                "recording uses a removed feature", feature=feature, effect=effect, recording=str(self._path)
            )

    def _items(self, piece: Path, offset: int) -> Iterator[ScoredFrame | FeedbackBatch | GateChange]:
        with _open(piece) as file:
            if offset:
                file.seek(offset)
            else:
                _read(file, piece)
            whole = file.tell()
            while (content := _read(file, piece)) is not None:
                whole = file.tell()
                try:
                    item = msgspec.msgpack.decode(content, type=RecordedFrame | RecordedFeedback | RecordedGates)
                    if isinstance(item, RecordedFeedback):
                        yield item.batch
                    elif isinstance(item, RecordedGates):
                        yield GateChange(config_of(self._current(item.gates)), item.learned)
                    else:
                        if any(face.left_early for face in item.faces):
                            self._warn("early exit", "faces that left early end as below_threshold")
                        yield scored_frame(item, self._crops)
                except (msgspec.DecodeError, ValueError) as error:
                    raise ConfigError(f"{piece} is damaged: {error}") from error
            if file.seek(0, os.SEEK_END) > whole:
                self.cut = f"{piece} ends in the middle of an object, after {whole} bytes"


def config_of(gates: dict[str, dict[str, Any]]) -> RunConfig:
    """Recorded gates as a configuration without sources."""
    return RunConfig(
        cameras=tuple(CameraConfig(name=name, source="recording", gate=gate) for name, gate in gates.items())
    )


def _open(path: Path) -> IO[bytes]:
    with os_errors(ConfigError, f"cannot read {path}"):
        return path.open("rb")


def _read(file: IO[bytes], path: Path) -> bytes | None:
    prefix = file.read(_LENGTH.size)
    if len(prefix) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(prefix)
    if length > MAX_OBJECT_BYTES:
        raise ConfigError(f"{path} is not a recording, or is damaged: an object of {length} bytes")
    content = file.read(length)
    return content if len(content) == length else None
