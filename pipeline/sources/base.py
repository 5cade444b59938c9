"""What a source is, and what it says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from threading import Event
from typing import Protocol

import msgspec

from facegate.errors import SourceError
from facegate.pipeline.records import Frame


class StreamInfo(msgspec.Struct, frozen=True):
    """What a stream says of itself, as far as it does."""

    codec: str | None = None
    width: int | None = None
    """Coded pixels."""
    height: int | None = None
    pixel: Fraction | None = None
    """A pixel's width over its height; ``None`` where the stream does not tell."""
    fps: float | None = None
    key_frame_every_s: float | None = None
    """As seen so far."""


class Source(Protocol):
    """One camera's frames. It owns whatever it opens and closes it when ``frames`` ends."""

    live: bool
    """Live sources keep the newest frame and count what is overwritten; files lose nothing."""
    reconnectable: bool
    """Whether it is worth trying again after it ended."""

    @property
    def packets_skipped(self) -> int:
        """Packets left undecoded in this connection in order to catch up."""
        ...

    @property
    def packets_idle(self) -> int:
        """Packets left undecoded in this connection because nobody was there and nothing moved."""
        ...

    def info(self) -> StreamInfo:
        """What is known of the stream that was opened last."""
        ...

    def frames(self, stop: Event) -> Iterator[Frame]:
        """Open, yield frames until the end or ``stop``, close.

        Raises:
            SourceError: it cannot be opened, or breaks off.
        """
        ...


class UnauthorizedError(SourceError):
    """The camera refuses the credentials."""
