"""Assembles a run: models, stages and the channels between them, gates, ledger, recorder and sink."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from facegate.pipeline.cameras.camera import Camera, LeaseGuard
from facegate.pipeline.config import CameraConfig, RunConfig
from facegate.pipeline.detection.regions import Regions
from facegate.pipeline.detection.scheduler import DetectionScheduler
from facegate.pipeline.detection.search_plan import SearchPlan
from facegate.pipeline.flow.channel import Channel
from facegate.pipeline.gating.factory import GateFactory
from facegate.pipeline.gating.gate import Decision
from facegate.pipeline.gating.policies import MAX_RECENT_PEOPLE
from facegate.pipeline.observability.ledger import Ledger
from facegate.pipeline.recording.clips import ClipRecorders
from facegate.pipeline.recording.record import Recorder, RecordingWriter, RunInfo
from facegate.pipeline.recording.segments import SegmentedRecorder
from facegate.pipeline.records import (
    CameraEnded,
    FeedbackBatch,
    Frame,
    FrameFaces,
    LiveTracks,
    PeerSighting,
    QualityInfo,
    ScoredFrame,
    Shot,
    TrackedFrame,
    TrackEnd,
)
from facegate.pipeline.runtime.models import scorer_of, window_detector_of
from facegate.pipeline.sources.packet_reader import PacketReader, PacketsFactory
from facegate.pipeline.stages.base import link
from facegate.pipeline.stages.deliver import DeliverStage
from facegate.pipeline.stages.detect import CameraDetection, DetectStage
from facegate.pipeline.stages.gate import GateStage
from facegate.pipeline.stages.score import ScoreStage
from facegate.pipeline.stages.track import TrackStage
from facegate.pipeline.tracking.bytetrack import FaceTracker
from facegate.pipeline.tracking.identity import IdentityThresholds
from facegate.sinks.base import Sink


class Pipeline:
    """The assembled pipeline; starts nothing. The owner closes ``recorder`` and ``sink``."""

    def __init__(
        self,
        config: RunConfig,
        make_sink: Callable[[], Sink],
        run_id: str,
        *,
        on_decision: Callable[[Decision], None],
        on_scored: Callable[[ScoredFrame], None],
        record: Path | None,
        clips: ClipRecorders | None = None,
    ) -> None:
        """Load models and bind the sink; arguments as for :class:`~facegate.pipeline.runner.Runner`.

        Raises:
            FacegateError: a model is missing or the sink cannot be bound.
        """
        self.run_id = run_id
        self._clips = clips
        self.ledger = Ledger()
        self._config = config
        self._live: set[str] = set()
        self._permits: Mapping[str, LeaseGuard] = {}
        self._detector = detector = window_detector_of(config.detector, config.device)
        scorer = scorer_of(config.scorer, config.gate.min_quality, config.device)
        self.detector_name = detector.name
        self.info = QualityInfo(algorithm=scorer.algorithm, model=scorer.card.name, calibration=scorer.calibration)
        self._people = None if scorer.card.people is None else IdentityThresholds(*scorer.card.people)
        self.gates = self.checked_gates(config)
        self.detect = DetectStage(
            detector,
            self.ledger,
            live=self._live,
            batch=config.detector.batch,
        )
        self.configure_store(config)
        self.track = TrackStage(self._make_tracker, self.ledger)
        self.score = ScoreStage(
            scorer,
            partial(self.gates.scoring_scheduler, everything=config.scorer.every_face),
            self._conclusive_tracks,
            live=self._live,
            max_frames=config.scorer.max_frames,
            wait_s=config.scorer.wait_ms / 1000,
            budget_s=config.scorer.budget_ms / 1000,
        )
        self.frames = Channel[Frame | CameraEnded]()
        self.cameras = [self.prepare(camera) for camera in config.cameras]
        self.recorder: RecordingWriter | None = None
        if record is not None:
            begin = RunInfo(run_id, self.info, scorer.card.people)
            if record.is_dir():
                self.recorder = SegmentedRecorder(record, config, begin, self.gates.initial_states)
            else:
                self.recorder = Recorder(record, config, begin, self.gates.initial_states())
        self._on_scored = on_scored
        self.sink = make_sink()
        self._sightings: deque[PeerSighting] = deque(maxlen=MAX_RECENT_PEOPLE)
        self.gate = GateStage(self.gates, self.ledger, self._feedback, on_decision, self._record)
        faces, tracked, scored = (
            Channel[FrameFaces | CameraEnded](),
            Channel[TrackedFrame](),
            Channel[ScoredFrame](),
        )
        scored, shots, done = Channel[ScoredFrame](), Channel[Shot | TrackEnd | LiveTracks](), Channel[None]()
        deliver = DeliverStage(self.sink)
        self.threads = {
            self.detect.name: link(self.detect, self.frames, faces),
            self.track.name: link(self.track, faces, tracked),
            self.score.name: link(self.score, tracked, scored),
            self.gate.name: link(self.gate, scored, shots),
            deliver.name: link(deliver, shots, done),
        }
        """Function of each stage's thread, by name."""
        self.abort_channels = (self.frames.abort, faces.abort, tracked.abort, scored.abort, shots.abort)

    def configure_store(self, config: RunConfig) -> None:
        """Set what is stored of the cameras that are prepared from now on."""
        delivery = self._config.delivery
        stored = any(output.kind == "store" for output in delivery.outputs)

        def context_px(camera: str) -> int | None:
            return delivery.context_px or (config.store_for(camera).scene_px if stored else None)

        def packets(camera: str) -> PacketsFactory:
            recorder = None if self._clips is None else self._clips.prepare(camera, config.store_for(camera).clip_s)
            return PacketReader if recorder is None else partial(PacketReader, observer=recorder)

        def blur_others(camera: str) -> bool:
            return config.store_for(camera).blur_others

        self._context_px, self._packets, self._blur_others = context_px, packets, blur_others

    def prepare(self, config: CameraConfig, after: Camera | None = None) -> Camera:
        """Make a camera and register it with the stages; ``after`` is the one it replaces."""
        scheduler: DetectionScheduler | None = None
        camera = Camera(
            config,
            self.frames,
            after=after,
            is_idle=lambda: scheduler is not None and scheduler.is_idle,
            main_wanted=lambda: scheduler is not None and scheduler.sees_faces and self._undecided(config.name),
            permit=self._permits.get(config.name),
            on_kind=lambda live: (self._live.add if live else self._live.discard)(config.name),
            packets=self._packets(config.name),
        )
        (self._live.add if camera.source.live else self._live.discard)(camera.name)
        gate = self.gates.settings(camera.name)
        regions = Regions(detect_region=config.detect_region, zones=config.zones, mask=config.mask)
        scheduler = DetectionScheduler(
            frame_interval_s=1 / config.max_fps if config.max_fps and camera.source.live else None,
            idle_fps=config.idle_fps,
            skip_still=config.skip_still,
            follow=config.track_between_detections,
        )
        detector = self._config.detector
        plan = SearchPlan(
            smallest_px=self._detector.smallest_px, min_face_px=detector.min_face_px, max_side=detector.max_side
        )
        self.detect.watch(
            camera.name,
            CameraDetection(
                regions=regions,
                min_face_px=gate.min_face_px,
                plan=plan,
                scheduler=scheduler,
                context_px=self._context_px(config.name),
                blur_others=self._blur_others(config.name),
            ),
        )
        return camera

    def add_sighting(self, met: PeerSighting) -> None:
        """Take a person who was forwarded by another node; thread-safe."""
        self._sightings.append(met)

    def _feedback(self) -> FeedbackBatch:
        answers = self.sink.feedback()
        if not self._sightings:
            return answers
        return FeedbackBatch(
            answers.expected, answers.items, tuple(self._sightings.popleft() for _ in range(len(self._sightings)))
        )

    def permit(self, permits: Mapping[str, LeaseGuard]) -> None:
        """Set the lease guards of cameras made from now on, by name."""
        self._permits = permits

    def checked_gates(self, config: RunConfig) -> GateFactory:
        """Return the gates of a configuration, checked.

        Raises:
            ConfigError: a policy needs an embedding that the model does not have.
        """
        gates = GateFactory(config, self.run_id, self.info, self._people)
        for camera in config.cameras:
            gates.track_gate(camera.name)
        return gates

    def _make_tracker(self) -> FaceTracker:
        settings = self._config.tracker
        return FaceTracker(
            lost_s=settings.lost_s, high_confidence=settings.high_confidence, min_iou=settings.min_iou
        )

    def _conclusive_tracks(self, camera: str) -> frozenset[int] | None:
        return self.gate.conclusive_tracks(camera)  # the gate stage is made after the score stage

    def _undecided(self, camera: str) -> bool:
        """Whether a track of a camera may still send shots: recognition of one of them is not conclusive."""
        conclusive = self._conclusive_tracks(camera)
        return not conclusive or not self.gate.current_people(camera).keys() <= conclusive

    def _record(self, item: ScoredFrame | FeedbackBatch) -> None:
        if self.recorder is not None:
            self.recorder.write(item)
        if isinstance(item, ScoredFrame):
            self._on_scored(item)
