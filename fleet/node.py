"""A node of a fleet: a run whose cameras and configuration come from the fleet."""

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
from facegate.errors import ConfigError, os_errors
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
REPORT_INTERVAL_S = 1.0
RELEASE_TIMEOUT_S = 1.5
"""Maximum wait for cameras to end; one that takes longer sends nothing."""
UNMEASURED = 15.0
"""Assumed capacity until it is measured, processed frames per second and core."""
MIN_FRAMES_MEASURED = 200
CAPACITY_TOLERANCE = 0.25
"""Relative change of the capacity below which it is not reported, to avoid needless moves of cameras."""

log = structlog.get_logger(__name__)


class NodeIdentity(msgspec.Struct, frozen=True):
    """Identity of this node."""

    gate: str
    host: str
    tags: tuple[str, ...] = ()
    max_cameras: int = 64
    capacity: float | None = None
    """Processed frames per second; measured if ``None``."""


class FleetNode:
    """Watches the cameras assigned by the fleet until stopped; for the thread that calls :meth:`run`."""

    def __init__(
        self,
        address: BucketAddress,
        identity: NodeIdentity,
        folder: Path,
        override: Callable[[RunConfig], RunConfig],
        make_runner: Callable[[RunConfig], Runner],
    ) -> None:
        """Prepare; nothing is connected yet.

        Args:
            address: of the fleet.
            identity: of this node.
            folder: spool folder of this node.
            override: applies this node's own settings to the fleet's configuration.
            make_runner: creates a run that continues without cameras.
        """
        self._identity, self._folder = identity, folder
        self._address, self._override, self._make_runner = address, override, make_runner
        capacity = identity.capacity or UNMEASURED * cores()
        about = NodeStatus(
            host=identity.host, tags=identity.tags, capacity=capacity, max_cameras=identity.max_cameras
        )
        self._sharing = PeerExchange(identity.gate, self._on_sighting)
        self._agent = Agent(address, Member(identity.gate, lambda: str(ULID())), about, self._sharing)
        self._about = about
        self._runner: Runner | None = None
        self._applied: Assignment | None = None
        self._problem = ""
        self._refused: dict[str, str] = {}
        self._sections: tuple[int, RunConfig] | None = None
        """Revision of a configuration, and the same resolved for this node without cameras."""
        self._stop = Event()
        self._meter = _Meter()

    def stop(self) -> None:
        """Request to leave the fleet and end; returns at once."""
        self._stop.set()
        self._agent.changed.set()

    def fleet_health(self) -> FleetHealth:
        """Health of the connection to the fleet."""
        return self._agent.fleet_status()

    def report(self) -> RunReport | None:
        """The run's report so far; ``None`` while there is no configuration."""
        return None if self._runner is None else self._runner.report()

    def timings(self) -> Iterator[Metric]:
        """Return the histograms of the run's stages."""
        return iter(()) if self._runner is None else self._runner.timings()

    def run(self) -> RunReport | None:
        """Watch until stopped; return the last run's report, if any.

        Raises:
            FleetError: another node has this node's name.
            FacegateError: the run failed.
        """
        with self._agent:
            try:
                reported_s = 0.0
                while not self._stop.is_set() and self._agent.error is None:
                    self._agent.changed.wait(POLL_INTERVAL_S)
                    self._agent.changed.clear()
                    self._apply_config(self._agent.assignment)
                    if self._runner is not None and self._runner.wait(0.0):
                        break  # it has failed
                    if monotonic() - reported_s >= REPORT_INTERVAL_S:
                        reported_s = monotonic()
                        self._report_status()
            finally:
                self._release_cameras()
        if self._agent.error is not None:
            raise self._agent.error
        return None if self._runner is None else self._runner.close(linger_s=POLL_INTERVAL_S)

    def _release_cameras(self) -> None:
        """Stop watching all cameras before the session ends, as other nodes then start."""
        if self._runner is not None:
            self._runner.stop()
            deadline = monotonic() + RELEASE_TIMEOUT_S
            while self._runner.active_cameras() and monotonic() < deadline:
                sleep(0.02)

    def _apply_config(self, assignment: Assignment) -> None:
        """Apply an assignment to the run."""
        if assignment is self._applied or assignment.followed is None:
            return
        # First of all: cameras that may be watched from here on are not handed off.
        before = set() if self._applied is None else set(self._applied.permits)
        self._agent.report_status(self._about, before | set(assignment.permits))
        try:
            config = self._within_capacity(assignment)
            if self._runner is None or any(
                getattr(config, name) != getattr(self._runner.config, name) for name in SECTIONS
            ):
                self._restart_pipeline(config.model_copy(update={"cameras": ()}))
            assert self._runner is not None
            if self._applied is None or assignment.followed is not self._applied.followed:
                self._refused = {}
            self._refused = {**self._refused, **_reload(self._runner, config, assignment)}
            self._problem = ""
        except ConfigError as error:
            self._problem = str(error)
            log.error("configuration rejected, keeping the previous one", reason=self._problem)
        self._applied = assignment
        self._report_status()

    def _within_capacity(self, assignment: Assignment) -> RunConfig:
        """The fleet's configuration for this node, with the cameras assigned to it."""
        assert assignment.followed is not None
        followed = assignment.followed
        if self._sections is None or self._sections[0] != followed.revision:
            # A placeholder camera: validating thousands would take a second at every move.
            placeholder = followed.config.model_copy(
                update={"cameras": (CameraConfig(name="none", source="none"),)}
            )
            delivered = delivering(placeholder, self._address.url, self._folder)
            self._sections = (followed.revision, self._override(delivered))
        cameras = tuple(camera for camera in followed.config.cameras if camera.name in assignment.permits)
        return self._sections[1].model_copy(update={"cameras": cameras})

    def _restart_pipeline(self, config: RunConfig) -> None:
        if self._runner is not None:
            log.info("restarting the pipeline", reason="detector, tracker, scorer or delivery settings changed")
            self._runner.stop()
            self._runner.close(linger_s=POLL_INTERVAL_S)
            self._runner = None
        self._runner = self._make_runner(config)
        self._runner.connect_peers(self._sharing)
        self._sharing.model = self._runner.info.model
        self._meter = _Meter()
        self._runner.start()

    def _on_sighting(self, sighting: PeerSighting) -> None:
        runner = self._runner
        if runner is not None:
            runner.add_sighting(sighting)

    def _report_status(self) -> None:
        """Report this node's status to the fleet."""
        if self._runner is None or self._applied is None:
            self._about = msgspec.structs.replace(self._about, problem=self._problem)
            self._agent.report_status(self._about, set())
            return
        report = self._runner.report()
        watching = self._runner.active_cameras()
        capacity, load, rates = self._meter.read(report)
        if self._identity.capacity is not None:
            capacity = None
        if capacity is not None and abs(capacity / self._about.capacity - 1) > CAPACITY_TOLERANCE:
            self._about = msgspec.structs.replace(self._about, capacity=round(capacity, 1))
        before = self._about.cameras
        cameras = {
            camera.camera: WatchedCamera(
                state=camera.state.value + (f": {camera.problem}" if camera.problem else ""),
                since=before[camera.camera].since if camera.camera in before else round(time(), 1),
                processed_fps=rates.get(camera.camera, 0.0),
            )
            for camera in report.cameras
            if camera.camera in self._applied.permits
        }
        self._about = msgspec.structs.replace(
            self._about,
            load=load,
            config_error=self._refused,
            problem=self._problem,
            cameras=cameras,
        )
        self._agent.report_status(self._about, watching | set(self._applied.permits))


