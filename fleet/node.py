"""A gate of a fleet: a run whose cameras and configuration come from the fleet, and go there again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from time import monotonic, sleep, time

import msgspec
import structlog
from prometheus_client.core import Metric
from ulid import ULID

from facegate.cpu import cores
from facegate.errors import ConfigError
from facegate.fleet.agent import Agent, Assignment
from facegate.fleet.bucket import BucketAddress
from facegate.fleet.configuration import delivering
from facegate.fleet.peer_exchange import PeerExchange
from facegate.fleet.records import NodeStatus, WatchedCamera
from facegate.fleet.state_machine import Member
from facegate.pipeline.config import CameraConfig, RunConfig
from facegate.pipeline.observability.metrics import FleetHealth
from facegate.pipeline.observability.report import RunReport
from facegate.pipeline.records import PeerSighting
from facegate.pipeline.runner import Runner
from facegate.pipeline.runtime.reload import SECTIONS

POLL_INTERVAL_S = 0.2
TELL_S = 1.0
LET_GO_S = 1.5
"""A camera that has not ended by then is one that sends nothing."""
UNMEASURED = 15.0
"""Looks per second and core that a gate takes for its capacity until it has measured it."""
MIN_FRAMES_MEASURED = 200
STATUS_INTERVAL_S = 0.25
"""A capacity that differs by less from the one that was told is not told: cameras would move for nothing."""

log = structlog.get_logger(__name__)


class NodeIdentity(msgspec.Struct, frozen=True):
    """Which gate this is."""

    gate: str
    host: str
    tags: tuple[str, ...] = ()
    max_cameras: int = 64
    capacity: float | None = None
    """Looks per second; measured where it is not given."""


class FleetNode:
    """Watches what the fleet gives it until stopped; of the thread that calls :meth:`run`."""

    def __init__(
        self,
        place: BucketAddress,
        identity: NodeIdentity,
        folder: Path,
        override: Callable[[RunConfig], RunConfig],
        make_runner: Callable[[RunConfig], Runner],
    ) -> None:
        """Prepare; nothing is connected yet.

        Args:
            place: where the fleet is.
            identity: which gate this is.
            folder: of what waits on disk, this gate's own.
            override: what this gate has otherwise than the fleet.
            make_runner: makes a run that stays without cameras.
        """
        self._identity, self._folder = identity, folder
        self._place, self._override, self._make_runner = place, override, make_runner
        capacity = identity.capacity or UNMEASURED * cores()
        about = NodeStatus(
            host=identity.host, tags=identity.tags, capacity=capacity, max_cameras=identity.max_cameras
        )
        self._sharing = PeerExchange(identity.gate, self._on_sighting)
        self._agent = Agent(place, Member(identity.gate, lambda: str(ULID())), about, self._sharing)
        self._about = about
        self._runner: Runner | None = None
        self._taken: Assignment | None = None
        self._problem = ""
        self._refused: dict[str, str] = {}
        self._sections: tuple[int, RunConfig] | None = None
        """Revision of a configuration, and what this gate makes of it but for its cameras."""
        self._stop = Event()
        self._meter = _Meter()

    def stop(self) -> None:
        """Leave the fleet and end; returns at once."""
        self._stop.set()
        self._agent.changed.set()

    def fleet_health(self) -> FleetHealth:
        """How the gate stands in its fleet."""
        return self._agent.fleet_status()

    def report(self) -> RunReport | None:
        """The run's counts so far; ``None`` before there is a configuration."""
        return None if self._runner is None else self._runner.report()

    def timings(self) -> Iterator[Metric]:
        """Return the histograms of the run's stages."""
        return iter(()) if self._runner is None else self._runner.timings()

    def run(self) -> RunReport | None:
        """Watch until stopped; return the last run's report, if there was one.

        Raises:
            FleetError: another gate has this one's name.
            FacegateError: the run has failed.
        """
        with self._agent:
            try:
                told = 0.0
                while not self._stop.is_set() and self._agent.error is None:
                    self._agent.changed.wait(POLL_INTERVAL_S)
                    self._agent.changed.clear()
                    self._apply_config(self._agent.wanted)
                    if self._runner is not None and self._runner.wait(0.0):
                        break  # it has failed
                    if monotonic() - told >= TELL_S:
                        told = monotonic()
                        self._report_status()
            finally:
                self._release_cameras()
        if self._agent.error is not None:
            raise self._agent.error
        return None if self._runner is None else self._runner.close(linger_s=POLL_INTERVAL_S)

    def _release_cameras(self) -> None:
        """Leave every camera alone before the session is over: whoever gets them next begins then."""
        if self._runner is not None:
            self._runner.stop()
            deadline = monotonic() + LET_GO_S
            while self._runner.active_cameras() and monotonic() < deadline:
                sleep(0.02)

    def _apply_config(self, wanted: Assignment) -> None:
        """Let the run be what is wanted."""
        if wanted is self._taken or wanted.followed is None:
            return
        # Before anything begins: what may be watched by the end of this is not given away.
        before = set() if self._taken is None else set(self._taken.permits)
        self._agent.report_status(self._about, before | set(wanted.permits))
        try:
            config = self._within_capacity(wanted)
            if self._runner is None or any(
                getattr(config, name) != getattr(self._runner.config, name) for name in SECTIONS
            ):
                self._restart_pipeline(config.model_copy(update={"cameras": ()}))
            assert self._runner is not None
            if self._taken is None or wanted.followed is not self._taken.followed:
                self._refused = {}
            self._refused = {**self._refused, **_reload(self._runner, config, wanted)}
            self._problem = ""
        except ConfigError as error:
            self._problem = str(error)
            log.error("not taken over, going on as before", reason=self._problem)
        self._taken = wanted
        self._report_status()

    def _within_capacity(self, wanted: Assignment) -> RunConfig:
        """The fleet's configuration as it is for this gate, with the cameras that it is to watch."""
        assert wanted.followed is not None
        followed = wanted.followed
        if self._sections is None or self._sections[0] != followed.revision:
            # Any camera will do: it is validated anew, and thousands would take a second each time one moves.
            nobody = followed.config.model_copy(update={"cameras": (CameraConfig(name="none", source="none"),)})
            delivered = delivering(nobody, self._place.url, self._folder)
            self._sections = (followed.revision, self._override(delivered))
        cameras = tuple(camera for camera in followed.config.cameras if camera.name in wanted.permits)
        return self._sections[1].model_copy(update={"cameras": cameras})

    def _restart_pipeline(self, config: RunConfig) -> None:
        if self._runner is not None:
            log.info("beginning anew, as what only that changes was changed")
            self._runner.stop()
            self._runner.close(linger_s=POLL_INTERVAL_S)
            self._runner = None
        self._runner = self._make_runner(config)
        self._runner.connect_peers(self._sharing)
        self._sharing.model = self._runner.info.model
        self._meter = _Meter()
        self._runner.start()

    def _on_sighting(self, met: PeerSighting) -> None:
        runner = self._runner
        if runner is not None:
            runner.add_sighting(met)

    def _report_status(self) -> None:
        """Tell the fleet how this gate is doing."""
        if self._runner is None or self._taken is None:
            self._about = msgspec.structs.replace(self._about, problem=self._problem)
            self._agent.report_status(self._about, set())
            return
        report = self._runner.report()
        watching = self._runner.active_cameras()
        capacity, load, rates = self._meter.read(report)
        if self._identity.capacity is not None:
            capacity = None
        if capacity is not None and abs(capacity / self._about.capacity - 1) > STATUS_INTERVAL_S:
            self._about = msgspec.structs.replace(self._about, capacity=round(capacity, 1))
        said = self._about.cameras
        cameras = {
            camera.camera: WatchedCamera(
                state=camera.state.value + (f": {camera.problem}" if camera.problem else ""),
                since=said[camera.camera].since if camera.camera in said else round(time(), 1),
                processed_fps=rates.get(camera.camera, 0.0),
            )
            for camera in report.cameras
            if camera.camera in self._taken.permits
        }
        self._about = msgspec.structs.replace(
            self._about,
            load=load,
            config_error=self._refused,
            problem=self._problem,
            cameras=cameras,
        )
        self._agent.report_status(self._about, watching | set(self._taken.permits))


