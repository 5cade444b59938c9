"""facegate: watch camera streams and forward only the faces worth recognizing.

>>> import facegate
>>> with facegate.watch("clip.mp4") as shots:      # doctest: +SKIP
...     for shot in shots:
...         print(shot.camera, shot.track_id, shot.quality, shot.box)

The names below are imported at first use, because torch and OpenCV take seconds to load and ``facegate --help``
should not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from facegate.errors import (
    ConfigError,
    DeliveryError,
    FacegateError,
    GalleryError,
    ModelError,
    SourceError,
    StageError,
)

if TYPE_CHECKING:
    from facegate.detectors.align import align
    from facegate.detectors.base import Detector, load_detector
    from facegate.pipeline.config import RunConfig, load_config
    from facegate.pipeline.records import Detection, Face, Frame, Outcome, ScoredFace, Shot
    from facegate.pipeline.watch import watch
    from facegate.scoring.engine import Scorer, Scores, load_scorer

__version__ = "0.1.0"

_LAZY = {
    "align": "detectors.align",
    "Detector": "detectors.base",
    "load_detector": "detectors.base",
    "RunConfig": "pipeline.config",
    "load_config": "pipeline.config",
    "Detection": "pipeline.records",
    "Face": "pipeline.records",
    "Frame": "pipeline.records",
    "Outcome": "pipeline.records",
    "ScoredFace": "pipeline.records",
    "Shot": "pipeline.records",
    "watch": "pipeline.watch",
    "Scorer": "scoring.engine",
    "Scores": "scoring.engine",
    "load_scorer": "scoring.engine",
}

__all__ = [
    "ConfigError",
    "DeliveryError",
    "Detection",
    "Detector",
    "Face",
    "FacegateError",
    "Frame",
    "GalleryError",
    "ModelError",
    "Outcome",
    "RunConfig",
    "ScoredFace",
    "Scorer",
    "Scores",
    "Shot",
    "SourceError",
    "StageError",
    "align",
    "load_config",
    "load_detector",
    "load_scorer",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'facegate' has no attribute '{name}'")
    return getattr(import_module(f"facegate.{_LAZY[name]}"), name)
