"""One camera of a run: its thread, its state and its reconnection."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from threading import Event
from time import monotonic
from typing import Protocol

import msgspec
import structlog

from facegate.errors import SourceError
from facegate.pipeline.cameras.onvif_events import OnvifEvents
from facegate.pipeline.cameras.reconnect import ReconnectDelay, TimestampStitcher
from facegate.pipeline.config import CameraConfig
from facegate.pipeline.detection.regions import rotated
from facegate.pipeline.flow.channel import Channel, Lane
from facegate.pipeline.login.digest import UnauthorizedError
from facegate.pipeline.observability.report import CameraState
from facegate.pipeline.records import CameraEnded, Frame, FrameRef
from facegate.pipeline.sources.base import RefusedError, Source
from facegate.pipeline.sources.factory import open_source
from facegate.pipeline.sources.packet_reader import PacketReader, PacketsFactory
from facegate.sinks.base import CameraStatus

FILE_FRAMES_AHEAD = 4
LOG_REPEAT_S = 60.0
"""Seconds between two log lines about a camera that stays away for the same reason."""

log = structlog.get_logger(__name__)


class LeaseGuard(Protocol):
    """In a fleet: whether this node still holds the camera's lease; asked at every frame."""

    @property
    def lease(self) -> int:
        """Revision of the lease, for :class:`FrameRef`."""
        ...

    def holds(self) -> bool:
        """Whether the lease holds; once lost, it never holds again."""
        ...


class _LeaseAwareEvent(Event):
    """An event that is also set when the lease is lost; checked before every packet."""

    def __init__(self, permit: LeaseGuard | None) -> None:
        super().__init__()
        self._permit = permit

    def is_set(self) -> bool:
        """Whether the camera must end."""
        if self._permit is not None and not self._permit.holds():
            self.set()
        return super().is_set()


