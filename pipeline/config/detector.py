"""``detector``: which one, and how hard it looks."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from facegate.pipeline.config.values import Section


class DetectorConfig(Section):
    """Which detector, and how hard it looks."""

    kind: Literal["auto", "mtcnn", "yunet", "scrfd"] = "auto"
    path: Path | None = None
    """YuNet's ONNX file, or the directory of an insightface pack."""
    max_side: int = Field(640, ge=64, le=8192)
    """Detect on the frame shrunk to this longer side (pixels); crops come from full resolution."""
    min_face_px: int = Field(32, ge=12, le=2000)
    """Smallest face MTCNN searches for, in pixels of the shrunk frame."""
    batch: int = Field(4, ge=1, le=64)
    """Frames per detector call, over all cameras."""
