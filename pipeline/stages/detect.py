"""The stage that detects and aligns faces, and registers every face in the ledger."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence, Set
from time import monotonic

import msgspec
import numpy as np
from prometheus_client import Histogram

from facegate.detectors.align import align
from facegate.detectors.base import Detector
from facegate.pipeline.detection.regions import Regions, rescaled
from facegate.pipeline.detection.scene_cuts import CutDetector
from facegate.pipeline.detection.scheduler import DetectionMode, DetectionScheduler
from facegate.pipeline.detection.search_plan import SearchPlan
from facegate.pipeline.detection.windows import Window, distinct
from facegate.pipeline.flow.batching import rounds
from facegate.pipeline.flow.channel import Channel, EndOfStream, Lane
from facegate.pipeline.images import shrink_to
from facegate.pipeline.observability.ledger import Ledger
from facegate.pipeline.observability.report import LATENCIES_S, FrameAge
from facegate.pipeline.records import Box, CameraEnded, Detection, Face, Frame, FrameFaces, FrameRef, Image, Outcome

AGES = 1000
"""Frames per camera whose age is kept for the report."""


class CameraDetection(msgspec.Struct):
    """Detection state of one camera."""

    regions: Regions
    min_face_px: float
    plan: SearchPlan
    scheduler: DetectionScheduler = msgspec.field(default_factory=DetectionScheduler)
    cuts: CutDetector = msgspec.field(default_factory=CutDetector)
    frames: int = 0
    """Processed frames."""
    frames_searched: int = 0
    """Processed frames that were searched for new faces; in the others known faces were tracked."""
    frames_without_motion: int = 0
    """Frames skipped because nothing moved."""
    ages_s: deque[float] = msgspec.field(default_factory=lambda: deque(maxlen=AGES))
    """Ages of frames when detection takes them, seconds, delays of the stream included."""
    latest_frame: tuple[FrameRef, Image] | None = None
    """The last frame, masked."""
    context_px: int | None = None
    """Longer side of the whole pictures of faces; ``None`` for none."""
    blur_others: bool = False
    """Whether other faces are blurred in a whole picture."""

    def age_ms(self) -> FrameAge | None:
        """Return percentiles of the ages; ``None`` without frames."""
        ages = 1000 * np.array(list(self.ages_s))
        if not len(ages):
            return None
        p50, p95, worst = np.percentile(ages, (50, 95, 100))
        return FrameAge(p50=round(float(p50), 1), p95=round(float(p95), 1), worst=round(float(worst), 1))


class _Detections:
    """One frame in the stage: its detection mode and the faces found."""

    def __init__(self, frame: Frame, watched: CameraDetection) -> None:
        self.frame = frame
        self.watched = watched
        self.image: Image = watched.regions.masked(frame.image)
        self.part: Image = watched.regions.crop_to_roi(self.image)
        self.cut = watched.cuts.step(self.image) or frame.still
        self.mode = watched.scheduler.step(
            self.part, frame.ref.pts_s, cut=self.cut, unsearched=not watched.plan.is_complete
        )
        self.found: list[Detection] = []
        self._searched: list[Detection] = []
        watched.latest_frame = (frame.ref, self.image)

    @property
    def expected(self) -> list[Box]:
        """Where known faces are expected; none if the whole picture is searched anyway."""
        if not self.watched.scheduler.tracks:
            return []
        return self.watched.scheduler.expected_boxes(self.frame.ref.pts_s)

    def windows(self, tracked: list[Detection | None]) -> list[tuple[Window, Image, list[Box]]]:
        """Take the faces found at the expected boxes; return windows to search, their pixels and known faces."""
        scheduler, plan = self.watched.scheduler, self.watched.plan
        lost = [box for box, face in zip(self.expected, tracked, strict=True) if face is None]
        if lost:
            self.mode = DetectionMode.SEARCH
        self.found = distinct([], [face for face in tracked if face is not None])
        known = [face.box for face in self.found]
        if scheduler.tracks:
            known += scheduler.waiting_boxes(self.frame.ref.pts_s)
        windows = plan.plan(
            self.part,
            self.frame.ref.pts_s,
            search=self.mode is DetectionMode.SEARCH,
            known=known,
            lost=lost,
            cut=self.cut,
            whole=not scheduler.tracks,
        )
        return [
            (window, window.cut_from(self.part, plan.small), [window.inside(box) for box in known])
            for window in windows
        ]

    def add(self, window: Window, faces: list[Detection]) -> None:
        """Take the faces found in a window."""
        self._searched += window.placed(faces, self.part)

    def finish(self) -> None:
        """Join what was tracked and what was found."""
        self.found = distinct(self.found, self._searched)
        searched = self.mode is DetectionMode.SEARCH
        self.watched.frames_searched += searched
        self.watched.scheduler.update(self.found, self.frame.ref.pts_s, searched=searched)


class DetectStage:
    """Detects and aligns faces; a batch holds one frame per camera in turn."""

    name = "detect"

    def __init__(self, detector: Detector, ledger: Ledger, *, live: Set[str], batch: int) -> None:
        self._detector = detector
        self._ledger = ledger
        self._batch = batch
        self._live = live
        self._cameras: dict[str, CameraDetection] = {}
        self.frame_age = Histogram(
            "facegate_frame_age_seconds",
            "Age of frames when detection takes them, delays of the stream included.",
            ["camera"],
            registry=None,
            buckets=LATENCIES_S,
        )

    def watch(self, camera: str, watched: CameraDetection) -> None:
        """Register a camera before its first frame; a known camera keeps its counts."""
        known = self._cameras.get(camera)
        if known is not None:
            for count in ("frames", "frames_searched", "frames_without_motion", "ages_s", "latest_frame"):
                setattr(watched, count, getattr(known, count))
            watched.plan.counts = known.plan.counts
        self._cameras[camera] = watched
        self.frame_age.labels(camera)

    def watched(self, camera: str) -> CameraDetection:
        """Return the detection state of a camera."""
        return self._cameras[camera]

    def latest_frame(self, camera: str) -> tuple[FrameRef, Image] | None:
        """Return the last frame of a camera, masked; ``None`` if there is none."""
        watched = self._cameras.get(camera)
        return None if watched is None else watched.latest_frame

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
                    age_s = now - ref.received_s + ref.behind_s
                    self._cameras[ref.camera].ages_s.append(age_s)
                    self.frame_age.labels(ref.camera).observe(age_s)
            for group in rounds(items, self._live, _camera):
                for found in self._process(group):
                    outbox.put(found)

    def detect(self, frames: Sequence[Frame]) -> list[FrameFaces]:
        """Return the faces of one frame per camera; skipped frames have no entry."""
        return [found for found in self._process(list(frames)) if isinstance(found, FrameFaces)]

    def _process(self, group: list[Frame | CameraEnded]) -> Iterator[FrameFaces | CameraEnded]:
        seen = [_Detections(item, self._cameras[item.ref.camera]) for item in group if isinstance(item, Frame)]
        for one in seen:
            one.watched.frames_without_motion += one.mode is DetectionMode.SKIP
        taken = [one for one in seen if one.mode is not DetectionMode.SKIP]
        expected = [one.expected for one in taken]
        if any(expected):
            tracked = self._detector.detect_near([one.part for one in taken], expected)
        else:
            tracked = [[] for _ in taken]
        parts = [(one, *part) for one, known in zip(taken, tracked, strict=True) for part in one.windows(known)]
        found = self._detector.detect([image for _, _, image, _ in parts], [known for _, _, _, known in parts])
        for (one, window, _, _), faces in zip(parts, found, strict=True):
            one.add(window, faces)
        for one in taken:
            one.finish()
        by_frame = {id(one.frame): one for one in seen}
        for item in group:
            if isinstance(item, CameraEnded):
                yield item
            elif (one := by_frame[id(item)]).mode is not DetectionMode.SKIP:
                yield self._faces(one)

    def _faces(self, seen: _Detections) -> FrameFaces:
        frame, image, detections, watched = seen.frame, seen.image, seen.found, seen.watched
        ref = frame.ref
        watched.frames += 1
        source = image if frame.large is None or not detections else watched.regions.masked(frame.large)
        scale = ref.width / image.shape[1], ref.height / image.shape[0]
        context = None if watched.context_px is None or not detections else shrink_to(source, watched.context_px)[0]
        placed, kept = watched.regions.to_frame_coords(detections, image), []
        boxes = _context_boxes(placed, image, context) if watched.blur_others else []
        for index, detected in enumerate(placed):
            detection = detected if scale == (1.0, 1.0) else rescaled(detected, *scale)
            crop = align(source, (detected if frame.large is None else detection).landmarks)
            others = tuple(box for row, box in enumerate(boxes) if row != index)
            face = Face(f"{ref.seq}-{index}", ref, detection, crop, context, others)
            self._ledger.observe(face)
            if detection.width < watched.min_face_px:
                self._ledger.settle(face, Outcome.TOO_SMALL)
            elif not watched.regions.in_zone(detection, ref.width, ref.height):
                self._ledger.settle(face, Outcome.OUTSIDE)
            else:
                kept.append(face)
        return FrameFaces(frame=ref, faces=tuple(kept), cut=seen.cut, still=frame.still)


def _camera(item: Frame | CameraEnded) -> str:
    return item.ref.camera if isinstance(item, Frame) else item.frame.camera


def _context_boxes(detections: Sequence[Detection], image: Image, context: Image | None) -> list[Box]:
    """Boxes of faces of ``image``, in pixels of the whole picture that is sent."""
    if context is None:
        return []
    x, y = context.shape[1] / image.shape[1], context.shape[0] / image.shape[0]
    return [(left * x, top * y, right * x, bottom * y) for left, top, right, bottom in (d.box for d in detections)]
