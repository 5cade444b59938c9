"""A camera's stream on a clock that moves only while somebody waits: every machine reads the same of it.

Server, RTP, FFmpeg and decoding are real. A packet arrives when the server's schedule says, not when this machine
came round to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from facegate.pipeline.config import CameraConfig
from facegate.pipeline.sources.network import NetworkSource
from facegate.pipeline.sources.packet_reader import ReceivedPacket

from ...camera_faults import Faults

BEGAN_S = 1000.0


def on_time(number: int) -> float:
    """No packet is ever late."""
    del number
    return 0.0


class OwnTime:
    """The clock, and how the pictures of a server that sends ``at_once`` arrive on it."""

    def __init__(self, faults: Faults, frame_s: float = 0.04, late_s: Callable[[int], float] = on_time) -> None:
        """Begin.

        Args:
            faults: of the server; they say when each picture is due.
            frame_s: seconds of the movie from one picture to the next.
            late_s: how late the packet with a number arrives; it never overtakes one before it.
        """
        self._faults = replace(faults, at_once=False)
        self._frame_s = frame_s
        self._late_s = late_s
        self.now_s = BEGAN_S

    def arrives_s(self, number: int) -> float:
        """FFmpeg gives a picture's packet when the next one begins."""
        return BEGAN_S + self._faults.due_s((number + 1) * self._frame_s) + self._late_s(number)

    def open(self, container: Any, stream: Any, name: str) -> OwnTimePackets:
        """For :class:`~facegate.pipeline.sources.network.NetworkSource`."""
        del name
        return OwnTimePackets(self, container, stream)

    def watch(self, url: str, is_idle: Callable[[], bool] = lambda: False, **settings: object) -> NetworkSource:
        """The server's stream as a source."""
        config = CameraConfig.model_validate({"name": "cam", "source": url} | settings)
        return NetworkSource(config, is_idle, self.open)


class OwnTimePackets:
    """What :class:`facegate.pipeline.sources.packet_reader.PacketReader` does, without its thread."""

    def __init__(self, time: OwnTime, container: Any, stream: Any) -> None:
        self._time = time
        self._demuxed = container.demux(stream)
        self._number = 0
        self._latest_s = 0.0
        self._next: ReceivedPacket | None = None
        self._waiting: deque[ReceivedPacket] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def now(self) -> float:
        return self._time.now_s

    def take(self, timeout_s: float) -> ReceivedPacket | None:
        """The oldest packet; where none waits, time passes until one comes.

        Raises:
            EOFError: the stream has ended.
        """
        until_s = self._time.now_s + timeout_s
        coming = self._peek()
        if coming is None and not self._waiting:
            raise EOFError
        if not self._waiting and coming is not None:
            self._time.now_s = max(self._time.now_s, min(until_s, coming.arrived_s))
        self._receive()
        if not self._waiting:
            return None
        item = self._waiting.popleft()
        return ReceivedPacket(item.packet, item.arrived_s, len(self._waiting))

    def skip_to_newest_key(self) -> int:
        self._receive()
        keys = [index for index, item in enumerate(self._waiting) if item.packet.is_keyframe]
        for _ in range(keys[-1] if keys else 0):
            self._waiting.popleft()
        return keys[-1] if keys else 0

    def _receive(self) -> None:
        """Whatever has arrived by now waits."""
        while (coming := self._peek()) is not None and coming.arrived_s <= self._time.now_s:
            self._waiting.append(coming)
            self._next = None

    def _peek(self) -> ReceivedPacket | None:
        if self._next is None and (packet := next(self._demuxed, None)) is not None:
            self._latest_s = max(self._latest_s, self._time.arrives_s(self._number))
            self._next = ReceivedPacket(packet, self._latest_s)
            self._number += 1
        return self._next
