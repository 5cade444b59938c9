"""Shots as files: JSON lines, or a folder of crops with an index."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from facegate.errors import DeliveryError, os_errors
from facegate.paths import replacing
from facegate.sinks import wire
from facegate.sinks.wire import EncodedShot

INDEX = "index.jsonl"


class JsonLines:
    """One line per shot: its header as JSON (docs/reference/wire.md). A duplicate has the same ``shot_id``."""

    batch_size = 32

    def __init__(self, path: Path) -> None:
        """Open ``path`` for appending.

        Raises:
            DeliveryError: the file cannot be written.
        """
        self.name = f"lines in {path}"
        self._path = path
        with _writing(path):
            self._file = path.open("ab", buffering=0)

    def deliver(self, entries: Sequence[EncodedShot]) -> None:
        """See :class:`facegate.sinks.spooled_sink.Target`; on an error the file is truncated to whole lines."""
        headers = [wire.decode_header(entry.header) for entry in entries]
        lines = b"".join(msgspec.json.encode(header) + b"\n" for header in headers)
        end = self._file.seek(0, os.SEEK_END)
        with _writing(self._path):
            try:
                if self._file.write(lines) != len(lines):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(end)
                raise

    def close(self) -> None:
        """See :class:`facegate.sinks.spooled_sink.Target`."""
        self._file.close()


class CropFolder:
    """``CAMERA-SHOT_ID.jpg`` per shot, and ``index.jsonl`` with the headers; a crop is written before its line.

    The whole picture, if the shot has one, is ``CAMERA-SHOT_ID.context.jpg``.
    """

    batch_size = 32

    def __init__(self, folder: Path) -> None:
        """Create the folder.

        Raises:
            DeliveryError: the folder cannot be written.
        """
        self.name = f"folder {folder}"
        self._folder = folder
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._index = JsonLines(folder / INDEX)

    def deliver(self, entries: Sequence[EncodedShot]) -> None:
        """See :class:`facegate.sinks.spooled_sink.Target`."""
        for entry in entries:
            name = f"{entry.camera}-{entry.shot_id}"
            self._write(f"{name}.jpg", entry.crop)
            if entry.context:
                self._write(f"{name}.context.jpg", entry.context)
        self._index.deliver(entries)

    def close(self) -> None:
        """See :class:`facegate.sinks.spooled_sink.Target`."""
        self._index.close()

    def _write(self, name: str, content: bytes) -> None:
        path = self._folder / name
        with _writing(path), replacing(path) as part:
            part.write_bytes(content)


def _writing(path: Path) -> AbstractContextManager[None]:
    return os_errors(DeliveryError, f"cannot write {path}")
