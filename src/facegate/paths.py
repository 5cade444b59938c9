"""Where facegate keeps things unless it is told otherwise."""

from __future__ import annotations

import os
from pathlib import Path


def data_folder() -> Path:
    """This user's folder for what is to last (XDG)."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "facegate"
