"""Shots as files: JSON lines, or a folder of crops with an index."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import msgspec

from facegate.errors import DeliveryError
from facegate.sinks import wire
from facegate.sinks.spool import Entry

INDEX = "index.jsonl"


class JsonLines:
    """One line per shot: its header as JSON (docs/wire.md). A shot that came twice has the same ``shot_id``."""

    together = 32

    def __init__(self, path: Path) -> None:
        """Open ``path`` for appending.

        Raises:
            DeliveryError: it cannot be written.
        """
        self.name = f"lines in {path}"
        self._path = path
        self._file = _open(path)

    def deliver(self, entries: Sequence[Entry]) -> None:
        """See :class:`facegate.sinks.outbox.Target`."""
        _append(self._file, [wire.decode_header(entry.header) for entry in entries], self._path)

    def close(self) -> None:
        """See :class:`facegate.sinks.outbox.Target`."""
        self._file.close()


class CropFolder:
    """``CAMERA-SHOT_ID.jpg`` per shot, and ``index.jsonl`` with the headers; a crop is there before its line."""

    together = 32

    def __init__(self, folder: Path) -> None:
        """Make the folder.

        Raises:
            DeliveryError: it cannot be written.
        """
        self.name = f"folder {folder}"
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DeliveryError(f"cannot make folder {folder}: {_reason(error)}") from error
        self._index = _open(folder / INDEX)

    def deliver(self, entries: Sequence[Entry]) -> None:
        """See :class:`facegate.sinks.outbox.Target`."""
        for entry in entries:
            path = self._folder / f"{entry.camera}-{entry.shot_id}.jpg"
            part = path.with_suffix(".part")
            try:
                part.write_bytes(entry.crop)
                part.replace(path)
            except OSError as error:
                raise DeliveryError(f"cannot write {path}: {_reason(error)}") from error
        _append(self._index, [wire.decode_header(entry.header) for entry in entries], self._folder / INDEX)

    def close(self) -> None:
        """See :class:`facegate.sinks.outbox.Target`."""
        self._index.close()


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("ab", buffering=0)
    except OSError as error:
        raise DeliveryError(f"cannot write {path}: {_reason(error)}") from error


def _append(file: IO[bytes], headers: list[wire.ShotHeader], path: Path) -> None:
    """Write whole lines and wait for the disk, or leave the file as it was."""
    lines = b"".join(msgspec.json.encode(header) + b"\n" for header in headers)
    end = file.seek(0, os.SEEK_END)
    try:
        if file.write(lines) != len(lines):
            raise OSError(28, "no space left on device")
        os.fsync(file.fileno())
    except OSError as error:
        file.truncate(end)
        raise DeliveryError(f"cannot write {path}: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    return (error.strerror or "unknown error").lower()
