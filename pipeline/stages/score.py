"""The stage that batches crops of all cameras through the face ViT."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence, Set
from time import monotonic

import numpy as np

from facegate.pipeline.flow.batching import Batcher
from facegate.pipeline.flow.channel import Channel, EndOfStream, Lane
from facegate.pipeline.flow.priority import Priority
from facegate.pipeline.records import Outcome, ScoredFace, ScoredFrame, TrackedFace, TrackedFrame
from facegate.pipeline.reporting.accounting import Ledger
from facegate.pipeline.reporting.report import ScoringReport
from facegate.scoring.engine import Scorer

RECENT = 10_000
"""Waits kept for the report."""


class ScoreStage:
    """Scores whatever crops are waiting in one batch, and passes frames on in order.

    Latency first: nothing of a live camera waits for a batch to fill unless ``wait_s`` says so, and a batch grows
    by what has come while the one before was scored. When live cameras bring more than can be scored within
    ``budget_s``, the crops most likely to improve their track are scored and the others end as ``not_scored``.
    Files are never cut short, and their batches do not depend on timing.
    """

    name = "score"

    def __init__(
        self,
        scorer: Scorer,
        ledger: Ledger,
        *,
        live: Set[str],
        max_frames: int,
        wait_s: float,
        budget_s: float,
    ) -> None:
        self._scorer = scorer
        self._ledger = ledger
        self._live = live
        self._max_frames = max_frames
        self._batcher = Batcher[TrackedFrame](live, max_frames, lambda item: (item.frame.camera, item.last))
        self._wait_s = wait_s
        self._budget_s = budget_s
        self._priority = Priority()
        self._s_per_crop = 0.0
        self._batches: Counter[int] = Counter()
        self._waits: deque[float] = deque(maxlen=RECENT)

    def run(self, inbox: Channel[TrackedFrame], outbox: Lane[ScoredFrame]) -> None:
        """See :class:`~facegate.pipeline.stages.base.Stage`."""
        while True:
            try:
                frames = self._gather(inbox)
            except EndOfStream:
                return
            for batch in self._batcher.split(frames):
                self._score_frames(batch, outbox)

    def _score_frames(self, frames: list[TrackedFrame], outbox: Lane[ScoredFrame]) -> None:
        scored = iter(self._score([face for frame in frames for face in frame.faces]))
        for frame in frames:
            # One entry per face, None where it was not scored: frames keep their order and their own faces.
            faces = [next(scored) for _ in frame.faces]
            self._priority.ended(frame.frame.camera, frame.ended)
            kept = tuple(face for face in faces if face is not None)
            outbox.put(ScoredFrame(frame=frame.frame, faces=kept, ended=frame.ended, last=frame.last))

    def _gather(self, inbox: Channel[TrackedFrame]) -> list[TrackedFrame]:
        frames = inbox.take(self._max_frames)
        deadline = monotonic() + self._wait_s
        while len(frames) < self._max_frames and (left := deadline - monotonic()) > 0:
            try:
                frames += inbox.take(self._max_frames - len(frames), timeout_s=left)
            except EndOfStream:
                break  # what was taken is scored first; the next take ends the stage
        return frames

    def _score(self, faces: list[TrackedFace]) -> list[ScoredFace | None]:
        results: list[ScoredFace | None] = [None] * len(faces)
        chosen = self._chosen(faces)
        if not chosen:
            return results
        started = monotonic()
        self._batches[len(chosen)] += 1
        self._waits.extend(started - faces[index].face.frame.received_s for index in chosen)
        scores = self._scorer.score(np.stack([faces[index].face.crop for index in chosen]))
        self._learn((monotonic() - started) / len(chosen))
        self._priority.scored([faces[index] for index in chosen])
        for row, index in enumerate(chosen):
            results[index] = ScoredFace(
                face=faces[index].face,
                track_id=faces[index].track_id,
                quality=int(scores.quality[row]),
                raw=float(scores.raw[row]),
                patches=scores.patches[row],
                embedding=None if scores.embedding is None else scores.embedding[row],
                left_early=bool(scores.left[row]),
            )
        return results

    def _chosen(self, faces: Sequence[TrackedFace]) -> list[int]:
        """Indices to score, in order; the others are settled here. A batch is all live or all of one file."""
        if not faces or faces[0].face.frame.camera not in self._live:
            return list(range(len(faces)))
        room = len(faces) if self._s_per_crop == 0 else max(1, int(self._budget_s / self._s_per_crop))
        kept = self._priority.choose(faces, room)
        for index, face in enumerate(faces):
            if index not in kept:
                self._ledger.settle(face.face, Outcome.NOT_SCORED)
        return sorted(kept)

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
