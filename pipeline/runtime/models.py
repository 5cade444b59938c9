"""Loads the models of a run."""

from __future__ import annotations

import structlog

from facegate.detectors.base import Detector, load_detector
from facegate.inference.devices import Device
from facegate.pipeline.config import DetectorConfig, ScorerConfig
from facegate.scoring.engine import Scorer, load_scorer
from facegate.scoring.families import IDENTITY, USELESS

SMALLEST_PX = 24
"""Smallest face in a window, in pixels as MTCNN sees it; windows are shrunk if only larger faces are wanted."""

log = structlog.get_logger(__name__)


def detector_of(config: DetectorConfig, device: Device = "auto") -> Detector:
    """Load the detector for single pictures, on the run's ``device`` unless it has its own.

    Raises:
        ModelError: a model is missing or does not fit.
        ConfigError: the device is not here.
    """
    return load_detector(config.kind, config.path, device=config.device or device)


def window_detector_of(config: DetectorConfig, device: Device = "auto") -> Detector:
    """Load the detector for windows of camera pictures, which are not shrunk further; see :func:`detector_of`."""
    return load_detector(
        config.kind,
        config.path,
        max_side=None,
        min_face_px=min(SMALLEST_PX, config.min_face_px),
        device=config.device or device,
    )


def scorer_of(config: ScorerConfig, min_quality: int, device: Device = "auto") -> Scorer:
    """Load the scorer of a gate with this threshold, on the run's ``device`` unless it has its own.

    Raises:
        ModelError: a model is missing or does not fit.
        ConfigError: settings exclude each other.
    """
    scorer = load_scorer(
        config.weights,
        card=config.card,
        quality=config.quality,
        device=config.device or device,
        dtype=config.dtype,
        backend=config.backend,
    )
    _warn(scorer, min_quality)
    return scorer


def _warn(scorer: Scorer, min_quality: int) -> None:
    """Warn of settings that run but give poor results."""
    name = scorer.card.name
    if (name, scorer.quality) in USELESS:
        log.warning(
            "quality measure is uninformative", model=name, measure=scorer.quality, remedy="remove scorer.quality"
        )
    if scorer.card.calibration[scorer.quality] == IDENTITY and min_quality > 1:
        log.warning(
            "model is not calibrated",
            model=name,
            effect=f"min_quality {min_quality} is compared with the raw score in percent",
            remedy="find min_quality for each camera with 'facegate calibrate'",
        )
