"""Writes the decisions on each track to the store while the gate runs."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from time import monotonic, time
from typing import Self

import structlog

from facegate.background import BackgroundThread
from facegate.errors import StoreError
from facegate.pipeline.gating.gate import Decision
from facegate.pipeline.recording.record import RecordingPosition
from facegate.pipeline.records import Outcome, ScoredFace, ScoredFrame
from facegate.store.records import FaceOutcome, TrackRecord, VisitClip
from facegate.store.writer import StoreWriter

WRITE_INTERVAL_S = 1.0
KEEP_ENDED_S = 120.0
"""Seconds without a decision after which a track is finished."""
MAX_POSITIONS = 500
"""Frames of each camera whose positions in the recording are remembered."""
MAX_CLIPS = 20
"""Clips that wait while the store cannot be written; the oldest are dropped."""
MAX_FACES = 1000
"""Faces per track that are stored; beyond, only shots are added."""

log = structlog.get_logger(__name__)


class _OpenTrack:
    """A track that may get more decisions."""

    def __init__(self, run_id: str, camera: str, track_id: int) -> None:
        self.run_id, self.camera, self.track_id = run_id, camera, track_id
        self.place: RecordingPosition | None = None
        """Position of its first frame in the recording, or of one before it."""
        self.first_s = float("inf")
        """Media time of its first face."""
        self.first, self.last = float("inf"), 0.0
        self.faces = 0
        self.quality: int | None = None
        self.outcomes: Counter[str] = Counter()
        self.events: list[FaceOutcome] = []
        self.updated_s = 0.0
        self.due_s: float | None = None
        """Monotonic time at which it is written; ``None`` if nothing is new."""

    def add(self, decision: Decision, now: float) -> None:
        face, frame = decision.face, decision.face.face.frame
        seen = time() - (now - frame.received_s)
        self.first, self.last = min(self.first, seen), max(self.last, seen)
        self.faces += 1
        self.outcomes[decision.outcome.value] += 1
        quality = face.quality if isinstance(face, ScoredFace) else None
        if quality is not None:
            self.quality = max(quality, -1 if self.quality is None else self.quality)
        shot = decision.shot
        if self.faces <= MAX_FACES or shot is not None:
            self.events.append(
                FaceOutcome(
                    face_id=face.face.face_id,
                    pts_s=frame.pts_s,
                    quality=quality,
                    outcome=decision.outcome,
                    box=face.face.detection.box,
                    reason=None if shot is None else shot.reason.value,
                    shot_id=None if shot is None else shot.shot_id,
                )
            )
        self.updated_s = now
        if self.due_s is None:
            self.due_s = now + WRITE_INTERVAL_S * (
                1 + len(self.events) / 100
            )  # a long track is not written at every face

    def track(self) -> TrackRecord:
        place = self.place or RecordingPosition("", 0)
        return TrackRecord(
            run_id=self.run_id,
            camera=self.camera,
            track_id=self.track_id,
            first=round(self.first, 3),
            last=round(self.last, 3),
            faces=self.faces,
            quality=self.quality,
            outcomes=dict(self.outcomes),
            events=tuple(sorted(self.events, key=lambda fate: fate.pts_s)),
            segment=place.segment or None,
            offset=place.offset,
        )


class TrackBook(BackgroundThread):
    """Collects decisions by track and writes them once a second from its own thread."""

    def __init__(self, path: Path) -> None:
        """Open the store; nothing is written before the context is entered.

        Raises:
            StoreError: it cannot be opened.
        """
        super().__init__("facegate-tracks")
        self._store = StoreWriter(path, create=True)
        self._run_id = ""
        self._lock = Lock()
        self._clips: deque[VisitClip] = deque(maxlen=MAX_CLIPS)
        self._tracks: dict[tuple[str, int], _OpenTrack] = {}
        self._places: defaultdict[str, deque[tuple[float, RecordingPosition]]] = defaultdict(
            lambda: deque(maxlen=MAX_POSITIONS)
        )
        """Media times of each camera's last frames, and their positions in the recording."""
        self._place: Callable[[], RecordingPosition | None] = lambda: None

    def attach(self, run_id: str, place: Callable[[], RecordingPosition | None]) -> Self:
        """Set the run id, and the function that returns the recording position of the last frame."""
        self._run_id, self._place = run_id, place
        return self

    def on_frame(self, frame: ScoredFrame) -> None:
        """Take a scored frame before its decisions; called from the gate's thread."""
        place = self._place()
        if place is not None:
            self._places[frame.frame.camera].append((frame.frame.pts_s, place))

    def on_decisions(self, decision: Decision) -> None:
        """Take a decision; called from the gate's thread."""
        if decision.outcome is Outcome.UNTRACKED:
            return  # seen once: no track
        camera, track_id = decision.face.face.frame.camera, decision.face.track_id
        with self._lock:
            track = self._tracks.get((camera, track_id))
            if track is None:
                track = _OpenTrack(self._run_id, camera, track_id)
                self._tracks[camera, track_id] = track
            seen_s = decision.face.face.frame.pts_s
            if seen_s < track.first_s:  # the first face may be decided on after others
                track.first_s, track.place = seen_s, self._recorded(camera, seen_s)
            track.add(decision, monotonic())

    def on_clip(self, clip: VisitClip) -> None:
        """Take a clip; called from a camera's thread."""
        with self._lock:
            self._clips.append(clip)

    def _recorded(self, camera: str, pts_s: float) -> RecordingPosition | None:
        """Position of a frame of this camera in the recording, or of one before it."""
        places = self._places[camera]
        before = [place for at, place in places if at <= pts_s]
        return before[-1] if before else places[0][1] if places else None

    def _run(self) -> None:
        failed = False
        try:
            while True:
                ended = self._stop.wait(WRITE_INTERVAL_S)
                try:
                    self._write(monotonic(), everything=ended)
                    failed = False
                except StoreError as error:
                    if not failed:
                        log.error("tracks not stored, will retry", reason=str(error))
                    failed = True
                if ended:
                    return
        finally:
            self._store.close()

    def _write(self, now: float, *, everything: bool) -> None:
        with self._lock:
            new = [t for t in self._tracks.values() if t.due_s is not None and (everything or t.due_s <= now)]
            tracks = [track.track() for track in new]
            counted = [track.faces for track in new]
        if tracks:
            self._store.add_tracks(tracks)
        while self._clips:
            self._store.add_clip(self._clips[0])
            with self._lock:
                self._clips.popleft()
        with self._lock:
            for track, faces in zip(new, counted, strict=True):
                if track.faces == faces:
                    track.due_s = None
            over = [key for key, t in self._tracks.items() if t.due_s is None and now - t.updated_s > KEEP_ENDED_S]
            for key in over:
                del self._tracks[key]
