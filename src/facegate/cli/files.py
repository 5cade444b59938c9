"""Output: files, checked before the work starts and written atomically, and the standard streams."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

from facegate.errors import ConfigError, os_errors
from facegate.paths import replacing


def check_writable(path: Path | None) -> None:
    """Check before the work starts that a file can be written.

    Raises:
        ConfigError: ``path`` is a folder, or its folder does not exist.
    """
    if path is not None and path.is_dir():
        raise ConfigError(f"cannot write {path}: it is a folder; give the name of a file in it")
    if path is not None and not path.absolute().parent.is_dir():
        raise ConfigError(
            f"cannot write {path}: there is no folder {path.parent}; give a file in an existing folder"
        )


def write_whole(path: Path, content: bytes) -> None:
    """Write a file atomically.

    Raises:
        ConfigError: the file cannot be written.
    """
    draw_whole(path, lambda part: part.write_bytes(content))


def draw_whole(path: Path, draw: Callable[[Path], object]) -> None:
    """Let ``draw`` write a file, which becomes ``path`` once it is whole; it has the same suffix.

    Raises:
        ConfigError: the file cannot be written.
    """
    with os_errors(ConfigError, f"cannot write {path}"), replacing(path, keep_suffix=True) as part:
        draw(part)


def open_missing_streams() -> None:
    """Connect the standard streams that the caller closed (``>&-``) to the null device.

    Python has ``None`` for them, and the next file that is opened would get their descriptors and what is printed.
    """
    if None not in (sys.stdin, sys.stdout, sys.stderr):
        return
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(("stdin", "stdout", "stderr").index(name), mode, encoding="utf-8"))


def flush() -> None:
    """Write what was printed, so that a full disk is reported; a pipe without a reader is no error."""
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
