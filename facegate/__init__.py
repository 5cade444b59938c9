"""facegate: watch camera streams and let only the faces worth recognising through.

>>> import facegate
>>> with facegate.watch("clip.mp4") as shots:      # doctest: +SKIP
...     for shot in shots:
...         print(shot.camera, shot.track_id, shot.quality, shot.box)
"""

from __future__ import annotations

from facegate.detectors.align import align
from facegate.detectors.base import Detector, load_detector
from facegate.errors import (
    ConfigError,
    DeliveryError,
    FacegateError,
    GalleryError,
    ModelError,
    SourceError,
    StageError,
)
from facegate.pipeline.config import RunConfig, load_config
from facegate.pipeline.records import Detection, Face, Frame, Outcome, ScoredFace, Shot
from facegate.pipeline.watch import watch
from facegate.scoring.engine import Scorer, Scores, load_scorer

__version__ = "0.1.0"

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
