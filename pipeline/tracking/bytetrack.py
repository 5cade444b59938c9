"""Tracks the faces of one camera with ByteTrack (Zhang et al., arXiv 2110.06864), and reports ended tracks.

Pure logic with time as an argument: the same frames give the same tracks. One instance per camera, so ids never
mix. A face gets a track at its second detection.

Each track predicts its box with a Kalman filter of constant velocity. Detections of high confidence are assigned
first, by overlap with the predicted boxes; those of low confidence continue the tracks that are left over.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from facegate.pipeline.records import Face
from facegate.pipeline.tracking.assignment import best_pairs, overlaps

NOMINAL_FPS = 30.0
"""Unit of time of the motion model: its noise is that of one frame at this rate."""
NOMINAL_TOLERANCE = 0.004 * NOMINAL_FPS
"""Deviation from one nominal frame, in frames, within which the noise stays that of one frame."""
MEASUREMENT_NOISE, PROCESS_NOISE = 0.1, 0.01
"""Variances of a measured coordinate in px², and of what one frame adds to position and velocity."""
MAX_FRAME_GAP_S = 5.0
"""Seconds between two frames up to which tracks continue, however slow the camera or the machine is."""
MIN_CONSECUTIVE = 2
"""Consecutive detections after which a track gets its id."""

Box = NDArray[np.float64]


class _Track:
    """A track with its motion: one filter, as all four coordinates have the same noise."""

    def __init__(self, box: Box) -> None:
        self.id = -1
        self.box = box
        """Estimated corners, ``(4,)``."""
        self.unseen_s = 0.0
        self.seen = True
        """Whether this frame has a detection of it."""
        self.consecutive = 1
        self._velocity = np.zeros(4)
        self._pp, self._pv, self._vv = 1.0, 0.0, 1.0  # covariance of position and velocity

    def predict(self, elapsed_s: float) -> None:
        """Move on by this time."""
        step = elapsed_s * NOMINAL_FPS
        self.box = self.box + step * self._velocity
        if abs(step - 1.0) <= NOMINAL_TOLERANCE:
            position, both, speed = PROCESS_NOISE, 0.0, PROCESS_NOISE
        else:  # white noise of the acceleration, over the whole step
            position, both, speed = (PROCESS_NOISE * part for part in (step**4 / 4, step**3 / 2, step**2))
        pv = self._pv + step * self._vv
        self._pp += step * (self._pv + pv) + position
        self._pv = pv + both
        self._vv += speed
        self.consecutive = self.consecutive if self.seen else 0
        self.seen = False
        self.unseen_s += elapsed_s

    def update(self, box: Box) -> None:
        """Take the detection of this frame."""
        total = self._pp + MEASUREMENT_NOISE
        position, speed = self._pp / total, self._pv / total
        error = box - self.box
        self.box = self.box + position * error
        self._velocity = self._velocity + speed * error
        self._vv -= speed * self._pv
        self._pp, self._pv = self._pp * (1 - position), self._pv * (1 - position)
        self.seen, self.unseen_s = True, 0.0
        self.consecutive += 1


class FaceTracker:
    """Assigns track ids to the faces of one camera."""

    def __init__(self, *, lost_s: float, high_confidence: float, min_iou: float) -> None:
        """Configure.

        Args:
            lost_s: a track ends after this many seconds without a detection.
            high_confidence: detections below this may continue a track (ByteTrack's second stage), never start one.
            min_iou: overlap with the predicted box needed to continue a track.
        """
        self._lost_s = max(1, round(lost_s * NOMINAL_FPS)) / NOMINAL_FPS
        self._high_confidence = high_confidence
        self._min_iou = min_iou
        self._tracks: list[_Track] = []
        self._last_s: float | None = None
        self._alive: set[int] = set()
        self._next_id = 0

    def step(
        self, faces: Sequence[Face], pts_s: float, *, cut: bool = False, still: bool = False
    ) -> tuple[list[int | None], tuple[int, ...]]:
        """Take one frame's faces; return a track id (or ``None``) for each, and the tracks that have now ended.

        Args:
            faces: of one frame of this camera.
            pts_s: the frame's media time; a frame before the last one continues no track.
            cut: a new scene starts here; every track ends before it.
            still: an independent picture: its sure faces get a track at once, and no later frame continues them.
        """
        if cut:
            self._tracks, self._last_s = [], None
        ids: list[int | None] = [None] * len(faces)
        if self._last_s is None or pts_s >= self._last_s:
            self._move_on(pts_s)
            self._assign(faces, ids)
            if still:
                self._confirm(faces, ids)
        alive = {track.id for track in self._tracks if track.id >= 0}
        ended = tuple(sorted(self._alive - alive))
        self._alive = alive
        return ids, ended

    def finish(self) -> tuple[int, ...]:
        """End every track that is still alive and return their ids."""
        ended = tuple(sorted(self._alive))
        self._alive = set()
        return ended

    def _move_on(self, pts_s: float) -> None:
        elapsed = 1 / NOMINAL_FPS if self._last_s is None else pts_s - self._last_s
        self._last_s = pts_s
        if elapsed > 0:  # a second frame of the same time changes nothing but what is seen
            for track in self._tracks:
                track.predict(elapsed)
        # What was there in the last frame cannot have been missed since, even if frames are far apart.
        lost_s = max(self._lost_s, elapsed if elapsed <= MAX_FRAME_GAP_S else 0.0)
        self._tracks = [track for track in self._tracks if track.unseen_s <= lost_s]

    def _assign(self, faces: Sequence[Face], ids: list[int | None]) -> None:
        """Continue tracks and start new ones; write ids of confirmed tracks into ``ids``."""
        # As detectors give them: in single precision.
        boxes = np.array([face.detection.box for face in faces], np.float32).astype(np.float64).reshape(-1, 4)
        sure = np.array([face.detection.confidence for face in faces], np.float32) >= self._high_confidence
        high, low = np.flatnonzero(sure).tolist(), np.flatnonzero(~sure).tolist()
        left, started = self._continue_all(self._tracks, boxes, high, ids)
        self._continue_all(left, boxes, low, ids)
        self._tracks = [track for track in self._tracks if track.id >= 0 or track.seen]
        self._tracks += [_Track(boxes[index]) for index in started]

    def _continue_all(
        self, tracks: Sequence[_Track], boxes: Box, indices: Sequence[int], ids: list[int | None]
    ) -> tuple[list[_Track], list[int]]:
        """Continue tracks with the boxes at ``indices``; return the tracks and the indices that are left."""
        pairs = self._pairs(tracks, boxes[indices]) if indices else []
        for row, column in pairs:
            self._continue(tracks[row], boxes[indices[column]], indices[column], ids)
        rows, columns = {row for row, _ in pairs}, {column for _, column in pairs}
        return (
            [track for row, track in enumerate(tracks) if row not in rows],
            [index for column, index in enumerate(indices) if column not in columns],
        )

    def _confirm(self, faces: Sequence[Face], ids: list[int | None]) -> None:
        """Give every track that has just started its id."""
        sure = [place for place, face in enumerate(faces) if face.detection.confidence >= self._high_confidence]
        for place, track in zip(sure, self._tracks, strict=True):
            track.id = ids[place] = self._next_id
            self._next_id += 1

    def _pairs(self, tracks: Sequence[_Track], boxes: Box) -> list[tuple[int, int]]:
        if not tracks:
            return []
        similarity = overlaps(np.stack([track.box for track in tracks]), boxes)
        return [(row, column) for row, column in best_pairs(similarity) if similarity[row, column] >= self._min_iou]

    def _continue(self, track: _Track, box: Box, index: int, ids: list[int | None]) -> None:
        track.update(box)
        if track.id < 0 and track.consecutive >= MIN_CONSECUTIVE:
            track.id, self._next_id = self._next_id, self._next_id + 1
        if track.id >= 0:
            ids[index] = track.id
