"""``detector``: which detector runs, and at which resolution."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from facegate.pipeline.config.values import Section


class DetectorConfig(Section):
    """The face detector."""

    kind: Literal["auto", "mtcnn", "yunet", "scrfd"] = "auto"
    """Detector: ``scrfd`` (local insightface pack), ``yunet`` (needs ``path``) or ``mtcnn`` (built in). ``auto``
    takes SCRFD if a pack is installed, YuNet if ``path`` is an ONNX file, else MTCNN."""
    path: Path | None = None
    """YuNet's ONNX file, or the directory of an insightface pack; the pack in ``~/.insightface`` by default."""
    max_side: int = Field(640, ge=64, le=8192)
    """Longer side in pixels to which the frame is scaled for detection; crops come from the full resolution. Higher
    finds smaller faces and costs more."""
    min_face_px: int = Field(32, ge=12, le=2000)
    """Smallest face that MTCNN detects, in pixels of the scaled frame. Higher is faster; smaller faces are then
    missed. Other detectors ignore it."""
    batch: int = Field(4, ge=1, le=64)
    """Maximum number of frames per detector call, over all cameras. Higher can raise throughput with many cameras
    and adds latency."""