class Camera:
    """Feeds a lane from a source until the source ends or is stopped.

    A source's error changes this camera's state only.
    """

    def __init__(
        self,
        config: CameraConfig,
        inbox: Channel[Frame | CameraEnded],
        *,
        after: Camera | None = None,
        is_idle: Callable[[], bool] = lambda: False,
        main_wanted: Callable[[], bool] = lambda: True,
        permit: LeaseGuard | None = None,
        on_kind: Callable[[bool], None] = lambda live: None,
        packets: PacketsFactory = PacketReader,
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            config: the camera.
            inbox: channel for its frames.
            after: the camera of this name before its configuration changed; frame numbers and counts continue.
            is_idle: whether the scene was idle at the last frame (no face, no motion).
            main_wanted: whether a face is present that is worth the size of the main stream.
            packets: makes the packet reader of its stream.
            permit: the camera ends before the next frame when this no longer holds.
            on_kind: called with whether the source is live, whenever it delivers its first frame.

        Raises:
            ConfigError: the source is of an unknown kind.
        """
        self.config = config
        self.permit = permit
        self._on_kind = on_kind
        self._events = None if config.onvif_events is None else OnvifEvents(config)
        self.source: Source = open_source(config, self._asleep(is_idle), main_wanted, packets)
        self.lane: Lane[Frame | CameraEnded] = inbox.lane(1)
        self._set_lane()
        self.state = CameraState.CONNECTING
        self.error: SourceError | None = None
        self.received: int = 0 if after is None else after.received
        self.reconnects: int = 0 if after is None else after.reconnects
        self.stopped: Event = _LeaseAwareEvent(permit)
        """Set to end this camera only."""
        self.done = False
        self._stream: TimestampStitcher = TimestampStitcher() if after is None else after._stream
        self._stream.reconnected()
        self._last: FrameRef = FrameRef(config.name, 0, 0.0, 0.0, None, 0, 0) if after is None else after._last
        self._seen = 0
        self._overwritten = 0 if after is None else after.overwritten
        self._not_decoded = 0 if after is None else after.packets_skipped
        self._packets_idle = 0 if after is None else after.packets_idle
        self._live_since: float | None = None

    @property
    def name(self) -> str:
        """Name from the configuration."""
        return self.config.name

    @property
    def status(self) -> CameraStatus:
        """State and problem, for delivery."""
        return CameraStatus(self.state.value, None if self.error is None else str(self.error))

    @property
    def permitted(self) -> bool:
        """Whether this node may watch it; always outside a fleet."""
        return self.permit is None or self.permit.holds()

    @property
    def packets_skipped(self) -> int:
        """Packets that were not decoded in order to catch up."""
        return self._not_decoded + self.source.packets_skipped

    @property
    def packets_idle(self) -> int:
        """Packets that were not decoded because the scene was idle."""
        return self._packets_idle + self.source.packets_idle

    @property
    def overwritten(self) -> int:
        """Frames that a newer one replaced before they were processed."""
        return self._overwritten + self.lane.overwritten

    def _asleep(self, is_idle: Callable[[], bool]) -> Callable[[], bool]:
        """Whether nothing need be decoded: the scene is idle, and no event of the camera says otherwise."""
        events = self._events
        return is_idle if events is None else lambda: is_idle() and not events.is_awake()

    def run(self) -> None:
        """Feed the lane until the end; its last item is :class:`CameraEnded`."""
        with nullcontext() if self._events is None else self._events:
            self._run()

    def _run(self) -> None:
        delay = ReconnectDelay(self.name)
        logged, logged_s = "", 0.0
        try:
            while not self.stopped.is_set() and (lost := self._connection()) is not None:
                live_for = 0.0 if self._live_since is None else monotonic() - self._live_since
                unauthorized = self.state is CameraState.UNAUTHORIZED
                wait = delay.wait_s(unauthorized=unauthorized, live_for_s=live_for)
                if lost != logged or self._live_since is not None or monotonic() - logged_s >= LOG_REPEAT_S:
                    if self._seen:
                        log.warning(
                            "camera lost, reconnecting", camera=self.name, reason=lost, retry_in_s=round(wait, 1)
                        )
                    else:
                        log.warning(
                            "camera unreachable, retrying", camera=self.name, reason=lost, retry_in_s=round(wait, 1)
                        )
                    logged, logged_s = lost, monotonic()
                if self.stopped.wait(wait):
                    return
                self._stream.reconnected()
        finally:
            self.done = True
            self.lane.close(CameraEnded(frame=self._last))

    def _set_lane(self) -> None:
        """Keep the newest frame of a live source, and all of a file."""
        live = self.source.live
        self.lane.resize(1 if live else FILE_FRAMES_AHEAD, overwrite=live)

    def _connection(self) -> str | None:
        """Read until the source ends; return why to reconnect, or ``None`` not to."""
        self._live_since = None
        try:
            for frame in self.source.frames(self.stopped):
                if self.stopped.is_set():
                    break
                if self._live_since is None:
                    self._went_live(frame)
                self.received += 1
                placed = self._stream.stitch(rotated(frame, self.config.rotate))
                if self.permit is not None:
                    placed = msgspec.structs.replace(
                        placed, ref=msgspec.structs.replace(placed.ref, lease=self.permit.lease)
                    )
                self._last = placed.ref
                self.lane.put(placed)
        except SourceError as error:
            self.error = error
            return self._connection_lost(error)
        if self.source.reconnectable and self.config.reconnect and not self.stopped.is_set():
            self.state = CameraState.STALLED
            return "the stream ended"
        self._mark_ended()
        return None

    def _mark_ended(self) -> None:
        self.state = CameraState.ENDED
        log.info("camera ended", camera=self.name, frames=self.received)

    def _connection_lost(self, error: SourceError) -> str | None:
        if self.stopped.is_set():
            self._mark_ended()  # whatever the error is by then
            return None
        again = self.source.reconnectable and self.config.reconnect
        if isinstance(error, UnauthorizedError):
            self.state = CameraState.UNAUTHORIZED
        else:
            never_came = isinstance(error, RefusedError) and not self._seen
            self.state = CameraState.STALLED if again and not never_came else CameraState.FAILED
        if again:
            return str(error)
        log.error("camera failed", camera=self.name, reason=str(error))
        return None

    def _went_live(self, frame: Frame) -> None:
        self._live_since = monotonic()
        self._set_lane()
        self._on_kind(self.source.live)
        self.reconnects += self._seen > 0
        self._seen += 1
        self.state, self.error = CameraState.LIVE, None
        log.info("camera live", camera=self.name, width=frame.ref.width, height=frame.ref.height)
