"""The stages between source and sink. Each is a class with ``run(inbox, outbox)``; the runner gives it a thread.

A stage never swallows an error: what it cannot handle goes up to the runner, which names the stage.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Set
from time import monotonic
from typing import Protocol, TypeVar

import msgspec
import numpy as np
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
    CameraEnded,
    Detection,
    Face,
    Frame,
    FrameFaces,
    Image,
    Outcome,
    ScoredFrame,
    Shot,
    TrackedFace,
    TrackedFrame,
)
from facegate.pipeline.report import FrameAge
from facegate.pipeline.tracking import FaceTracker
from facegate.pipeline.view import StillScene, View, enlarged, shrunk
from facegate.sinks.base import Sink

SHOTS_TOGETHER = 64
"""One commit for so many, when they come faster than the disk takes them."""
AGES = 1000
"""Frames per camera whose age is kept for the report."""

log = structlog.get_logger(__name__)

In = TypeVar("In")
Out = TypeVar("Out")


class Stage(Protocol[In, Out]):
    """Takes from ``inbox`` until the end of the stream, puts to ``outbox``. The runner closes ``outbox``."""

    name: str

    def run(self, inbox: Channel[In], outbox: Lane[Out]) -> None:
        """Work until :class:`~facegate.pipeline.channel.EndOfStream`."""
        ...


class Watched(msgspec.Struct):
    """What detection keeps of one camera."""

    view: View
    min_face_px: float
    still: StillScene | None = None
    cuts: CutDetector = msgspec.field(default_factory=CutDetector)
    frames: int = 0
    """Frames looked at."""
    frames_still: int = 0
    """Frames left out because nothing had moved."""
    ages_s: deque[float] = msgspec.field(default_factory=lambda: deque(maxlen=AGES))
    """Ages of frames when they were taken, the stream's own delay included."""

    def age_ms(self) -> FrameAge | None:
        """The ages as the report shows them."""
        ages = 1000 * np.array(list(self.ages_s))
        if not len(ages):
            return None
        p50, p95, worst = np.percentile(ages, (50, 95, 100))
        return FrameAge(p50=round(float(p50), 1), p95=round(float(p95), 1), worst=round(float(worst), 1))


class DetectStage:
    """Detects and aligns; a batch takes what is waiting, one frame per camera in turn."""

    name = "detect"

    def __init__(
        self, detector: Detector, ledger: Ledger, *, live: Set[str], batch: int, context_px: int | None = None
    ) -> None:
        self._detector = detector
        self._context_px = context_px
        self._ledger = ledger
        self._batch = batch
        self._batcher = Batcher(live, batch, _place)
        self._cameras: dict[str, Watched] = {}

    def watch(self, camera: str, watched: Watched) -> None:
        """Say how to look at a camera, before its first frame; a camera that is known keeps its counts."""
        known = self._cameras.get(camera)
        if known is not None:
            watched.frames, watched.frames_still, watched.ages_s = known.frames, known.frames_still, known.ages_s
        self._cameras[camera] = watched

    def watched(self, camera: str) -> Watched:
        """What was counted of a camera."""
        return self._cameras[camera]

    def run(self, inbox: Channel[Frame | CameraEnded], outbox: Lane[FrameFaces | CameraEnded]) -> None:
        """See :class:`Stage`."""
        while True:
            try:
                items = inbox.take(self._batch)
            except EndOfStream:
                return
            now = monotonic()
            for item in items:
                if isinstance(item, Frame):
                    ref = item.ref
                    self._cameras[ref.camera].ages_s.append(now - ref.received_s + ref.behind_s)
            for batch in self._batcher.split([item for item in items if not self._still(item)]):
                for found in self._detect(batch):
                    outbox.put(found)

    def _still(self, item: Frame | CameraEnded) -> bool:
        if isinstance(item, CameraEnded):
            return False
        watched = self._cameras[item.ref.camera]
        if watched.still is None or not watched.still.step(item.image, item.ref.pts_s):
            return False
        watched.frames_still += 1
        return True

    def _detect(self, batch: list[Frame | CameraEnded]) -> Iterator[FrameFaces | CameraEnded]:
        pictures, parts = [], []
        for item in batch:
            if isinstance(item, Frame):
                view = self._cameras[item.ref.camera].view
                pictures.append(view.masked(item.image))
                parts.append(view.searched(pictures[-1]))
        found = iter(zip(pictures, self._detector.detect(parts) if parts else [], strict=True))
        for item in batch:
            yield item if isinstance(item, CameraEnded) else self._faces(item, *next(found))

    def _faces(self, frame: Frame, image: Image, detections: list[Detection]) -> FrameFaces:
        ref = frame.ref
        watched = self._cameras[ref.camera]
        watched.frames += 1
        source = image if frame.large is None or not detections else watched.view.masked(frame.large)
        scale = ref.width / image.shape[1], ref.height / image.shape[0]
        context = None if self._context_px is None or not detections else shrunk(source, self._context_px)
        kept = []
        for index, detected in enumerate(watched.view.placed(detections, image)):
            detection = detected if frame.large is None else enlarged(detected, *scale)
            crop = align(source, detection.landmarks)
            face = Face(face_id=f"{ref.seq}-{index}", frame=ref, detection=detection, crop=crop, context=context)
            self._ledger.observe(face)
            if detection.width < watched.min_face_px:
                self._ledger.settle(face, Outcome.TOO_SMALL)
            elif not watched.view.reports(detection, ref.width, ref.height):
                self._ledger.settle(face, Outcome.OUTSIDE)
            else:
                kept.append(face)
        return FrameFaces(frame=ref, faces=tuple(kept), cut=watched.cuts.step(image))


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
            decider = self._deciders.get(camera)
            if decider is None or decider.ended:
                # A camera whose configuration was changed comes back under its name; its track ids go on.
                decider = CameraDecider(
                    self._gates, camera, first_id=0 if decider is None else decider.guard.next_id
                )
                self._deciders[camera] = decider
            for decision in decider.step(frame):
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
                shots = inbox.take(SHOTS_TOGETHER)
            except EndOfStream:
                return
            for shot in shots:
                log.info("shot", camera=shot.camera, track=shot.track_id, rank=shot.rank, quality=shot.quality)
            self._sink.send(*shots)
