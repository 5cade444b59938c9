"""Limits on single faces: size, distance from the border, confidence, pose."""

from __future__ import annotations

from typing import Literal

import msgspec

from facegate.detectors.pose import pose
from facegate.pipeline.records import Detection, FrameRef, Outcome

Mode = Literal["end", "early", "interval"]


class FaceLimits(msgspec.Struct, frozen=True):
    """Limits of a face in pixels and degrees; ``None`` or 0: no limit."""

    max_face_px: float | None = None
    border_px: float = 0.0
    """Minimum distance of the box from the frame's border."""
    min_confidence: float = 0.0
    max_yaw_deg: float | None = None
    max_pitch_deg: float | None = None
    max_roll_deg: float | None = None

    def rejection(self, detection: Detection, frame: FrameRef) -> Outcome | None:
        """Return the outcome of a face that fails, ``None`` if it passes."""
        left, top, right, bottom = detection.box
        if self.max_face_px is not None and right - left > self.max_face_px:
            return Outcome.TOO_LARGE
        if self.border_px and min(left, top, frame.width - right, frame.height - bottom) < self.border_px:
            return Outcome.AT_BORDER
        if detection.confidence < self.min_confidence:
            return Outcome.LOW_CONFIDENCE
        if self.max_yaw_deg is None and self.max_pitch_deg is None and self.max_roll_deg is None:
            return None
        for angle, limit in zip(
            pose(detection), (self.max_yaw_deg, self.max_pitch_deg, self.max_roll_deg), strict=True
        ):
            if limit is not None and abs(angle) > limit:
                return Outcome.OFF_POSE
        return None


class GateSettings(msgspec.Struct, frozen=True):
    """Settings of one camera's gate."""

    min_quality: int = 1
    gray_min_quality: int | None = None
    """Of pictures without color; ``None``: ``min_quality``."""
    hysteresis: int = 0
    mode: Mode = "end"
    good_enough: int = 60
    improve_margin: int = 10
    interval_s: float = 5.0
    max_wait_s: float = 0.5
    top_k: int = 1
    min_gap_s: float = 1.0
    min_yaw_gap_deg: float = 15.0
    max_shots: int = 20
    max_followups: int = 4
    """Follow-ups per track while its recognition is inconclusive."""
    min_track_faces: int = 1
    limits: FaceLimits = FaceLimits()
    primary_face_min_px: float | None = None
    """Only the largest face counts, if it is at least this wide; ``None``: all count."""
    max_per_minute: int | None = None
    shadow_rate: float = 0.0
    dry_run: bool = False

    @property
    def lowest_quality(self) -> int:
        """Minimum quality of any face, in color or gray."""
        return self.min_quality if self.gray_min_quality is None else min(self.min_quality, self.gray_min_quality)
