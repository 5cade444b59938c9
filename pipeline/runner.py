"""Owns every thread of a run: one per camera, one per stage.

Start in order, stop from the source end: end of stream flows through, so a file run loses nothing. A camera's
error changes that camera's state and the others go on; a stage's error is kept, everything is stopped, and it is
raised to the owner with the stage's name. After ``stop`` the stages may drain for a moment, then they are aborted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Condition, Event, Thread
from time import monotonic, thread_time
from types import TracebackType
from typing import Any, Self

import msgspec
import structlog
from ulid import ULID

from facegate.detectors.base import load_detector
from facegate.errors import ConfigError, FacegateError, SourceError, StageError
from facegate.pipeline.accounting import Ledger
from facegate.pipeline.camera import Camera
from facegate.pipeline.channel import Aborted, Channel, Lane
from facegate.pipeline.config import CameraConfig, RunConfig
from facegate.pipeline.gating.build import Gates
from facegate.pipeline.gating.gate import Decision
from facegate.pipeline.gating.policies import People
from facegate.pipeline.memory import give_back
from facegate.pipeline.recording import Recorder
from facegate.pipeline.records import QualityInfo, ScoredFrame
from facegate.pipeline.report import CameraReport, RunReport, StageReport
from facegate.pipeline.score_stage import ScoreStage
from facegate.pipeline.sources.open import open_source
from facegate.pipeline.stage import DeliverStage, DetectStage, GateStage, TrackStage, Watched
from facegate.pipeline.tracking import FaceTracker
from facegate.pipeline.view import StillScene, View
from facegate.scoring.early_exit import read_table
from facegate.scoring.engine import Scorer, load_scorer
from facegate.sinks.base import DeliveryReport, Sink

STAGE_CAPACITY = 16
TIDY_S = 20.0
DRAIN_S = 0.8
"""After a stop, how long stages may finish what they hold; then they are aborted."""

THREAD_PREFIX = "facegate-"

log = structlog.get_logger(__name__)


def _log_as_a_library() -> None:
    """Unless somebody has configured structlog, log through the standard library, which is quiet by default.

    structlog's own default prints to stdout, where data belongs.
    """
    if not structlog.is_configured():
        structlog.configure(
            processors=[
                structlog.stdlib.filter_by_level,
                structlog.processors.KeyValueRenderer(key_order=["event"]),
            ],
            wrapper_class=structlog.stdlib.BoundLogger,
            logger_factory=structlog.stdlib.LoggerFactory(),
        )


class Reload(msgspec.Struct, frozen=True):
    """What a new configuration changed, by camera name."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    ignored: tuple[str, ...]
    """Sections that only a restart changes."""


