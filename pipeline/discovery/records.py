"""What is known of a camera that was found."""

from __future__ import annotations

import msgspec

DETECTION_WIDTH = 480
"""Minimum width of a sub stream for detection, pixels, where there is a choice."""


class StreamProfile(msgspec.Struct, frozen=True):
    """A stream that a camera offers."""

    token: str
    """The camera's name of it; of a vendor's path, the path."""
    encoding: str = ""
    """``H264``, ``H265``, ``JPEG``; empty if unknown."""
    width: int = 0
    """Pixels; 0 if unknown."""
    height: int = 0
    fps: float | None = None
    url: str | None = None
    """RTSP URL without a login; only of the chosen ones."""


class FoundCamera(msgspec.Struct, frozen=True):
    """A camera that was found."""

    address: str
    """``host`` or ``host:port`` at which it answers."""
    endpoint: str = ""
    """Its WS-Discovery identifier."""
    vendor: str = ""
    model: str = ""
    serial: str = ""
    main: StreamProfile | None = None
    """The largest stream."""
    sub: StreamProfile | None = None
    """The smaller one for detection; ``None`` without one."""
    snapshot: str | None = None
    """URL of single pictures."""
    clock_offset_s: float | None = None
    """The camera's time minus this host's, seconds."""
    problem: str | None = None
    """Why something of it is not known, and the remedy."""


def choose_streams(profiles: list[StreamProfile]) -> tuple[StreamProfile | None, StreamProfile | None]:
    """Return the main and the sub stream: the largest, and the smallest smaller one that detection can use."""
    if not profiles:
        return None, None
    main = max(profiles, key=_area)
    smaller = sorted((each for each in profiles if 0 < _area(each) < _area(main)), key=_area)
    wide = [each for each in smaller if each.width >= DETECTION_WIDTH]
    return main, next(iter(wide or smaller[-1:]), None)


def _area(profile: StreamProfile) -> int:
    return profile.width * profile.height
