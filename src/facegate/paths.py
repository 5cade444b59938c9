"""Default locations of files, and their atomic replacement."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def data_folder() -> Path:
    """This user's data folder (XDG)."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "facegate"


@contextmanager
def replacing(path: Path, mode: int | None = None, *, keep_suffix: bool = False) -> Iterator[Path]:
    """Replace a file atomically: yield a file to write, which takes its place unless the block raises.

    Args:
        path: the file to replace, or create.
        mode: permissions, also while it is written.
        keep_suffix: let the yielded file have the suffix of ``path``, by which libraries choose a format.

    Raises:
        OSError: it cannot be written.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part{path.suffix if keep_suffix else ''}")  # one per process
    try:
        if mode is not None:
            part.touch()
            part.chmod(mode)
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
