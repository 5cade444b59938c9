"""Head pose estimated from five landmarks."""

from __future__ import annotations

from math import atan2, degrees, hypot

from facegate.pipeline.records import Detection


def pose(detection: Detection) -> tuple[float, float, float]:
    """Return approximate yaw, pitch and roll in degrees, from five landmarks.

    Yaw is positive when the nose points to the right in the image, pitch when it points up, roll when the head
    tilts clockwise. The nose tip is taken to stand off the plane of eyes and mouth by 0.55 of the distance between
    the eyes, and to be 0.55 of the way from eyes to mouth in a level face; five points do not allow more precision.
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