def _reload(runner: Runner, config: RunConfig, wanted: Assignment) -> dict[str, str]:
    """Go over to a configuration; return the cameras that this gate cannot watch so, and why.

    What cannot work for one camera is no reason to leave the others alone.
    """
    try:
        runner.reload(config, wanted.permits, wanted.learned)
    except ConfigError as error:
        log.error("trying the cameras one by one", reason=str(error))
    else:
        return {}
    fine: tuple[CameraConfig, ...] = ()
    refused = {}
    for camera in config.cameras:
        permits = {name: permit for name, permit in wanted.permits.items() if name not in refused}
        try:
            runner.reload(config.model_copy(update={"cameras": (*fine, camera)}), permits, wanted.learned)
        except ConfigError as error:
            refused[camera.name] = str(error)
        else:
            fine = (*fine, camera)
    return refused


class _Meter:
    """What a gate's report says of its capacity, and of what it does just now."""

    def __init__(self) -> None:
        self._at = monotonic()
        self._looks: dict[str, int] = {}
        self._rates: dict[str, float] = {}

    def read(self, report: RunReport) -> tuple[float | None, float, dict[str, float]]:
        """Looks per second that it can sustain (``None``: not known yet), share of that in use, rate by camera."""
        cost, now = report.cost, monotonic()
        passed = now - self._at
        if passed >= 2 * TELL_S:
            looks = {camera.camera: camera.frames_processed for camera in report.cameras}
            self._rates = {
                name: round(max(0, count - self._looks.get(name, count)) / passed, 1)
                for name, count in looks.items()
            }
            self._at, self._looks = now, looks
        # One thread detects, one scores: what is full first is the limit.
        busy_s = max(cost.total_s / cores(), cost.detect_s, cost.score_s)
        if cost.frames < MIN_FRAMES_MEASURED or busy_s <= 0:
            return None, 0.0, self._rates
        capacity = cost.frames / busy_s
        return capacity, round(sum(self._rates.values()) / capacity, 2), self._rates


def own_folder(folder: Path) -> Path:
    """The gate's folder, made where it is missing.

    Raises:
        ConfigError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"cannot keep anything in {folder}: {(error.strerror or 'error').lower()}") from error
    return folder
