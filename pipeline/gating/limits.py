"""Limits on single faces: size, distance from the border, confidence, pose."""

from __future__ import annotations

import msgspec

from facegate.detectors.pose import pose
from facegate.pipeline.records import Detection, FrameRef, Outcome


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