class Runner:
    """A run from configuration to report. Use as a context manager, or call ``close`` yourself."""

    def __init__(
        self,
        config: RunConfig,
        make_sink: Callable[[], Sink],
        *,
        run_id: str | None = None,
        on_decision: Callable[[Decision], None] = lambda decision: None,
        on_scored: Callable[[ScoredFrame], None] = lambda frame: None,
        record: Path | None = None,
        on_finished: Callable[[], None] = lambda: None,
    ) -> None:
        """Load models and bind the sink; nothing runs yet.

        Args:
            config: what to run.
            make_sink: called once; the runner owns the sink and closes it.
            run_id: a ULID by default.
            on_decision: called from the gate's thread for every decided face.
            on_scored: called from the gate's thread for every frame that reaches it, before anything is decided.
            record: also write those frames here, for ``facegate replay``.
            on_finished: called from the last thread that ends.

        Raises:
            FacegateError: a model is missing or the sink cannot be bound.
        """
        _log_as_a_library()
        self.run_id = run_id or str(ULID())
        self.config = config
        self.ledger = Ledger()
        self._live: set[str] = set()
        detector = load_detector(
            config.detector.kind,
            config.detector.path,
            max_side=config.detector.max_side,
            min_face_px=config.detector.min_face_px,
        )
        scorer = self._load_scorer(config)
        self._detector_name = detector.name
        self.info = QualityInfo(algorithm=scorer.algorithm, model=scorer.card.name, calibration=scorer.calibration)
        self._on_finished = on_finished
        self._closed = False
        self._changed = Condition()
        self._stop = Event()
        self._error: BaseException | None = None
        self._tidying = Thread(target=self._tidy, name=THREAD_PREFIX + "memory", daemon=True)
        self._stage_cpu: dict[str, float] = {}
        self._running = 0
        self._started = 0.0
        self._finished = 0.0
        self._channels: list[Channel[Any]] = [Channel() for _ in range(5)]
        self._track = TrackStage(self._make_tracker, self.ledger)
        self._detect = DetectStage(
            detector,
            self.ledger,
            live=self._live,
            batch=config.detector.batch,
            context_px=config.delivery.context_px,
        )
        self._score = ScoreStage(
            scorer,
            self.ledger,
            live=self._live,
            max_frames=config.scorer.max_frames,
            wait_s=config.scorer.wait_ms / 1000,
            budget_s=config.scorer.budget_ms / 1000,
        )
        self._people = None if scorer.card.people is None else People(*scorer.card.people)
        self._gates = self._checked_gates(config)
        self._cameras = [self._prepare(camera) for camera in config.cameras]
        self._removed: dict[str, Camera] = {}
        self._recorder: Recorder | None = None
        if record is not None:
            self._recorder = Recorder(record, config, self.run_id, self.info, scorer.card.people)
        self._gate = GateStage(self._gates, self.ledger, on_decision, self._seen)
        self._on_scored = on_scored
        self._sink = make_sink()
        self._delivery: DeliveryReport | None = None
        self._stages: list[Any] = [
            self._detect,
            self._track,
            self._score,
            self._gate,
            DeliverStage(self._sink),
        ]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.wait(0.0):
            self._abort()
            self.wait(max(camera.timeout_s for camera in self.config.cameras) + 1.0)
        self.close(linger_s=0.0)

    def start(self) -> None:
        """Start every thread."""
        self._started = monotonic()
        for index, stage in enumerate(self._stages):
            following = self._channels[index + 1] if index + 1 < len(self._channels) else Channel()
            outbox: Lane[Any] = following.lane(STAGE_CAPACITY)
            self._spawn(stage.name, self._run_stage, stage, self._channels[index], outbox)
        for camera in self._cameras:
            self._spawn(f"camera-{camera.name}", camera.run)
        self._tidying.start()

    def _tidy(self) -> None:
        while not self.wait(TIDY_S):
            give_back()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until everything has finished or failed; return whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: self._running == 0, timeout_s)

    def stop(self) -> None:
        """Ask the sources to end. Returns at once; ``close`` does the waiting."""
        self._stop_sources()
        with self._changed:
            self._changed.notify_all()

    def _stop_sources(self) -> None:
        self._stop.set()
        for camera in self._cameras:
            camera.stopped.set()

    def _prepare(self, config: CameraConfig, after: Camera | None = None) -> Camera:
        """Make a camera and tell the stages of it; ``after`` is the one it replaces."""
        camera = Camera(config, self._channels[0], after=after)
        (self._live.add if camera.source.live else self._live.discard)(camera.name)
        gate = self._gates.settings(camera.name)
        view = View(search=config.search, report=config.report, mask=config.mask)
        still = StillScene() if config.skip_still else None
        self._detect.watch(camera.name, Watched(view=view, min_face_px=gate.min_face_px, still=still))
        return camera

    def _checked_gates(self, config: RunConfig) -> Gates:
        gates = Gates(config, self.run_id, self.info, self._people)
        for camera in config.cameras:
            gates.gate(camera.name)  # a policy that cannot work is refused now, not when a face comes
        return gates

    def reload(self, config: RunConfig) -> Reload:
        """Go over to another configuration while running: cameras come, go and change, the others do not blink.

        Cameras and gates change; whatever else differs is named in ``ignored`` and needs a restart. A camera that
        changes ends its tracks; its counts, frame numbers and track ids go on.

        Raises:
            ConfigError: the new configuration cannot work; everything stays as it was.
        """
        self._checked_gates(config)
        for camera in config.cameras:
            open_source(camera)
        before = {old.name: old for old in self._cameras}
        wanted = {camera.name: camera for camera in config.cameras}
        sections = ("detector", "tracker", "scorer", "delivery")
        result = Reload(
            added=tuple(name for name in wanted if name not in before),
            removed=tuple(name for name in before if name not in wanted),
            changed=tuple(
                name
                for name, camera in wanted.items()
                if name in before
                and (camera != before[name].config or config.gate_for(name) != self._gates.settings(name))
            ),
            ignored=tuple(name for name in sections if getattr(config, name) != getattr(self.config, name)),
        )
        # Held open meanwhile: with all lanes closed the run would end.
        keeper = self._channels[0].lane(1)
        try:
            self._gates.configure(config)
            leaving = [before[name] for name in (*result.removed, *result.changed)]
            for old in leaving:
                old.stopped.set()
            for old in leaving:
                self._wait_for_camera(old)
            self._removed |= {name: before[name] for name in result.removed}
            self._cameras = [old for old in self._cameras if old not in leaving]
            for name in (*result.added, *result.changed):
                new = self._prepare(wanted[name], before.get(name) or self._removed.pop(name, None))
                self._cameras.append(new)
                if self._stop.is_set():
                    new.stopped.set()
                self._spawn(f"camera-{name}", new.run)
            self.config = self.config.model_copy(update={"cameras": config.cameras, "gate": config.gate})
        finally:
            keeper.close()
        return result

    def _wait_for_camera(self, camera: Camera) -> None:
        """Until its thread has ended and its last frame was taken; FFmpeg may read on until its time-out."""
        with self._changed:
            self._changed.wait_for(lambda: camera.done or self._stop.is_set())
        camera.lane.drained()

    @property
    def stopping(self) -> bool:
        """Whether a stop was asked for or something has failed."""
        return self._stop.is_set()

    def close(self, linger_s: float | None = None) -> RunReport:
        """Wait for the end, deliver, release everything and report. A second call only reports.

        Args:
            linger_s: how long to wait for acknowledgements; the configuration's by default.

        Raises:
            StageError: a stage failed.
            SourceError: no camera delivered a single frame.
            AccountingError: a face had no outcome.
        """
        if self._closed:
            return self.report()
        if self._wait_for_end():
            self._drain()
        self._closed = True
        if self.wait(0.0) and self._tidying.is_alive():
            self._tidying.join()
        if self._recorder is not None:
            self._recorder.close()
        self._finished = monotonic()
        interrupted = self._stop.is_set() or self._error is not None
        if self._error is not None:
            self._sink.abort()
        self._delivery = self._sink.close(self.config.delivery.linger_s if linger_s is None else linger_s)
        if self._error is not None:
            raise self._error
        self.ledger.close(interrupted=interrupted)
        if not interrupted and not any(camera.received for camera in (*self._cameras, *self._removed.values())):
            self._raise_camera_problem()
        return self.report()

    def _raise_camera_problem(self) -> None:
        errors = [camera.error for camera in self._cameras if camera.error]
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise SourceError(f"none of {len(errors)} cameras gave a frame; the first: {errors[0]}")

    def report(self) -> RunReport:
        """Return the counts so far; final after ``close``."""
        outcomes = self.ledger.outcomes()
        cameras = tuple(self._camera_report(camera) for camera in (*self._cameras, *self._removed.values()))
        return RunReport(
            run_id=self.run_id,
            duration_s=round(self._duration_s(), 3),
            interrupted=self._stop.is_set(),
            detector=self._detector_name,
            algorithm=self.info.algorithm,
            model=self.info.model,
            frames_received=sum(camera.frames_received for camera in cameras),
            frames_processed=sum(camera.frames_processed for camera in cameras),
            observed=self.ledger.observed(),
            outcomes=outcomes,
            tracks=self._track.tracks,
            shots=outcomes.get("forwarded", 0) + outcomes.get("shadow", 0),
            scoring=self._score.report(),
            delivery=self._sink.report() if self._delivery is None else self._delivery,
            cameras=cameras,
            stages=tuple(StageReport(name, round(cpu, 3)) for name, cpu in self._stage_cpu.items()),
        )

    def _duration_s(self) -> float:
        return (self._finished or monotonic()) - self._started

    def _camera_report(self, camera: Camera) -> CameraReport:
        watched = self._detect.watched(camera.name)
        decider = self._gate.cameras().get(camera.name)
        online = None if decider is None else decider.gate.online
        return CameraReport(
            camera=camera.name,
            state=camera.state,
            problem=None if camera.error is None else str(camera.error),
            frames_received=camera.received,
            frames_processed=watched.frames,
            looks_per_s=round(watched.frames / max(self._duration_s(), 1e-3), 2),
            frames_overwritten=camera.overwritten,
            frames_still=watched.frames_still,
            packets_not_decoded=camera.not_decoded,
            age_ms=watched.age_ms(),
            reconnects=camera.reconnects,
            observed=self.ledger.observed(camera.name),
            outcomes=self.ledger.outcomes(camera.name),
            threshold=self._gates.settings(camera.name).min_quality if online is None else online.threshold,
            quality_moved=0.0 if online is None else round(online.moved, 3),
            splits=0 if decider is None else decider.guard.splits,
        )

    @staticmethod
    def _load_scorer(config: RunConfig) -> Scorer:
        settings = config.scorer
        load = partial(
            load_scorer,
            settings.weights,
            card=settings.card,
            quality=settings.quality,
            blocks=settings.blocks,
            aggregation=settings.aggregation,
            distance=settings.distance,
            device=settings.device,
            dtype=settings.dtype,
        )
        if settings.exits is None:
            return load(backend=settings.backend)
        plain = load(backend="torch")
        table = read_table(settings.exits, plain.card.name, plain.algorithm)
        if table.min_quality > config.gate.min_quality:
            raise ConfigError(
                f"exit table {settings.exits} is for a gate at {table.min_quality}, above min_quality "
                f"{config.gate.min_quality}: it would drop what this gate lets through"
            )
        return plain.leaving_early(table.exits())

    def _make_tracker(self) -> FaceTracker:
        settings = self.config.tracker
        return FaceTracker(
            lost_s=settings.lost_s, high_confidence=settings.high_confidence, min_iou=settings.min_iou
        )

    def _seen(self, frame: ScoredFrame) -> None:
        if self._recorder is not None:
            self._recorder.see(frame)
        self._on_scored(frame)

    def _spawn(self, name: str, target: Callable[..., None], *args: Any) -> None:
        with self._changed:
            self._running += 1
        # Daemons: a read inside FFmpeg cannot be interrupted before its time-out, and must not hold up the exit.
        thread = Thread(target=self._guard, args=(name, target, *args), name=THREAD_PREFIX + name, daemon=True)
        thread.start()

    def _guard(self, name: str, target: Callable[..., None], *args: Any) -> None:
        try:
            target(*args)
        except Aborted:
            pass
        except BaseException as error:  # kept and raised by close
            self._fail(name, error)
        finally:
            with self._changed:
                self._running -= 1
                last = self._running == 0
                self._changed.notify_all()
            if last:
                self._on_finished()

    def _run_stage(self, stage: Any, inbox: Channel[Any], outbox: Lane[Any]) -> None:
        try:
            stage.run(inbox, outbox)
        finally:
            self._stage_cpu[stage.name] = thread_time()
            outbox.close()

    def _fail(self, name: str, error: BaseException) -> None:
        """First error wins."""
        with self._changed:
            if self._error is None:
                self._error = error if isinstance(error, FacegateError) else StageError(name, error)
                self._error.__cause__ = error if self._error is not error else error.__cause__
        self._abort()

    def _abort(self) -> None:
        self._stop_sources()
        for channel in self._channels:
            channel.abort()
        self._sink.abort()

    def _wait_for_end(self) -> bool:
        """Wait until all threads have ended or a stop was asked for; return whether some still run."""
        with self._changed:
            self._changed.wait_for(lambda: self._running == 0 or self._stop.is_set())
            return self._running > 0

    def _drain(self) -> None:
        if not self.wait(DRAIN_S):
            self._abort()
            self.wait(0.2)
