"""The stage that looks at frames: detects and aligns, and observes every face in the ledger."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Set
from time import monotonic

import msgspec
import numpy as np

from facegate.detectors.align import align
from facegate.detectors.base import Detector
from facegate.pipeline.flow.batching import Batcher
from facegate.pipeline.flow.channel import Channel, EndOfStream, Lane
from facegate.pipeline.records import CameraEnded, Detection, Face, Frame, FrameFaces, Image, Outcome
from facegate.pipeline.reporting.accounting import Ledger
from facegate.pipeline.reporting.report import FrameAge
from facegate.pipeline.seeing.cuts import CutDetector
from facegate.pipeline.seeing.view import StillScene, View, enlarged, shrunk

AGES = 1000
"""Frames per camera whose age is kept for the report."""


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
        """See :class:`~facegate.pipeline.stages.base.Stage`."""
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
