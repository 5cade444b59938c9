"""Polls the store and the gate while a page is open, and publishes changes as events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from time import monotonic, time

import msgspec
import structlog

from facegate.clock import FileClock, elapsed_s
from facegate.console.event_bus import EventBus
from facegate.console.processes.abandoned_visits import AbandonedVisits
from facegate.console.processes.supervisor import ConsoleFolder
from facegate.console.web.models import visit_out
from facegate.errors import FacegateError
from facegate.store.reader import StoreReader
from facegate.store.retention import CameraRetention, Retention, RetentionLimits

POLL_INTERVAL_S = 0.3
STATE_INTERVAL_S = 2.0
RETENTION_INTERVAL_S = 60.0
ABANDONED_INTERVAL_S = 2.0

log = structlog.get_logger(__name__)


class StoreWatcher:
    """Background tasks on the console's event loop; they run until canceled."""

    def __init__(
        self,
        broker: EventBus,
        store: StoreReader,
        folder: ConsoleFolder,
        limits: RetentionLimits,
        states: Callable[[], object],
        worker_runs: Callable[[], bool],
        kept: Callable[[str], CameraRetention],
        forget_unknowns: Callable[[Mapping[str, float]], None],
    ) -> None:
        """Configure.

        Args:
            broker: receives the events.
            store: shots and visits.
            folder: data folder of the console.
            limits: retention limits.
            states: returns the states of the cameras; called from a thread.
            worker_runs: returns whether the worker runs; called from a thread.
            kept: returns how long the data of a camera is kept; called from a thread.
            forget_unknowns: deletes unknown faces of cameras that are older than Unix times; called from a thread.
        """
        self._broker = broker
        self._store = store
        self._folder = folder
        self._limits = limits
        self._states = states
        self._kept = kept
        self._forget_unknowns = forget_unknowns
        self._seen = store.revision()
        self._clock = FileClock("store and recordings")
        self._abandoned = AbandonedVisits(store, folder.store, folder.data / "names", worker_runs)

    async def follow(self) -> None:
        """Publish changed visits and the states of the cameras."""
        subscribed, states_s = False, 0.0
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(POLL_INTERVAL_S)
            if not self._broker.has_subscribers:
                subscribed = False
                continue
            try:
                if not subscribed:  # a page loads earlier changes itself
                    self._seen, subscribed, states_s = await asyncio.to_thread(self._store.revision), True, 0.0
                elif self._store.touched():
                    await self._publish_visits()
                if loop.time() >= states_s:
                    self._broker.publish("cameras", await asyncio.to_thread(self._states))
                    states_s = loop.time() + STATE_INTERVAL_S
            except FacegateError as error:
                log.error("live updates failed", reason=str(error))

    async def end_abandoned(self) -> None:
        """End visits that no worker will end."""
        reported = ""
        while True:
            await asyncio.sleep(ABANDONED_INTERVAL_S)
            try:
                ended = await asyncio.to_thread(self._abandoned.end, monotonic())
                if ended:
                    log.info("abandoned visits ended", visits=len(ended))
                reported = ""
            except FacegateError as error:
                if str(error) != reported:
                    log.error("cannot end abandoned visits", reason=str(error))
                reported = str(error)

    async def apply_retention(self) -> None:
        """Apply the retention limits every minute."""
        while True:
            try:
                removed = await asyncio.to_thread(self._apply_retention)
                if any(msgspec.structs.astuple(removed)):
                    log.info("retention applied", **msgspec.structs.asdict(removed))
            except FacegateError as error:
                log.error("retention failed", reason=str(error))
            await asyncio.sleep(RETENTION_INTERVAL_S)

    def _apply_retention(self) -> msgspec.Struct:
        with Retention(self._folder.store) as retention:
            now = time()
            by_age = retention.trusts(self._clock, now, elapsed_s())
            cameras = {camera: self._kept(camera) for camera in retention.cameras()}
            if by_age:
                oldest = {camera: now - 86_400 * each.unknown_days for camera, each in cameras.items()}
                self._forget_unknowns(oldest)
            return retention.apply(self._folder.recordings, self._limits, now, by_age=by_age, cameras=cameras)

    async def _publish_visits(self) -> None:
        while changed := await asyncio.to_thread(self._store.changes, self._seen):
            self._seen = changed[-1].revision
            for visit in changed:
                self._broker.publish("visit", visit_out(visit).model_dump())
