"""The models of a run, as its configuration says."""

from __future__ import annotations

import structlog

from facegate.detectors.base import Detector, load_detector
from facegate.pipeline.config import DetectorConfig, ScorerConfig
from facegate.scoring.engine import Scorer, load_scorer
from facegate.scoring.families import IDENTITY, USELESS

log = structlog.get_logger(__name__)


def detector_of(config: DetectorConfig) -> Detector:
    """The detector; raises :class:`~facegate.errors.ModelError`."""
    return load_detector(config.kind, config.path, max_side=config.max_side, min_face_px=config.min_face_px)


def scorer_of(config: ScorerConfig, min_quality: int) -> Scorer:
    """The scorer of a gate with this threshold.

    Raises:
        ModelError: a model is missing or not fit.
        ConfigError: settings that do not go together.
    """
    scorer = load_scorer(
        config.weights,
        card=config.card,
        quality=config.quality,
        device=config.device,
        dtype=config.dtype,
        backend=config.backend,
    )
    _warn(scorer, min_quality)
    return scorer


def _warn(scorer: Scorer, min_quality: int) -> None:
    """Of what will run and disappoint."""
    name = scorer.card.name
    if (name, scorer.quality) in USELESS:
        log.warning(f"'{scorer.quality}' of {name} says nothing of quality: leave scorer.quality out")
    if scorer.card.calibration[scorer.quality] == IDENTITY and min_quality > 1:
        log.warning(
            f"{name} is not calibrated: min_quality {min_quality} is its raw score in percent, which means "
            "something else for every model; 'facegate calibrate' finds what fits a camera"
        )
