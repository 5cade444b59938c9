"""Probes a source: what its stream offers, measured for a moment, and what searching its pictures costs."""

from __future__ import annotations

from collections.abc import Callable
from math import radians, tan
from threading import Event
from time import monotonic, process_time

import msgspec

from facegate.detectors.base import Detector
from facegate.errors import SourceError
from facegate.pipeline.addresses import redact
from facegate.pipeline.config import CameraConfig
from facegate.pipeline.detection.search_plan import SearchPlan
from facegate.pipeline.records import Image
from facegate.pipeline.sources.aspect_ratio import aspect_ratio_advice
from facegate.pipeline.sources.base import StreamInfo
from facegate.pipeline.sources.factory import open_source

TLS = ("rtsps://", "https://")
FACE_WIDTH_M = 0.15
"""Width of an adult's face, meters."""


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
    transport: str | None = None
    """``tcp`` or ``udp``: the RTSP transport that works."""
    certificate: str | None = None
    """Of an encrypted connection: ``not checked``, or ``valid``."""
    video_streams: tuple[str, ...] = ()
    """Codec and size of every video stream if there are several; the first one is used."""
    search_ms: float | None = None
    """CPU milliseconds of searching a whole picture at its own scale on this machine; ``None`` if not measured."""


def distance_m(face_px: float, width: int, view_deg: float) -> float:
    """Return the distance in meters at which a face is ``face_px`` wide.

    Args:
        face_px: width of the face in pixels.
        width: of the picture in pixels.
        view_deg: horizontal field of view of the camera in degrees, less than 180.
    """
    return FACE_WIDTH_M * width / (2 * face_px * tan(radians(view_deg) / 2))


def search_ms(image: Image, detector: Detector, min_face_px: float) -> float:
    """Return the CPU milliseconds of searching a whole picture for faces of ``min_face_px`` and more."""
    spent = []
    for _ in range(2):  # the first prepares the network for the size
        start = process_time()
        plan = SearchPlan(smallest_px=detector.smallest_px, min_face_px=min_face_px)
        windows = plan.plan(image, 0.0, search=True, whole=True)
        detector.detect([window.cut_from(image, plan.small) for window in windows])
        spent.append(1000 * (process_time() - start))
    return min(spent)


def probe(
    config: CameraConfig,
    seconds: float,
    stop: Event,
    detector: Detector | None = None,
    min_face_px: float = 24.0,
    on_picture: Callable[[Image], None] = lambda image: None,
) -> Probe:
    """Read a source for ``seconds`` of its media time, or until it ends or ``stop``.

    With a ``detector``, the cost of searching its last picture for faces of ``min_face_px`` is measured;
    ``on_picture`` is called with that picture.

    Raises:
        SourceError: it cannot be opened, or gave no frame.
        ConfigError: the source is of an unknown kind.
    """
    source = open_source(config)
    asked = monotonic()
    first = last = image = None
    frames, first_s = 0, 0.0
    watching = source.frames(stop)
    for frame in watching:
        if first is None:
            first, first_s = frame.ref, monotonic() - asked
        last, image = frame.ref, frame.image
        frames += 1
        if last.pts_s - first.pts_s >= seconds:
            break
    info: StreamInfo = source.info()
    watching.close()  # type: ignore[attr-defined]
    if image is not None:
        on_picture(image)
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
        transport=info.transport,
        certificate=("valid" if config.verify else "not checked") if config.source.startswith(TLS) else None,
        video_streams=info.video_streams,
        search_ms=None if detector is None or image is None else round(search_ms(image, detector, min_face_px), 1),
    )
