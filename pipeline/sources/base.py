"""The source protocol."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from threading import Event
from typing import Protocol

import msgspec

from facegate.errors import SourceError
from facegate.pipeline.records import Frame


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
    reconnectable: bool
    """Whether to reconnect after it ended; as for ``live``."""

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


class UnauthorizedError(SourceError):
    """The camera rejects the credentials."""


class RefusedError(SourceError):
    """The server answers that it does not serve this stream."""
