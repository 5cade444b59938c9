"""``tracker``: how detections are associated with tracks (ByteTrack)."""

from __future__ import annotations

from pydantic import Field

from facegate.pipeline.config.values import Section


class TrackerConfig(Section):
    """The tracker."""

    lost_s: float = Field(1.0, gt=0, le=60)
    """Seconds without a detection after which a track ends; where frames are farther apart, a track of the last
    frame continues for up to 5 s. Higher bridges longer occlusions, delays the best shot of mode ``end``, and
    raises the risk of an identity switch."""
    high_confidence: float = Field(0.7, ge=0, le=1)
    """Detector confidence (0 to 1) that a detection needs to start a track; detections below it can only continue
    one. Higher starts fewer false tracks and misses weak faces."""
    min_iou: float = Field(0.1, gt=0, lt=1)
    """Minimum overlap (intersection over union, 0 to 1) with the predicted box to continue a track. Lower follows
    faster motion; higher makes identity switches rarer."""
