"""From the text a user gives to a source. A new kind of source is one new file and one line here."""

from __future__ import annotations

from pathlib import Path

from facegate.errors import ConfigError
from facegate.pipeline.sources.base import Source, redact
from facegate.pipeline.sources.media import FileSource, RtspSource
from facegate.pipeline.sources.webcam import WebcamSource


def open_source(camera: str, source: str, timeout_s: float = 5.0, transport: str = "tcp") -> Source:
    """Choose the source for ``source``: a webcam index or device, an ``rtsp://`` URL, or a video file.

    Nothing is opened yet; that happens when frames are asked for. ``timeout_s`` and ``transport`` are RTSP's.

    Raises:
        ConfigError: a URL of a kind that is not supported.
    """
    if source.isdecimal():
        return WebcamSource(camera, int(source))
    if source.startswith("/dev/"):
        return WebcamSource(camera, source)
    if source.startswith(("rtsp://", "rtsps://")):
        return RtspSource(camera, source, timeout_s, transport)
    if "://" in source:
        raise ConfigError(f"{redact(source)}: only rtsp:// and rtsps:// URLs are supported")
    return FileSource(camera, Path(source))
