"""Reads packets of a live stream in its own thread, with their arrival times and the length of the queue.

The reader only reads: packets that wait here wait for the decoder.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Condition, Thread
from time import monotonic
from types import TracebackType
from typing import Protocol, Self

import av.error
import msgspec
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

MAX_QUEUED_PACKETS = 2000
MAX_QUEUED_BYTES = 64 * 2**20
"""Maximum queue; more stays in the network buffers."""


class ReceivedPacket(msgspec.Struct, frozen=True, eq=False):
    """A packet, its arrival time (monotonic), and the number of packets behind it when it was taken."""

    packet: Packet[VideoStream]
    arrived_s: float
    waiting: int = 0


class Packets(Protocol):
    """A decoder's source of packets and time: a reader, or a test with simulated time."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def now(self) -> float:
        """Return seconds on the clock of the arrival times."""

    def take(self, timeout_s: float) -> ReceivedPacket | None:
        """See :meth:`PacketReader.take`."""

    def skip_to_newest_key(self) -> int:
        """See :meth:`PacketReader.skip_to_newest_key`."""


class PacketObserver(Protocol):
    """Sees every packet, in the reader's thread."""

    def packet(self, packet: Packet[VideoStream], arrived_s: float) -> None:
        """Take a packet and its arrival time (monotonic)."""

    def end(self) -> None:
        """The stream is about to be closed."""


PacketsFactory = Callable[[InputContainer, VideoStream, str], Packets]


class PacketReader:
    """Reads until the end, an error or ``close``; the error is raised by :meth:`take`."""

    def __init__(
        self,
        container: InputContainer,
        stream: VideoStream,
        name: str,
        observer: PacketObserver | None = None,
    ) -> None:
        """Prepare; the caller owns the container and closes it after this."""
        self._observer = observer
        self._container = container
        self._stream = stream
        self._packets: deque[ReceivedPacket] = deque()
        self._bytes = 0
        self._changed = Condition()
        self._closing = False
        self._ended = False
        self._error: BaseException | None = None
        self._thread = Thread(target=self._read, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop reading; a blocked read ends at FFmpeg's time-out."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def now(self) -> float:
        """Monotonic time in seconds."""
        return monotonic()

    def take(self, timeout_s: float) -> ReceivedPacket | None:
        """Return the oldest waiting packet, or ``None`` if none arrived in time.

        Raises:
            EOFError: the stream has ended.
            Exception: the error of the reading thread.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._packets or self._ended, timeout_s)
            if self._packets:
                return self._popped()
            if self._error is not None:
                raise self._error
            if self._ended:
                raise EOFError
            return None

    def skip_to_newest_key(self) -> int:
        """Discard the packets before the newest waiting key frame; return their number."""
        with self._changed:
            keys = [index for index, item in enumerate(self._packets) if item.packet.is_keyframe]
            for _ in range(keys[-1] if keys else 0):
                self._popped()
            return keys[-1] if keys else 0

    def _popped(self) -> ReceivedPacket:
        item = self._packets.popleft()
        self._bytes -= item.packet.size
        self._changed.notify_all()
        return ReceivedPacket(item.packet, item.arrived_s, len(self._packets))

    def _read(self) -> None:
        try:
            for packet in self._container.demux(self._stream):
                arrived_s = monotonic()
                if self._observer is not None:
                    self._observer.packet(packet, arrived_s)
                with self._changed:
                    self._packets.append(ReceivedPacket(packet, arrived_s))
                    self._bytes += packet.size
                    self._changed.notify_all()
                    self._changed.wait_for(self._has_room)
                    if self._closing:
                        return
        except (av.error.EOFError, av.error.ConnectionResetError):
            pass
        except Exception as error:
            self._error = error
        finally:
            if self._observer is not None:
                self._observer.end()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _has_room(self) -> bool:
        return self._closing or (len(self._packets) < MAX_QUEUED_PACKETS and self._bytes < MAX_QUEUED_BYTES)
