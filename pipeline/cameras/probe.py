"""Probes a source: what its stream offers, measured for a moment."""

from __future__ import annotations

from threading import Event
from time import monotonic

import msgspec

from facegate.errors import SourceError
from facegate.pipeline.addresses import redact
from facegate.pipeline.config import CameraConfig
from facegate.pipeline.sources.aspect_ratio import aspect_ratio_advice
from facegate.pipeline.sources.base import StreamInfo
from facegate.pipeline.sources.factory import open_source


class Probe(msgspec.Struct, frozen=True):
    """Result of probing a source."""

    source: str
    """Without its password."""
    live: bool
    codec: str | None
    coded_width: int | None
    """Width as coded; ``None`` if it is not a stream."""
    coded_height: int | None
    pixel: str | None
    """Pixel aspect ratio, such as ``2:1``; ``None`` if the stream has none."""
    width: int
    """With square pixels."""
    height: int
    advice: str | None
    """Suggested ``display_aspect_ratio``, for a size known to be squeezed in a stream without aspect ratio."""
    fps_declared: float | None
    fps_measured: float
    """Frame rate as received; for a file, by its media time."""
    key_frame_every_s: float | None
    """Mean seconds between key frames; ``None`` with fewer than two."""
    first_frame_s: float
    """Seconds from opening to the first decoded frame."""
    clock: bool
    """Whether the camera sends capture times."""
    frames: int


def probe(config: CameraConfig, seconds: float, stop: Event) -> Probe:
    """Read a source for ``seconds`` of its media time, or until it ends or ``stop``.

    Raises:
        SourceError: it cannot be opened, or gave no frame.
        ConfigError: the source is of an unknown kind.
    """
    source = open_source(config)
    asked = monotonic()
    first = last = None
    frames, first_s = 0, 0.0
    watching = source.frames(stop)
    for frame in watching:
        if first is None:
            first, first_s = frame.ref, monotonic() - asked
        last = frame.ref
        frames += 1
        if last.pts_s - first.pts_s >= seconds:
            break
    info: StreamInfo = source.info()
    watching.close()  # type: ignore[attr-defined]
    if first is None or last is None:
        raise SourceError(f"{redact(config.source)}: no frame was received before the probe was stopped")
    passed = (last.received_s - first.received_s) if source.live else (last.pts_s - first.pts_s)
    return Probe(
        source=redact(config.source),
        live=source.live,
        codec=info.codec,
        coded_width=info.width,
        coded_height=info.height,
        pixel=None if info.pixel is None else f"{info.pixel.numerator}:{info.pixel.denominator}",
        width=last.width,
        height=last.height,
        advice=None
        if info.width is None or info.height is None
        else aspect_ratio_advice(info.width, info.height, info.pixel),
        fps_declared=info.fps,
        fps_measured=round((frames - 1) / passed, 2) if passed > 0 else 0.0,
        key_frame_every_s=info.key_frame_every_s,
        first_frame_s=round(first_s, 3),
        clock=last.captured_at is not None,
        frames=frames,
    )
