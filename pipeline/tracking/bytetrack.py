"""Tracks the faces of one camera with ByteTrack from the ``trackers`` package, and reports ended tracks.

Pure logic with time as an argument: the same frames give the same tracks. One instance per camera, so ids never
mix. A face gets a track at its second detection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import supervision as sv
from trackers import ByteTrackTracker

from facegate.pipeline.records import Face

NOMINAL_FPS = 30.0
"""ByteTrack's unit of time; the real frame times are passed with every update."""


class FaceTracker:
    """Assigns track ids to the faces of one camera."""

    def __init__(self, *, lost_s: float, high_confidence: float, min_iou: float) -> None:
        """Configure.

        Args:
            lost_s: a track ends after this many seconds without a detection.
            high_confidence: detections below this may continue a track (ByteTrack's second stage), never start one.
            min_iou: overlap with the predicted box needed to continue a track.
        """
        self._tracker: Any = ByteTrackTracker(
            lost_track_buffer=max(1, round(lost_s * NOMINAL_FPS)),
            frame_rate=NOMINAL_FPS,
            track_activation_threshold=high_confidence,
            high_conf_det_threshold=high_confidence,
            minimum_iou_threshold=min_iou,
            minimum_consecutive_frames=2,
        )
        self._alive: set[int] = set()
        self._first_id = 0
        self._next_id = 0

    def _start_over(self) -> None:
        """Drop every track; ids continue, although a reset tracker counts from zero."""
        self._tracker.reset()
        self._first_id = self._next_id

    def step(
        self, faces: Sequence[Face], pts_s: float, *, cut: bool = False
    ) -> tuple[list[int | None], tuple[int, ...]]:
        """Take one frame's faces; return a track id (or ``None``) for each, and the tracks that have now ended.

        Args:
            faces: of one frame of this camera.
            pts_s: the frame's media time.
            cut: a new scene starts here; every track ends before it.
        """
        if cut:
            self._start_over()
        boxes = np.array([face.detection.box for face in faces], dtype=np.float32).reshape(-1, 4)
        found = sv.Detections(
            xyxy=boxes,
            confidence=np.array([face.detection.confidence for face in faces], dtype=np.float32),
            data={"face": np.arange(len(faces))},
        )
        tracked = self._tracker.update(found, timestamp=pts_s)
        ids: list[int | None] = [None] * len(faces)
        for index, track_id in zip(tracked.data.get("face", ()), tracked.tracker_id, strict=True):
            if track_id >= 0:
                ids[int(index)] = self._first_id + int(track_id)
        alive = {self._first_id + int(track.tracker_id) for track in self._tracker.tracks if track.tracker_id >= 0}
        self._next_id = max(self._next_id, *(track_id + 1 for track_id in alive)) if alive else self._next_id
        ended = tuple(sorted(self._alive - alive))
        self._alive = alive
        return ids, ended

    def finish(self) -> tuple[int, ...]:
        """End every track that is still alive and return their ids."""
        ended = tuple(sorted(self._alive))
        self._alive = set()
        return ended
