"""Replays the recorded faces of a camera with other gate settings, and recognizes the selected shots."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from time import monotonic, time
from typing import Any

import msgspec
import numpy as np

from facegate.console.tuning.recorded_runs import MAX_FACES, RecordedRun, RecordedRuns
from facegate.pipeline.config import RunConfig, build_config
from facegate.pipeline.gating.gate import Decision
from facegate.pipeline.recording.record import Recording
from facegate.pipeline.recording.replay import decide
from facegate.pipeline.records import Floats, Outcome, ScoredFace, ScoredFrame, Shot
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.loading import Recognition
from facegate.recognition.matching.gallery import Gallery
from facegate.recognition.worker.visits import Visits
from facegate.sinks import wire

WORK_S = 1.5
"""Time that an answer spends on reading recordings, and as long again on recognizing shots; then it says what
is left."""
CACHE_S = 30.0
"""Recordings are read again after this long; until then, all replays use the same faces."""
MAX_EMBEDDINGS = 20_000
SENT = (Outcome.FORWARDED, Outcome.DRY_RUN)


class TuningOutcome(msgspec.Struct, frozen=True):
    """Result of a replay."""

    faces: int
    shots: int
    tracks: int
    """Tracks with at least one shot."""
    outcomes: dict[str, int]
    named: int | None
    """Visits that these shots identify; ``None`` if not requested."""
    people: list[str] | None
    """Names of the identified people."""
    to_recognize: int
    """Selected shots that were not recognized yet: ask again."""


class TuningEvidence(msgspec.Struct, frozen=True):
    """Recorded faces of a camera."""

    since: float
    """Unix time (UTC) of the first face."""
    faces: int
    scored: int
    histogram: list[int]
    """Number of scored faces per quality bin: 20 bins of 5 points."""
    cut: bool
    """Whether older faces were dropped."""
    to_read: int
    """Segments of recordings that were not read yet: ask again."""


class Tuner:
    """Replays recordings, one at a time; thread-safe."""

    def __init__(self, recordings: Path, gallery: Path, recognition: Callable[[], Recognition]) -> None:
        self._memory = RecordedRuns(recordings)
        self._gallery = gallery
        self._recognition = recognition
        self._lock = Lock()
        self._last: tuple[tuple[str, float], float, list[RecordedRun]] | None = None
        """Last request, its time, and the runs that were read."""
        self._embeddings: OrderedDict[str, Floats] = OrderedDict()
        self._has_embedded = False
        """Whether this answer has recognized a shot: each one makes progress."""

    def evidence(self, camera: str, hours: float) -> TuningEvidence:
        """Recorded faces of a camera in the last hours."""
        with self._lock:
            runs, to_read = self._runs(camera, hours)
        histogram = np.zeros(20, int)
        for quality in _qualities(runs, camera):
            histogram[min(quality // 5, 19)] += 1
        faces = sum(run.faces for run in runs)
        return TuningEvidence(
            since=min((run.header.began for run in runs), default=time()),
            faces=faces,
            scored=int(histogram.sum()),
            histogram=histogram.tolist(),
            cut=faces >= MAX_FACES,
            to_read=to_read,
        )

    def replay(self, camera: str, hours: float, changes: dict[str, Any] | None, *, named: bool) -> TuningOutcome:
        """Replay the recorded faces of a camera.

        Args:
            camera: name of the camera.
            hours: length of the period, up to now.
            changes: changed settings of its ``gate`` section; ``None`` for the recorded gate.
            named: also recognize the selected shots; slower for new faces.

        Raises:
            ConfigError: the changed settings are invalid.
        """
        with self._lock:
            runs, _ = self._runs(camera, hours)
            to_recognize, deadline, self._has_embedded = 0, monotonic() + WORK_S, False
            outcomes: Counter[str] = Counter()
            faces = tracks = 0
            identified: Counter[str] = Counter()
            for run in runs:
                config = None if changes is None else _changed(run.config(), camera, changes)
                shots: list[Shot] = []
                sent: set[int] = set()
                for _, decision in decide(run, config):
                    if decision.face.face.frame.camera != camera:
                        continue
                    faces += 1
                    outcomes[decision.outcome.value] += 1
                    if decision.outcome in SENT:
                        sent.add(decision.face.track_id)
                        shots += _shot(decision)
                tracks += len(sent)
                if named:
                    names, left = self._names(run, shots, deadline)
                    identified, to_recognize = identified + names, to_recognize + left
        return TuningOutcome(
            faces=faces,
            shots=sum(outcomes[outcome.value] for outcome in SENT),
            tracks=tracks,
            outcomes=dict(outcomes),
            named=identified.total() if named else None,
            people=sorted(identified) if named else None,
            to_recognize=to_recognize,
        )

    def _runs(self, camera: str, hours: float) -> tuple[list[RecordedRun], int]:
        """Runs of a camera, and the number of segments that are still to be read."""
        known, now = self._last, time()
        if known is None or known[0] != (camera, hours) or now - known[1] > CACHE_S:
            runs, to_read = self._memory.runs(camera, now - 3600 * hours, monotonic() + WORK_S)
            self._last = None if to_read else ((camera, hours), now, runs)
            return runs, to_read
        return known[2], 0

    def _names(self, run: RecordedRun, shots: list[Shot], deadline: float) -> tuple[Counter[str], int]:
        """Names of the visits that these shots make, as a worker assigns them; and how many shots are left."""
        with GalleryStore(self._gallery) as people:
            if not people.people():
                return Counter(), 0
            parts = self._recognition()
            gallery = Gallery.of(people.embedded(parts.embedder.version))
        left = self._embed(run, shots, parts, deadline)
        visits = Visits(lambda: gallery, parts.rule)
        for shot in shots:
            embedding = self._embeddings.get(shot.shot_id)
            if embedding is not None:
                visits.shot(wire.header_of(shot), embedding, gallery.match(embedding, parts.rule), 0.0)
        return Counter(event.name for event in visits.finish() if event.name is not None), left

    def _embed(self, run: RecordedRun, shots: list[Shot], parts: Recognition, deadline: float) -> int:
        """Embed shots, a segment at a time until a monotonic time; return how many are left."""
        missing = {shot.scored.face.face_id: shot.shot_id for shot in shots if shot.shot_id not in self._embeddings}
        for segment in run.segments:
            if self._has_embedded and monotonic() > deadline:
                break
            wanted = missing.keys() & segment.face_ids(run.camera)
            self._has_embedded = self._has_embedded or bool(wanted)
            for frame in Recording(segment.path).frames() if wanted else ():
                for face in frame.faces:
                    if frame.frame.camera == run.camera and face.face.face_id in wanted:
                        wanted.discard(face.face.face_id)
                        shot_id = missing.pop(face.face.face_id)
                        self._embeddings[shot_id] = parts.embedder.embed([face.face.crop])[0]
                if not wanted:
                    break
        while len(self._embeddings) > MAX_EMBEDDINGS:
            self._embeddings.popitem(last=False)
        return len(missing)


def _shot(decision: Decision) -> list[Shot]:
    return [] if decision.shot is None else [decision.shot]


def _qualities(runs: list[RecordedRun], camera: str) -> list[int]:
    return [
        face.quality
        for run in runs
        for item in run.items
        if isinstance(item, ScoredFrame) and item.frame.camera == camera
        for face in item.faces
        if isinstance(face, ScoredFace)
    ]


def _changed(config: RunConfig, camera: str, changes: dict[str, Any]) -> RunConfig:
    data = config.model_dump(mode="json")
    for each in data["cameras"]:
        if each["name"] == camera:
            each["gate"] |= changes
    return build_config(data, "gate")
