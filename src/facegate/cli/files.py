"""Output files: checked before the work starts, written atomically."""

from __future__ import annotations

from pathlib import Path

from facegate.errors import ConfigError, os_errors
from facegate.paths import replacing


def check_writable(path: Path | None) -> None:
    """Check before the work starts that a file can be written.

    Raises:
        ConfigError: ``path`` is a folder, or its folder does not exist.
    """
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise ConfigError(f"cannot write {path}: give a file in an existing folder")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file atomically.

    Raises:
        ConfigError: the file cannot be written.
    """
    with os_errors(ConfigError, f"cannot write {path}"), replacing(path) as part:
        part.write_bytes(content)
