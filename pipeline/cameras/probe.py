"""What a camera offers, found out by watching it for a moment."""

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
    """What was seen of a source."""

    source: str
    """Without its password."""
    live: bool
    codec: str | None
    coded_width: int | None
    """As the stream is coded; ``None`` where it is no stream."""
    coded_height: int | None
    pixel: str | None
    """A pixel's width to its height, such as ``2:1``; ``None`` where the stream does not tell."""
    width: int
    """With square pixels."""
    height: int
    advice: str | None
    """What to set as ``aspect``, where the coded size is known to be squeezed and the stream does not say so."""
    fps_declared: float | None
    fps_measured: float
    """Of frames that arrived; for a file, by its media time."""
    key_frame_every_s: float | None
    """``None`` where fewer than two key frames came."""
    first_frame_s: float
    """From asking to the first decoded frame."""
    clock: bool
    """Whether the camera tells when a frame was taken."""
    frames: int


def probe(config: CameraConfig, seconds: float, stop: Event) -> Probe:
    """Watch a source for ``seconds`` of its media time, or until it ends or ``stop``.

    Raises:
        SourceError: it cannot be opened, with the reason.
        ConfigError: a source of no known kind.
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
        raise SourceError(f"{redact(config.source)}: no frame came before the probe was stopped")
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
