"""Looks, while anybody has a page open, for what gates and workers have written and counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic, time

import msgspec
import structlog

from facegate.clock import FileClock, elapsed_s
from facegate.console.event_bus import EventBus
from facegate.console.processes.abandoned_visits import AbandonedVisits
from facegate.console.processes.supervisor import ConsoleFolder
from facegate.console.web.models import visit_out
from facegate.errors import FacegateError, StoreError
from facegate.store.reader import StoreReader
from facegate.store.retention import Retention, RetentionLimits

POLL_INTERVAL_S = 0.3
STATE_INTERVAL_S = 2.0
RETENTION_INTERVAL_S = 60.0
ABANDONED_LOOK_S = 2.0

log = structlog.get_logger(__name__)


class StoreWatcher:
    """Runs on the console's loop until canceled."""

    def __init__(
        self,
        broker: EventBus,
        store: StoreReader,
        folder: ConsoleFolder,
        limits: RetentionLimits,
        states: Callable[[], object],
        worker_runs: Callable[[], bool],
    ) -> None:
        """Take what is followed.

        Args:
            broker: tells pages.
            store: of shots and visits.
            folder: of the console.
            limits: what is kept.
            states: tells how the cameras are doing, from a thread.
            worker_runs: tells whether the worker is there, from a thread.
        """
        self._broker = broker
        self._store = store
        self._folder = folder
        self._limits = limits
        self._states = states
        self._seen = store.revision()
        self._clock = FileClock("store and recordings")
        self._abandoned = AbandonedVisits(store, folder.store, folder.data / "names", worker_runs)

    async def follow(self) -> None:
        """Tell of changed visits and of the cameras' states."""
        heard, states_s = False, 0.0
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(POLL_INTERVAL_S)
            if not self._broker.has_subscribers:
                heard = False
                continue
            try:
                if not heard:  # what happened while nobody looked is on the pages that they load
                    self._seen, heard, states_s = await asyncio.to_thread(self._store.revision), True, 0.0
                elif self._store.touched():
                    await self._publish_visits()
                if loop.time() >= states_s:
                    self._broker.publish("cameras", await asyncio.to_thread(self._states))
                    states_s = loop.time() + STATE_INTERVAL_S
            except FacegateError as error:
                log.error("pages are not told what is new", reason=str(error))

    async def end_abandoned(self) -> None:
        """End visits that no worker will end."""
        told = ""
        while True:
            await asyncio.sleep(ABANDONED_LOOK_S)
            try:
                over = await asyncio.to_thread(self._abandoned.end, monotonic())
                if over:
                    log.info("visits ended that no worker holds open", visits=len(over))
                told = ""
            except FacegateError as error:
                if str(error) != told:
                    log.error("open visits not looked after", reason=str(error))
                told = str(error)

    async def apply_retention(self) -> None:
        """Remove what is old or too much, now and then."""
        while True:
            try:
                gone = await asyncio.to_thread(self._apply_retention)
                if any(msgspec.structs.astuple(gone)):
                    log.info("old shots and recordings removed", **msgspec.structs.asdict(gone))
            except StoreError as error:
                log.error("old shots and recordings not removed", reason=str(error))
            await asyncio.sleep(RETENTION_INTERVAL_S)

    def _apply_retention(self) -> msgspec.Struct:
        with Retention(self._folder.store) as retention:
            now = time()
            by_age = retention.trusts(self._clock, now, elapsed_s())
            return retention.apply(self._folder.recordings, self._limits, now, by_age=by_age)

    async def _publish_visits(self) -> None:
        while changed := await asyncio.to_thread(self._store.changes, self._seen):
            self._seen = changed[-1].revision
            for visit in changed:
                self._broker.publish("visit", visit_out(visit).model_dump())
