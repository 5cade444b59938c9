"""The life cycle of a run: start, stop, reload, end, report. It owns every thread: one per camera and stage.

A run stops from the sources on: end of stream flows through the stages, so a file run loses nothing. A camera's
error changes that camera's state only; a stage's error stops the run and is raised to the owner with the stage's
name. After ``stop`` the stages may drain for ``DRAIN_S``, then they are aborted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Event, Thread
from time import monotonic, process_time
from types import TracebackType
from typing import Self

from prometheus_client.core import Metric
from ulid import ULID

from facegate.pipeline.cameras.camera import LeaseGuard
from facegate.pipeline.config import RunConfig
from facegate.pipeline.gating.factory import CameraGates, FleetPeers, LearnedState
from facegate.pipeline.gating.gate import Decision
from facegate.pipeline.observability.library_logging import log_as_a_library
from facegate.pipeline.observability.report import RunReport
from facegate.pipeline.recording.clips import ClipRecorders
from facegate.pipeline.recording.record import RecordingPosition
from facegate.pipeline.records import FrameRef, Image, PeerSighting, ScoredFrame
from facegate.pipeline.runtime.assembly import Pipeline
from facegate.pipeline.runtime.cameras import CameraSet
from facegate.pipeline.runtime.malloc_trim import trim_memory
from facegate.pipeline.runtime.needed_extras import check_extras
from facegate.pipeline.runtime.reload import ConfigDiff, differences
from facegate.pipeline.runtime.report_builder import run_report
from facegate.pipeline.runtime.threads import THREAD_PREFIX, ThreadGroup
from facegate.pipeline.sources.factory import open_source
from facegate.sinks.base import CameraStatus, DeliveryReport, Sink

TRIM_INTERVAL_S = 20.0
"""Seconds between two releases of freed memory."""
POLL_INTERVAL_S = 0.5
"""Seconds between two checks of the cameras' states, which are reported to the sink."""
DRAIN_S = 0.8
"""Seconds after a stop in which stages may finish what they hold."""


