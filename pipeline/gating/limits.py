"""Limits on single faces: size, border, confidence, pose. Whoever fails one is dropped at once, with its reason."""

from __future__ import annotations

from math import atan2, degrees, hypot

import msgspec

from facegate.pipeline.records import Detection, FrameRef, Outcome


class FaceLimits(msgspec.Struct, frozen=True):
    """What a face must fulfil; ``None`` or 0 where nothing is asked."""

    max_face_px: float | None = None
    border_px: float = 0.0
    """Least distance of the box from the frame's border."""
    min_confidence: float = 0.0
    max_yaw_deg: float | None = None
    max_pitch_deg: float | None = None
    max_roll_deg: float | None = None

    def refuse(self, detection: Detection, frame: FrameRef) -> Outcome | None:
        """The outcome of a face that fails, ``None`` for one that passes."""
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


def pose(detection: Detection) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees, roughly, from five landmarks.

    Yaw is positive when the nose points to the right in the image, pitch when it points up, roll when the head
    tilts clockwise. The nose tip is taken to stand off the plane of eyes and mouth by 0.55 of the distance between
    the eyes, and to lie 0.55 of the way from eyes to mouth in a level face; five points allow no more than that.
    """
    (lx, ly), (rx, ry), (nx, ny), (mlx, mly), (mrx, mry) = ((float(x), float(y)) for x, y in detection.landmarks)
    apart = hypot(rx - lx, ry - ly)
    if apart < 1e-6:
        return 90.0, 0.0, 0.0
    ux, uy = (rx - lx) / apart, (ry - ly) / apart
    ex, ey, mx, my = (lx + rx) / 2, (ly + ry) / 2, (mlx + mrx) / 2, (mly + mry) / 2
    across = (nx - (ex + mx) / 2) * ux + (ny - (ey + my) / 2) * uy
    down = -(nx - ex) * uy + (ny - ey) * ux
    height = max(-(mx - ex) * uy + (my - ey) * ux, 1e-6)
    reach = 0.55 * max(apart, height)
    return degrees(atan2(across, reach)), degrees(atan2(0.55 * height - down, reach)), degrees(atan2(uy, ux))
