"""The stage that batches the crops worth scoring, of all cameras, through the face ViT."""

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
"""Waits kept for the report."""


class ScoreStage:
    """Scores what may win and is waiting in one batch, and passes frames on in order.

    A camera's contest says which crops may win; the others pass unscored, as ``not_needed``. Latency first: nothing
    of a live camera waits for a batch to fill unless ``wait_s`` says so, and a batch grows by what has come while
    the one before was scored. When live cameras bring more than can be scored within ``budget_s``, the crops most
    likely to improve their track are scored and the others pass as ``not_scored``. Files are never cut short, and
    nothing of them depends on timing.
    """

    name = "score"

    def __init__(
        self,
        scorer: Scorer,
        make_contest: Callable[[str], ScoringScheduler],
        sure: Callable[[str], Set[int] | None],
        *,
        live: Set[str],
        max_frames: int,
        wait_s: float,
        budget_s: float,
    ) -> None:
        self._scorer = scorer
        self._live = live
        self._max_frames = max_frames
        self._make_contest = make_contest
        self._sure = sure
        self._contests: dict[str, ScoringScheduler] = {}
        self._dark: set[str] = set()
        """Cameras of which that was said."""
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
        wanted = [face for frame in frames for face in self._selected(frame)]
        scored = self._score(wanted)
        left_out = {id(face) for face in wanted if id(face) not in scored}
        for frame in frames:
            camera = frame.frame.camera
            faces = tuple(scored[id(face)] for face in frame.faces if id(face) in scored)
            skipped = tuple(
                SkippedFace(
                    face=face.face,
                    track_id=face.track_id,
                    outcome=Outcome.NOT_SCORED if id(face) in left_out else Outcome.NOT_NEEDED,
                )
                for face in frame.faces
                if id(face) not in scored
            )
            contest = self._contests[camera]
            contest.scored(faces)
            if contest.is_dark_camera and camera not in self._dark:
                self._dark.add(camera)
                log.warning(
                    "most faces here are so dark that min_quality drops people whom a recognizer may still name: "
                    "give this camera 'min_quality: 1' or 'keep: 0.99'",
                    camera=camera,
                )
            contest.ended(frame.ended)
            self._priority.ended(camera, frame.ended)
            if frame.last:  # whatever comes under this name later may be configured otherwise
                del self._contests[camera]
            outbox.put(
                ScoredFrame(frame=frame.frame, faces=faces, ended=frame.ended, last=frame.last, skipped=skipped)
            )

    def _selected(self, frame: TrackedFrame) -> list[TrackedFace]:
        camera = frame.frame.camera
        if camera not in self._contests:
            self._contests[camera] = self._make_contest(camera)
        self._contests[camera].conclusive_tracks = self._sure(camera)
        choice = self._contests[camera].select(frame.faces)
        return [face for face, wanted in zip(frame.faces, choice, strict=True) if wanted]

    def _gather(self, inbox: Channel[TrackedFrame]) -> list[TrackedFrame]:
        frames = inbox.take(self._max_frames)
        deadline = monotonic() + self._wait_s
        while len(frames) < self._max_frames and (left := deadline - monotonic()) > 0:
            try:
                frames += inbox.take(self._max_frames - len(frames), timeout_s=left)
            except EndOfStream:
                break  # what was taken is scored first; the next take ends the stage
        return frames

    def _score(self, faces: list[TrackedFace]) -> dict[int, ScoredFace]:
        """The scored ones by identity of the tracked face; under overload some are missing."""
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
        """What there is time for. A batch is all live or all of one file."""
        if not faces or faces[0].face.frame.camera not in self._live or self._s_per_crop == 0:
            return faces
        kept = self._priority.select(faces, max(1, int(self._budget_s / self._s_per_crop)))
        return [faces[index] for index in sorted(kept)]

    def _learn(self, s_per_crop: float) -> None:
        """Follow the machine's speed: the mean over about the last ten batches."""
        self._s_per_crop = s_per_crop if self._s_per_crop == 0 else 0.9 * self._s_per_crop + 0.1 * s_per_crop

    def report(self) -> ScoringReport:
        """Batch sizes and waits so far."""
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
