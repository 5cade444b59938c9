"""``tracker``: when a face is still the same one."""

from __future__ import annotations

from pydantic import Field

from facegate.pipeline.config.values import Section


class TrackerConfig(Section):
    """ByteTrack."""

    lost_s: float = Field(1.0, gt=0, le=60)
    """A track ends after this many seconds without a sighting."""
    high_confidence: float = Field(0.7, ge=0, le=1)
    """Detections below this may continue a track, but never start one."""
    min_iou: float = Field(0.1, gt=0, lt=1)
    """Overlap with the predicted box needed to continue a track."""
