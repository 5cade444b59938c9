"""The stages between source and sink. Each is a class with ``run(inbox, outbox)``; the runner gives it a thread.

A stage never swallows an error: what it cannot handle goes up to the runner, which names the stage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

import structlog

from facegate.detectors.align import align
from facegate.detectors.base import Detector
from facegate.pipeline.accounting import Ledger
from facegate.pipeline.batching import Batcher
from facegate.pipeline.channel import Channel, EndOfStream, Lane
from facegate.pipeline.cuts import CutDetector
from facegate.pipeline.gating.build import CameraDecider, Gates
from facegate.pipeline.gating.gate import Decision
from facegate.pipeline.records import (
    Detection,
    Face,
    Frame,
    FrameFaces,
    FrameRef,
    Outcome,
    Record,
    ScoredFrame,
    Shot,
    TrackedFace,
    TrackedFrame,
)
from facegate.pipeline.tracking import FaceTracker
from facegate.sinks.base import Sink

log = structlog.get_logger(__name__)

In = TypeVar("In")
Out = TypeVar("Out")


class CameraEnded(Record, frozen=True, eq=False):
    """No more frames will come from this camera; its tracks end."""

    frame: FrameRef
    """The last frame seen, or an empty one."""


class Stage(Protocol[In, Out]):
    """Takes from ``inbox`` until the end of the stream, puts to ``outbox``. The runner closes ``outbox``."""

    name: str

    def run(self, inbox: Channel[In], outbox: Lane[Out]) -> None:
        """Work until :class:`~facegate.pipeline.channel.EndOfStream`."""
        ...


class DetectStage:
    """Detects and aligns; a batch takes what is waiting, one frame per camera in turn."""

    name = "detect"

    def __init__(
        self,
        detector: Detector,
        ledger: Ledger,
        *,
        live: frozenset[str],
        batch: int,
        min_face_px: Mapping[str, float],
    ) -> None:
        self._detector = detector
        self._ledger = ledger
        self._batch = batch
        self._batcher = Batcher(live, batch, _place)
        self._min_face_px = min_face_px
        self._cuts: dict[str, CutDetector] = {}
        self.frames: dict[str, int] = {}
        """Frames processed per camera."""

    def run(self, inbox: Channel[Frame | CameraEnded], outbox: Lane[FrameFaces | CameraEnded]) -> None:
        """See :class:`Stage`."""
        while True:
            try:
                items = inbox.take(self._batch)
            except EndOfStream:
                return
            for batch in self._batcher.split(items):
                frames = [item for item in batch if isinstance(item, Frame)]
                found = iter(self._detector.detect([frame.image for frame in frames]) if frames else [])
                for item in batch:
                    outbox.put(self._faces(item, next(found)) if isinstance(item, Frame) else item)

    def _faces(self, frame: Frame, detections: list[Detection]) -> FrameFaces:
        camera = frame.ref.camera
        self.frames[camera] = self.frames.get(camera, 0) + 1
        kept = []
        for index, detection in enumerate(detections):
            face = Face(
                face_id=f"{frame.ref.seq}-{index}",
                frame=frame.ref,
                detection=detection,
                crop=align(frame.image, detection.landmarks),
            )
            self._ledger.observe(face)
            if detection.width < self._min_face_px[camera]:
                self._ledger.settle(face, Outcome.TOO_SMALL)
            else:
                kept.append(face)
        cut = self._cuts.setdefault(camera, CutDetector()).step(frame.image)
        return FrameFaces(frame=frame.ref, faces=tuple(kept), cut=cut)


def _place(item: Frame | CameraEnded) -> tuple[str, bool]:
    return (item.ref.camera, False) if isinstance(item, Frame) else (item.frame.camera, True)


class TrackStage:
    """Gives each face its track, with one tracker per camera."""

    name = "track"

    def __init__(self, make_tracker: Callable[[], FaceTracker], ledger: Ledger) -> None:
        self._make_tracker = make_tracker
        self._ledger = ledger
        self._trackers: dict[str, FaceTracker] = {}
        self.tracks = 0
        """Tracks that have ended, over all cameras."""

    def run(self, inbox: Channel[FrameFaces | CameraEnded], outbox: Lane[TrackedFrame]) -> None:
        """See :class:`Stage`."""
        while True:
            try:
                item = inbox.take()[0]
            except EndOfStream:
                return
            if isinstance(item, CameraEnded):
                tracker = self._trackers.pop(item.frame.camera, None)
                ended = tracker.finish() if tracker else ()
                self.tracks += len(ended)
                outbox.put(TrackedFrame(frame=item.frame, faces=(), ended=ended, last=True))
            else:
                outbox.put(self._track(item))

    def _track(self, item: FrameFaces) -> TrackedFrame:
        camera = item.frame.camera
        if camera not in self._trackers:
            self._trackers[camera] = self._make_tracker()
        ids, ended = self._trackers[camera].step(item.faces, item.frame.pts_s, cut=item.cut)
        self.tracks += len(ended)
        tracked = []
        for face, track_id in zip(item.faces, ids, strict=True):
            if track_id is None:
                self._ledger.settle(face, Outcome.UNTRACKED)
            else:
                tracked.append(TrackedFace(face=face, track_id=track_id))
        return TrackedFrame(frame=item.frame, faces=tuple(tracked), ended=ended)


class GateStage:
    """Guards tracks, decides, settles every face in the ledger, and lets shots through."""

    name = "gate"

    def __init__(
        self,
        gates: Gates,
        ledger: Ledger,
        observe: Callable[[Decision], None],
        record: Callable[[ScoredFrame], None],
    ) -> None:
        self._gates = gates
        self._ledger = ledger
        self._observe = observe
        self._record = record
        self._deciders: dict[str, CameraDecider] = {}

    def run(self, inbox: Channel[ScoredFrame], outbox: Lane[Shot]) -> None:
        """See :class:`Stage`."""
        while True:
            try:
                frame = inbox.take()[0]
            except EndOfStream:
                self._gates.save()
                return
            self._record(frame)
            camera = frame.frame.camera
            if camera not in self._deciders:
                self._deciders[camera] = CameraDecider(self._gates, camera)
            for decision in self._deciders[camera].step(frame):
                self._ledger.settle(decision.face.face, decision.outcome)
                self._observe(decision)
                if decision.shot is not None:
                    outbox.put(decision.shot)

    def cameras(self) -> dict[str, CameraDecider]:
        """What decides for each camera that has sent a frame."""
        return dict(self._deciders)


class DeliverStage:
    """Hands shots to the sink."""

    name = "deliver"

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def run(self, inbox: Channel[Shot], outbox: Lane[None]) -> None:
        """See :class:`Stage`; nothing is put to ``outbox``."""
        del outbox
        while True:
            try:
                shot = inbox.take()[0]
            except EndOfStream:
                return
            log.info("shot", camera=shot.camera, track=shot.track_id, rank=shot.rank, quality=shot.quality)
            self._sink.send(shot)
