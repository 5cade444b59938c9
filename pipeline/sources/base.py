"""The source protocol, and what sources of FFmpeg share."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from threading import Event
from typing import Protocol

import av
import av.error
import msgspec
import structlog
from av.codec.hwaccel import HWAccel

from facegate.errors import SourceError
from facegate.pipeline.addresses import redact
from facegate.pipeline.config import CameraConfig
from facegate.pipeline.records import Frame

HARDWARE = ("cuda", "vaapi", "qsv")

log = structlog.get_logger(__name__)


class StreamInfo(msgspec.Struct, frozen=True):
    """Properties of a stream; ``None`` where unknown."""

    codec: str | None = None
    width: int | None = None
    """Coded width in pixels."""
    height: int | None = None
    pixel: Fraction | None = None
    """Pixel aspect ratio (width over height)."""
    fps: float | None = None
    key_frame_every_s: float | None = None
    """Mean seconds between key frames so far."""
    transport: str | None = None
    """``tcp`` or ``udp`` of RTSP."""
    video_streams: tuple[str, ...] = ()
    """Codec and size of every video stream, if there are several; the first one is used."""


class Source(Protocol):
    """A camera's frames. It owns what it opens and closes it when ``frames`` ends."""

    live: bool
    """Live sources keep the newest frame and count what is overwritten; files lose nothing. What is behind a URL is
    known from the first frame on; until then it counts as live."""

    @property
    def reconnectable(self) -> bool:
        """Whether to reconnect after it ended; as for ``live``."""
        ...

    @property
    def packets_skipped(self) -> int:
        """Packets of this connection that were not decoded in order to catch up."""
        ...

    @property
    def packets_idle(self) -> int:
        """Packets of this connection that were not decoded because the scene was idle."""
        ...

    def info(self) -> StreamInfo:
        """Return the properties of the last opened stream."""
        ...

    def frames(self, stop: Event) -> Iterator[Frame]:
        """Open, yield frames until the end or ``stop``, close.

        Raises:
            SourceError: it cannot be opened, or the connection breaks.
        """
        ...


class RefusedError(SourceError):
    """The server answers that it does not serve this stream."""


@cache
def hardware_decoder() -> str | None:
    """Return the kind of this machine's hardware decoder, tried once; ``None`` without one."""
    for kind in HARDWARE:
        try:
            HWAccel(device_type=kind, allow_software_fallback=False).create(av.Codec("h264", "r"))
        except (av.error.FFmpegError, OSError, NotImplementedError, RuntimeError, ValueError):
            continue
        log.info("decoding in hardware", kind=kind)
        return kind
    log.debug("no hardware decoder, decoding on the CPU", tried=HARDWARE)
    return None


class HardwareDecoding:
    """Whether a camera is decoded in hardware: its setting, and what the hardware has shown."""

    def __init__(self, config: CameraConfig) -> None:
        self._config = config
        self._kind: str | None = None if config.decoder in ("auto", "cpu") else config.decoder
        self._given_up = config.decoder == "cpu"

    def accelerator(self) -> HWAccel | None:
        """Return the hardware decoder for ``av.open``; only ``auto`` falls back to the CPU."""
        if self._given_up:
            return None
        if self._config.decoder == "auto":
            self._kind = hardware_decoder()
        if self._kind is None:
            return None
        return HWAccel(device_type=self._kind, allow_software_fallback=self._config.decoder == "auto")

    def give_up(self, reason: str) -> bool:
        """Use the CPU from the next connection on, because the hardware gave no picture; only with ``auto``.

        Returns whether hardware was in use, so that another try makes sense.
        """
        if self._given_up or self._config.decoder != "auto" or self._kind is None:
            return False
        self._given_up = True
        log.warning(
            "hardware decoder failed, decoding on the CPU", camera=self._config.name, kind=self._kind, reason=reason
        )
        return True


def error_reason(error: BaseException) -> str:
    """Return the cause only: FFmpeg's own text repeats the URL with its password."""
    if isinstance(error, av.error.ExitError | av.error.TimeoutError):
        return "nothing received within the time-out"
    text = getattr(error, "strerror", None) or type(error).__name__
    return redact(str(text)).lower()
