"""Files that a verb writes: whole or not at all, and known to be writable before the work begins."""

from __future__ import annotations

from pathlib import Path

from facegate.errors import ConfigError


def check_writable(path: Path | None) -> None:
    """Find out before the run, not after it, that the report cannot be written."""
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise ConfigError(f"cannot write {path}: give a file in an existing folder")


def write_whole(path: Path, content: bytes) -> None:
    """Write all or nothing."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {(error.strerror or 'unknown error').lower()}") from error