class Runner:
    """A run from configuration to report. Use as a context manager, or call ``close``."""

    def __init__(
        self,
        config: RunConfig,
        make_sink: Callable[[], Sink],
        *,
        run_id: str | None = None,
        on_decision: Callable[[Decision], None] = lambda decision: None,
        on_scored: Callable[[ScoredFrame], None] = lambda frame: None,
        record: Path | None = None,
        clips: ClipRecorders | None = None,
        on_finished: Callable[[], None] = lambda: None,
        stays: bool = False,
    ) -> None:
        """Load models and bind the sink; nothing runs yet.

        Args:
            config: what to run.
            make_sink: called once; the runner owns the sink and closes it.
            run_id: a ULID by default.
            on_decision: called from the gate's thread for every decided face.
            on_scored: called from the gate's thread for every frame before its decisions.
            record: file or folder to record those frames to, for ``facegate replay``; a folder gets segments.
            clips: cut seconds of video around visits, of the cameras that are configured so.
            on_finished: called from the last thread that ends.
            stays: keep running without cameras, until :meth:`stop`.

        Raises:
            FacegateError: an extra or a model is missing, or the sink cannot be bound.
        """
        log_as_a_library()
        check_extras(config)
        self.run_id = run_id or str(ULID())
        self.config = config
        self._stop = Event()
        self._threads = ThreadGroup(self._abort, on_finished)
        self._parts = Pipeline(
            config,
            make_sink,
            self.run_id,
            on_decision=on_decision,
            on_scored=on_scored,
            record=record,
            clips=clips,
        )
        self._cameras = CameraSet(self._parts.cameras, self._threads, self._stop)
        self._open_lane = self._parts.frames.lane(1) if stays else None
        self.ledger = self._parts.ledger
        self.info = self._parts.info
        self._maintenance = Thread(target=self._maintain, name=THREAD_PREFIX + "memory", daemon=True)
        self._reported_cameras: dict[str, CameraStatus] | None = None
        self._delivery: DeliveryReport | None = None
        self._closed = False
        self._started = self._finished = 0.0
        self._started_cpu_s = self._finished_cpu_s = 0.0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.wait(0.0):
            self._abort()
            self.wait(max((camera.timeout_s for camera in self.config.cameras), default=0.0) + 1.0)
        self.close(linger_s=0.0)

    def start(self) -> None:
        """Start every thread."""
        self._started, self._started_cpu_s = monotonic(), process_time()
        for name, run in self._parts.threads.items():
            self._threads.spawn(name, run)
        self._report_cameras()
        self._cameras.start()
        self._maintenance.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until all threads have ended; return whether they have."""
        return self._threads.wait(timeout_s)

    def stop(self) -> None:
        """Ask the sources to end. Returns at once; ``close`` waits."""
        self._stop_sources()
        self._threads.notify()

    @property
    def stopping(self) -> bool:
        """Whether the run was asked to stop or has failed."""
        return self._stop.is_set()

    def connect_peers(self, outside: FleetPeers) -> None:
        """In a fleet: report sightings and learned states to other nodes."""
        self._parts.gates.connect_peers(outside)

    def add_sighting(self, met: PeerSighting) -> None:
        """In a fleet: take a person who was forwarded by another node."""
        self._parts.add_sighting(met)

    def reload(
        self,
        config: RunConfig,
        permits: Mapping[str, LeaseGuard] | None = None,
        learned: Mapping[str, LearnedState] | None = None,
    ) -> ConfigDiff:
        """Switch to another configuration while running, without interrupting unchanged cameras.

        Cameras and gates are changed; other differing sections are listed in ``ignored`` and need a restart. A
        changed camera ends its tracks; its counts, frame numbers and track ids continue.

        Args:
            config: the new configuration.
            permits: in a fleet, the lease guards of cameras; a camera whose guard differs is restarted.
            learned: in a fleet, states that cameras have learned on other nodes.

        Raises:
            ConfigError: the new configuration is invalid; the previous one stays in use.
        """
        parts = self._parts
        parts.checked_gates(config)
        for camera in config.cameras:
            open_source(camera)
        permits = permits or {}
        restarted = {
            camera.name for camera in self._cameras.present if camera.permit is not permits.get(camera.name)
        }
        parts.permit(permits)
        parts.gates.restore(learned or {})
        result = differences(self.config, config, parts.gates.settings, restarted)
        # Held open meanwhile: the run would end with all lanes closed.
        keeper = parts.frames.lane(1)
        try:
            parts.gates.configure(config)
            parts.configure_store(config)
            if parts.recorder is not None:
                parts.recorder.change_gates(config, parts.gates.initial_states())
            self._cameras.replace(result, {camera.name: camera for camera in config.cameras}, parts.prepare)
            self.config = self.config.model_copy(
                update={"cameras": config.cameras, "gate": config.gate, "store": config.store}
            )
        finally:
            keeper.close()
        return result

    def close(self, linger_s: float | None = None) -> RunReport:
        """Wait for the end, deliver, release everything and report. A second call only reports.

        Args:
            linger_s: seconds to wait for acknowledgements; the configuration's by default.

        Raises:
            StageError: a stage failed.
            SourceError: no camera delivered a single frame.
            AccountingError: a face had no outcome.
        """
        if self._closed:
            return self.report()
        if self._threads.wait_for_end_or(self._stop.is_set):
            self._drain()
        self._closed = True
        if self.wait(0.0) and self._maintenance.is_alive():
            self._maintenance.join()
        recorder, sink, error = self._parts.recorder, self._parts.sink, self._threads.error
        if recorder is not None:
            recorder.close()
        self._finished, self._finished_cpu_s = monotonic(), process_time()
        interrupted = self._stop.is_set() or error is not None
        if error is not None:
            sink.abort()
        self._delivery = sink.close(self.config.delivery.linger_s if linger_s is None else linger_s)
        if error is not None:
            raise error
        self.ledger.close(interrupted=interrupted)
        if not interrupted and not any(camera.received for camera in self._cameras):
            self._cameras.raise_problem()
        return self.report()

    def recording_position(self) -> RecordingPosition | None:
        """Position in the recording of the gate's current frame."""
        return None if self._parts.recorder is None else self._parts.recorder.position

    def latest_frame(self, camera: str) -> tuple[FrameRef, Image] | None:
        """Return the last frame of a camera, masked; ``None`` if there is none."""
        return self._parts.detect.latest_frame(camera)

    def current_people(self, camera: str) -> Mapping[int, int]:
        """Return, for each of the tracker's tracks of a camera, the id under which it is decided."""
        return self._parts.gate.current_people(camera)

    def gates_for_replay(self, config: RunConfig | None = None) -> CameraGates:
        """Return gates to replay frames with: this run's, or those of another configuration."""
        return CameraGates(self._parts.checked_gates(config or self.config))

    def active_cameras(self) -> set[str]:
        """Names of cameras that may still send frames."""
        return {camera.name for camera in self._cameras if not camera.done}

    def report(self) -> RunReport:
        """Return the counts so far; final after ``close``."""
        return run_report(
            self._parts,
            self._cameras,
            self._threads.cpu_s(),
            cpu_s=(self._finished_cpu_s or process_time()) - self._started_cpu_s,
            duration_s=(self._finished or monotonic()) - self._started,
            interrupted=self._stop.is_set(),
            delivery=self._parts.sink.report() if self._delivery is None else self._delivery,
        )

    def timings(self) -> Iterator[Metric]:
        """Return the histograms of the stages: ages of frames, waits for the scorer, its batches."""
        detect, score = self._parts.detect, self._parts.score
        for histogram in (detect.frame_age, score.wait, score.duration, score.batch_crops):
            yield from histogram.collect()

    def _maintain(self) -> None:
        due = monotonic() + TRIM_INTERVAL_S
        while not self.wait(POLL_INTERVAL_S):
            self._report_cameras()
            if monotonic() >= due:
                trim_memory()
                due = monotonic() + TRIM_INTERVAL_S

    def _report_cameras(self) -> None:
        cameras = {camera.name: camera.status for camera in self._cameras.present if camera.permitted}
        if cameras != self._reported_cameras:
            self._reported_cameras = cameras
            # In a fleet other nodes have the others.
            self._parts.sink.cameras(cameras, complete=self._open_lane is None)

    def _stop_sources(self) -> None:
        self._stop.set()
        self._cameras.stop()
        if self._open_lane is not None:
            self._open_lane.close()

    def _abort(self) -> None:
        self._stop_sources()
        for abort in self._parts.abort_channels:
            abort()
        self._parts.sink.abort()

    def _drain(self) -> None:
        if not self.wait(DRAIN_S):
            self._abort()
            self.wait(0.2)
