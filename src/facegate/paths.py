"""Default locations of files."""

from __future__ import annotations

import os
from pathlib import Path


def data_folder() -> Path:
    """This user's data folder (XDG)."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "facegate"
