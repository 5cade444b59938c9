"""Output files: checked before the work starts, written atomically."""

from __future__ import annotations

from pathlib import Path

from facegate.errors import ConfigError


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
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {(error.strerror or 'unknown error').lower()}") from error
