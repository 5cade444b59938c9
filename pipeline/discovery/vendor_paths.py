"""RTSP paths of known vendors, for cameras that answer RTSP and no ONVIF."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from facegate.pipeline.login.relay import rtsp_status

PATHS: dict[str, tuple[str, str]] = {
    "Hikvision": ("/Streaming/Channels/101", "/Streaming/Channels/102"),
    "Dahua, Amcrest": ("/cam/realmonitor?channel=1&subtype=0", "/cam/realmonitor?channel=1&subtype=1"),
    "Reolink": ("/h264Preview_01_main", "/h264Preview_01_sub"),
    "TP-Link": ("/stream1", "/stream2"),
    "Uniview": ("/media/video1", "/media/video2"),
    "Axis": ("/axis-media/media.amp", "/axis-media/media.amp?resolution=640x360"),
    "Foscam": ("/videoMain", "/videoSub"),
    "Vivotek": ("/live.sdp", "/live2.sdp"),
    "Hanwha": ("/profile2/media.smp", "/profile3/media.smp"),
    "Bosch": ("/rtsp_tunnel?inst=1", "/rtsp_tunnel?inst=2"),
}
"""Main and sub stream of each vendor's cameras."""
NOWHERE = "/facegate-no-such-stream"
"""A server that serves this serves anything, which says nothing."""


def known_paths(address: str, login: str, timeout_s: float) -> Iterator[tuple[str, str, str | None]]:
    """Yield vendor, main and sub stream of the paths that a server knows.

    Args:
        address: ``host`` or ``host:port``.
        login: ``user:password``, encoded for a URL; empty for none.
        timeout_s: seconds to wait for each answer.

    Raises:
        OSError: there is no RTSP server.
        UnauthorizedError: the server rejects the login.
    """

    def status(path: str) -> int:
        url = f"rtsp://{login + '@' if login else ''}{address}{path}"
        return rtsp_status(url, ssl._create_unverified_context(), timeout_s)

    if status(NOWHERE) == 200:
        return
    for vendor, (main, sub) in PATHS.items():
        if status(main) == 200:
            yield vendor, f"rtsp://{address}{main}", f"rtsp://{address}{sub}" if status(sub) == 200 else None
