"""``detector``: which detector runs, and at which resolution."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from facegate.inference.devices import Device
from facegate.pipeline.config.values import Section


class DetectorConfig(Section):
    """The face detector."""

    kind: Literal["auto", "mtcnn", "yunet", "scrfd"] = "auto"
    """Detector: ``scrfd`` (local insightface pack), ``yunet`` (needs ``path``) or ``mtcnn`` (built in). ``auto``
    takes SCRFD if a pack is installed, YuNet if ``path`` is an ONNX file, else MTCNN."""
    path: Path | None = None
    """YuNet's ONNX file, or the directory of an insightface pack; the pack in ``~/.insightface`` by default."""
    device: Device | None = None
    """Device that the detector runs on; the run's ``device`` by default."""
    min_face_px: int = Field(24, ge=12, le=2000)
    """Width of the smallest face that is searched, in pixels of the camera's picture. Higher costs less and misses
    faces farther away."""
    max_side: int | None = Field(None, ge=64, le=16384)
    """Longer side in pixels to which the picture is shrunk before detection; the camera's own size by default.
    Lower costs less and misses small faces; crops come from the full resolution."""
    batch: int = Field(4, ge=1, le=64)
    """Maximum number of frames per detector call, over all cameras. Higher can raise throughput with many cameras
    and adds latency."""
