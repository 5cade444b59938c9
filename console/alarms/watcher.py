"""Runs the checks in a thread, records alarms and tells of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from time import monotonic, time

import structlog

from facegate.background import BackgroundThread
from facegate.clock import elapsed_s
from facegate.console.alarms import checks
from facegate.console.alarms.clock import ClockCheck
from facegate.console.alarms.conditions import AlarmKind, Condition, Debouncer
from facegate.console.alarms.journal import Alarm, AlarmJournal, keys
from facegate.console.state import ConsoleState
from facegate.errors import FleetError, StoreError
from facegate.fleet import admin
from facegate.fleet.admin import FleetSummary
from facegate.fleet.bucket import BucketAddress

POLL_INTERVAL_S = 0.5
SLOW_INTERVAL_S = 5.0
"""Between checks of cameras, files and the fleet."""
CLOCK_INTERVAL_S = 30.0
"""Between times that are remembered for the next start."""

log = structlog.get_logger(__name__)


class AlarmWatcher(BackgroundThread):
    """Checks everything while its context is open."""

    def __init__(
        self,
        console: ConsoleState,
        journal: AlarmJournal,
        cameras: Callable[[], Iterable[checks.CameraLike]],
        on_change: Callable[[list[Alarm]], None],
    ) -> None:
        """Configure.

        Args:
            console: services to check.
            journal: where alarms are recorded.
            cameras: returns the cameras; called from the thread.
            on_change: called with alarms that began or ended; called from the thread.
        """
        super().__init__("facegate-alarms")
        self._console, self._journal = console, journal
        self._cameras, self._on_change = cameras, on_change
        self._debouncer = Debouncer()
        self._clock = ClockCheck(journal.swap_clock(time()))
        self._slow_s = self._clock_s = 0.0

    def _run(self) -> None:
        with ExitStack() as opened:
            address = self._console.fleet
            fleet = None if address is None else opened.enter_context(_FleetCheck(address))
            while not self._stop.wait(POLL_INTERVAL_S):
                try:
                    self._step(fleet)
                except StoreError as error:
                    log.error("alarms cannot be recorded", reason=str(error))
                    self._stop.wait(SLOW_INTERVAL_S)
                except Exception as error:  # a check that fails must not end the others
                    log.error("alarm check failed", reason=repr(error))
                    self._stop.wait(SLOW_INTERVAL_S)

    def _step(self, fleet: _FleetCheck | None) -> None:
        opened = self._journal.open()
        now, wall = monotonic(), time()
        since = next((alarm.since for alarm in opened if alarm.kind == "clock"), None)
        health = self._console.supervisor.health()
        found: dict[AlarmKind, list[Condition]] = {
            "process": checks.processes(health, gate_needed=self._console.needs_gate()),
            "configuration": checks.configuration(health),
            "clock": [self._clock.check(wall, elapsed_s(), since)],
        }
        if now >= self._slow_s:
            self._slow_s = now + SLOW_INTERVAL_S
            found |= self._slow()
            if fleet is not None and fleet.found is not None:
                present = [] if isinstance(fleet.found, FleetError) else list(fleet.found.gates)
                found["fleet"] = checks.fleet(fleet.found, self._journal.members(present), keys(opened))
        changes = self._debouncer.step(found, keys(opened), now)
        if now >= self._clock_s:
            self._clock_s = now + CLOCK_INTERVAL_S
            self._journal.swap_clock(wall)
        if changes.raised or changes.ended:
            changed = self._journal.record(changes, now, wall)
            for alarm in changed:
                write = log.warning if alarm.ended is None else log.info
                state = "alarm" if alarm.ended is None else "alarm ended"
                write(state, kind=alarm.kind, subject=alarm.subject, problem=alarm.problem)
            self._on_change(changed)

    def _slow(self) -> dict[AlarmKind, list[Condition]]:
        console = self._console
        data, gallery = console.folder.data, console.people.gallery
        return {
            "camera": checks.cameras(self._cameras()),
            "disk": checks.disk(data, console.min_free),
            "gallery": checks.gallery(gallery),
            "store": checks.store(console.store),
            "file": checks.files(data, data / "names", gallery.parent),
        }


class _FleetCheck(BackgroundThread):
    """Asks for the fleet's status in a thread of its own, as a server that is gone costs seconds."""

    join_timeout_s = 1.0

    def __init__(self, address: BucketAddress) -> None:
        super().__init__("facegate-fleet-check")
        self._address = address
        self.found: FleetSummary | FleetError | None = None

    def _run(self) -> None:
        while True:
            try:
                self.found = admin.run(admin.status(self._address))
            except FleetError as error:
                self.found = error
            if self._stop.wait(SLOW_INTERVAL_S):
                return
