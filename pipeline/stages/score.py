"""The stage that scores faces of all cameras in batches."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Set
from time import monotonic

import numpy as np
import structlog
from prometheus_client import Histogram

from facegate.detectors.align import aligned_landmarks
from facegate.pipeline.flow.batching import rounds
from facegate.pipeline.flow.channel import Channel, EndOfStream, Lane
from facegate.pipeline.gating.scoring_scheduler import ScoringScheduler
from facegate.pipeline.observability.report import LATENCIES_S, ScoringReport
from facegate.pipeline.quality.load_shedding import ScoringPriority
from facegate.pipeline.records import Outcome, ScoredFace, ScoredFrame, SkippedFace, TrackedFace, TrackedFrame
from facegate.scoring.engine import Scorer

log = structlog.get_logger(__name__)
RECENT = 10_000
"""Number of waits kept for the report."""


class ScoreStage:
    """Scores the selected faces of the waiting frames in one batch, and passes frames on in order.

    Each camera's scoring scheduler selects the faces that can become their track's best; the others pass unscored,
    as ``not_needed``. Frames of live cameras do not wait for a batch to fill, except for ``wait_s``. When live
    cameras bring more than can be scored within ``budget_s``, the most promising faces are scored and the others
    pass as ``not_scored``. Files are scored completely, independent of timing.
    """

    name = "score"

    def __init__(
        self,
        scorer: Scorer,
        make_scheduler: Callable[[str], ScoringScheduler],
        conclusive: Callable[[str], Set[int] | None],
        *,
        live: Set[str],
        max_frames: int,
        wait_s: float,
        budget_s: float,
    ) -> None:
        self._scorer = scorer
        self._live = live
        self._max_frames = max_frames
        self._make_scheduler = make_scheduler
        self._conclusive = conclusive
        self._schedulers: dict[str, ScoringScheduler] = {}
        self._dark: set[str] = set()
        """Cameras that were reported as dark."""
        self._wait_s = wait_s
        self._budget_s = budget_s
        self._priority = ScoringPriority()
        self._s_per_crop = 0.0
        self._batches: Counter[int] = Counter()
        self._waits: deque[float] = deque(maxlen=RECENT)
        self.wait = Histogram(
            "facegate_scoring_wait_seconds",
            "Time from the arrival of a face's frame to the start of its scoring.",
            registry=None,
            buckets=LATENCIES_S,
        )
        self.duration = Histogram(
            "facegate_scoring_duration_seconds",
            "Time to score one batch of crops.",
            registry=None,
            buckets=LATENCIES_S,
        )
        self.batch_crops = Histogram(
            "facegate_scoring_batch_crops", "Crops per batch.", registry=None, buckets=(1, 2, 4, 8, 16, 32, 64)
        )

    def run(self, inbox: Channel[TrackedFrame], outbox: Lane[ScoredFrame]) -> None:
        """See :class:`~facegate.pipeline.stages.base.Stage`."""
        while True:
            try:
                frames = self._gather(inbox)
            except EndOfStream:
                return
            for batch in rounds(frames, self._live, lambda frame: frame.frame.camera):
                self._score_frames(batch, outbox)

    def _score_frames(self, frames: list[TrackedFrame], outbox: Lane[ScoredFrame]) -> None:
        selected = [face for frame in frames for face in self._selected(frame)]
        scored = self._score(selected)
        shed = {id(face) for face in selected if id(face) not in scored}
        for frame in frames:
            camera = frame.frame.camera
            faces = tuple(scored[id(face)] for face in frame.faces if id(face) in scored)
            skipped = tuple(
                SkippedFace(
                    face=face.face,
                    track_id=face.track_id,
                    outcome=Outcome.NOT_SCORED if id(face) in shed else Outcome.NOT_NEEDED,
                )
                for face in frame.faces
                if id(face) not in scored
            )
            scheduler = self._schedulers[camera]
            scheduler.scored(faces)
            if scheduler.is_dark_camera and camera not in self._dark:
                self._dark.add(camera)
                log.warning(
                    "scene too dark for min_quality",
                    camera=camera,
                    effect="people whom a recognizer may still identify are dropped",
                    remedy="set 'min_quality: 1' or 'target_recall: 0.99' for this camera",
                )
            scheduler.ended(frame.ended)
            self._priority.ended(camera, frame.ended)
            if frame.last:  # a later camera of this name may be configured differently
                del self._schedulers[camera]
            outbox.put(
                ScoredFrame(frame=frame.frame, faces=faces, ended=frame.ended, last=frame.last, skipped=skipped)
            )

    def _selected(self, frame: TrackedFrame) -> list[TrackedFace]:
        camera = frame.frame.camera
        if camera not in self._schedulers:
            self._schedulers[camera] = self._make_scheduler(camera)
        self._schedulers[camera].conclusive_tracks = self._conclusive(camera)
        choice = self._schedulers[camera].select(frame.faces)
        return [face for face, is_selected in zip(frame.faces, choice, strict=True) if is_selected]

    def _gather(self, inbox: Channel[TrackedFrame]) -> list[TrackedFrame]:
        frames = inbox.take(self._max_frames)
        deadline = monotonic() + self._wait_s
        while len(frames) < self._max_frames and (left := deadline - monotonic()) > 0:
            try:
                frames += inbox.take(self._max_frames - len(frames), timeout_s=left)
            except EndOfStream:
                break  # the frames taken are scored first; the next take ends the stage
        return frames

    def _score(self, faces: list[TrackedFace]) -> dict[int, ScoredFace]:
        """Return scored faces by ``id()`` of the tracked face; under overload some are missing."""
        chosen = self._shed_load(faces)
        if not chosen:
            return {}
        started = monotonic()
        self._batches[len(chosen)] += 1
        waits = [started - face.face.frame.received_s for face in chosen]
        self._waits.extend(waits)
        for wait_s in waits:
            self.wait.observe(wait_s)
        self.batch_crops.observe(len(chosen))
        crops, landmarks = np.stack([face.face.crop for face in chosen]), None
        if self._scorer.wants_landmarks:
            landmarks = aligned_landmarks([face.face.detection.landmarks for face in chosen])
        scores = self._scorer.score(crops, landmarks=landmarks)
        took_s = monotonic() - started
        self.duration.observe(took_s)
        self._learn(took_s / len(chosen))
        self._priority.scored(chosen)
        return {
            id(face): ScoredFace(
                face=face.face,
                track_id=face.track_id,
                quality=int(scores.quality[row]),
                raw_score=float(scores.raw_score[row]),
                patches=scores.patches[row],
                embedding=None if scores.embedding is None else scores.embedding[row],
                rank_score=float(scores.rank[row]),
            )
            for row, face in enumerate(chosen)
        }

    def _shed_load(self, faces: list[TrackedFace]) -> list[TrackedFace]:
        """Return the faces that can be scored in time. A batch is all live or all of one file."""
        if not faces or faces[0].face.frame.camera not in self._live or self._s_per_crop == 0:
            return faces
        kept = self._priority.select(faces, max(1, int(self._budget_s / self._s_per_crop)))
        return [faces[index] for index in sorted(kept)]

    def _learn(self, s_per_crop: float) -> None:
        """Update the machine's speed: the mean over about the last ten batches."""
        self._s_per_crop = s_per_crop if self._s_per_crop == 0 else 0.9 * self._s_per_crop + 0.1 * s_per_crop

    def report(self) -> ScoringReport:
        """Return batch sizes and waits so far."""
        sizes = np.repeat(list(self._batches), list(self._batches.values())) if self._batches else np.zeros(1)
        waits = np.array(list(self._waits)) if self._waits else np.zeros(1)
        return ScoringReport(
            backend=self._scorer.backend.name,
            dtype=self._scorer.backend.dtype,
            why=self._scorer.why,
            batches=sum(self._batches.values()),
            batch_mean=round(float(sizes.mean()), 2),
            batch_max=int(sizes.max()),
            wait_p50_ms=round(1000 * float(np.percentile(waits, 50)), 1),
            wait_p95_ms=round(1000 * float(np.percentile(waits, 95)), 1),
            ms_per_crop=round(1000 * self._s_per_crop, 2),
        )