def _reload(runner: Runner, config: RunConfig, assignment: Assignment) -> dict[str, str]:
    """Reload the run with a configuration; return the cameras that it refuses, and why.

    A failure of one camera does not affect the others.
    """
    try:
        runner.reload(config, assignment.permits, assignment.learned)
    except ConfigError as error:
        log.error("reload failed, trying cameras one by one", reason=str(error))
    else:
        return {}
    fine: tuple[CameraConfig, ...] = ()
    refused = {}
    for camera in config.cameras:
        permits = {name: permit for name, permit in assignment.permits.items() if name not in refused}
        try:
            runner.reload(config.model_copy(update={"cameras": (*fine, camera)}), permits, assignment.learned)
        except ConfigError as error:
            refused[camera.name] = str(error)
        else:
            fine = (*fine, camera)
    return refused


class _Meter:
    """Derives capacity, load and frame rates from reports."""

    def __init__(self) -> None:
        self._at = monotonic()
        self._frames: dict[str, int] = {}
        self._rates: dict[str, float] = {}

    def read(self, report: RunReport) -> tuple[float | None, float, dict[str, float]]:
        """Capacity in processed frames per second (``None``: unknown yet), share in use, and rate by camera."""
        cost, now = report.cost, monotonic()
        passed = now - self._at
        if passed >= 2 * REPORT_INTERVAL_S:
            frames = {camera.camera: camera.frames_processed for camera in report.cameras}
            self._rates = {
                name: round(max(0, count - self._frames.get(name, count)) / passed, 1)
                for name, count in frames.items()
            }
            self._at, self._frames = now, frames
        # One thread detects, one scores: the first to saturate is the limit.
        busy_s = max(cost.total_s / cores(), cost.detect_s, cost.score_s)
        if cost.frames < MIN_FRAMES_MEASURED or busy_s <= 0:
            return None, 0.0, self._rates
        capacity = cost.frames / busy_s
        return capacity, round(sum(self._rates.values()) / capacity, 2), self._rates


def own_folder(folder: Path) -> Path:
    """Create the node's folder if missing.

    Raises:
        ConfigError: it cannot be created.
    """
    with os_errors(ConfigError, f"cannot write to {folder}"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
