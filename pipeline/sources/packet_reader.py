"""Packets of a live stream, read in a thread of their own, so that it is known when each arrived and how many wait.

The reader does nothing but read: what waits here waits for the decoder, and for nothing else.
"""

from __future__ import annotations

from collections import deque
from threading import Condition, Thread
from time import monotonic
from types import TracebackType
from typing import Any, Protocol, Self

import av.error
import msgspec

MAX_QUEUED_PACKETS = 2000
MAX_QUEUED_BYTES = 64 * 2**20
"""More is left in the network's own buffers."""


class ReceivedPacket(msgspec.Struct, frozen=True, eq=False):
    """A packet, when it arrived (monotonic) and how many waited behind it when it was taken."""

    packet: Any
    arrived_s: float
    waiting: int = 0


class Packets(Protocol):
    """Where a decoder takes its packets from, and reads the time: a reader, or a test whose time is its own."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def now(self) -> float:
        """Seconds, on the clock by which packets arrive."""

    def take(self, timeout_s: float) -> ReceivedPacket | None:
        """See :meth:`PacketReader.take`."""

    def skip_to_newest_key(self) -> int:
        """See :meth:`PacketReader.skip_to_newest_key`."""


class PacketReader:
    """Reads until the end, an error or its close; the error is raised where packets are taken."""

    def __init__(self, container: Any, stream: Any, name: str) -> None:
        """Prepare; the container stays its owner's, who closes it after this."""
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
        """End the reading; a read that waits for the network goes on until FFmpeg's time-out."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def now(self) -> float:
        """Monotonic time in seconds."""
        return monotonic()

    def take(self, timeout_s: float) -> ReceivedPacket | None:
        """The oldest packet that waits, or ``None`` when none came in time.

        Raises:
            EOFError: the stream has ended.
            Exception: whatever reading raised.
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
        """Throw away what waits before the newest key frame, if one does; return how many packets that were."""
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
                with self._changed:
                    self._packets.append(ReceivedPacket(packet, monotonic()))
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
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _has_room(self) -> bool:
        return self._closing or (len(self._packets) < MAX_QUEUED_PACKETS and self._bytes < MAX_QUEUED_BYTES)
