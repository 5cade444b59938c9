"""Decides for each frame of a camera: search for new faces, track known faces only, or skip.

Searching is expensive; detecting known faces near their expected boxes is cheap. A frame is searched when a known
face is lost, after a scene cut, and often enough that a new face is found at most ``MAX_DISCOVERY_DELAY_S`` later
than by searching every frame. Under overload (frames too far apart) that cannot be guaranteed, and every third
frame is searched. While no face is present and nothing moves, most frames are skipped. Where in a frame to search
is decided by :mod:`facegate.pipeline.detection.search_plan`.

Pure, with time as an argument: the same frames and faces give the same decisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from facegate.detectors.base import same_face
from facegate.pipeline.detection.template_match import FaceTemplatePatch, make_patch, match_template
from facegate.pipeline.records import Box, Detection, Image

MAX_DISCOVERY_DELAY_S = 0.4
"""Maximum delay of finding a new face, compared with detecting every frame, seconds."""
OVERLOAD_FACTOR = 1.5
"""Overload: the gap between two processed frames exceeds the configured one by this factor."""
MAX_TRACK_ONLY_RUN = 2
"""Consecutive track-only frames under overload."""
CLOCK_JITTER_S = 0.02
"""Jitter of cameras' timestamps, seconds."""
IDLE_AFTER_S = 3.0
"""Seconds without a face after which frames without motion are skipped."""
FACE_PRESENT_S = 1.0
"""Seconds without a detection in which a face still counts as present."""
NO_MOTION_S = 2.0
"""Seconds without a face and without motion after which the camera is idle: few of its packets need decoding."""
STATIC_SCENE_INTERVAL_S = 0.5
"""With ``skip_still``, seconds between two processed frames without motion, so that tracks do not end."""
MOTION_THRESHOLD = 8.0
"""Change of a thumbnail cell in gray levels (0..255) that counts as motion; above a camera's noise."""
THUMBNAIL = (64, 36)
MAX_EXTRAPOLATION_S = 1.0
"""Maximum time over which a face's velocity is extrapolated, seconds; a face not found for so long is forgotten."""
MAX_TRACKED = 32
"""Known faces detected per frame. Of more, those found longest ago come first, and of these the largest."""


class DetectionMode(StrEnum):
    """What is done with a frame."""

    SKIP = "none"
    """Not processed: no motion and no face."""
    TRACK_ONLY = "follow"
    """Known faces are detected near their expected boxes."""
    SEARCH = "search"
    """Known faces are tracked, and new ones searched."""


class _KnownFace(msgspec.Struct, frozen=True, eq=False):
    """A face that was found lately."""

    box: Box
    seen_s: float
    """Media time of the box."""
    velocity: tuple[float, float]
    """Velocity of its center in pixels per second."""
    patch: FaceTemplatePatch | None

    def extrapolate(self, pts_s: float) -> Box:
        """Return the box expected at a media time."""
        ahead = min(pts_s - self.seen_s, MAX_EXTRAPOLATION_S)
        dx, dy = (speed * ahead for speed in self.velocity)
        x1, y1, x2, y2 = self.box
        return (x1 + dx, y1 + dy, x2 + dx, y2 + dy)


class DetectionScheduler:
    """Decides for one camera: call ``step`` for every frame, then ``update`` with the faces found."""

    def __init__(
        self,
        *,
        frame_interval_s: float | None = None,
        idle_fps: float | None = 0.5,
        skip_still: bool = False,
        follow: bool = True,
    ) -> None:
        """Configure.

        Args:
            frame_interval_s: seconds between two processed frames without overload; ``None`` if unknown.
            idle_fps: processed frames per second while no face is present and nothing moves; ``None`` for all.
            skip_still: skip frames without motion even while a face is present.
            follow: ``False`` searches every processed frame.
        """
        self._overload_gap_s = (
            None
            if frame_interval_s is None
            else max(OVERLOAD_FACTOR * frame_interval_s, MAX_DISCOVERY_DELAY_S / 2 + CLOCK_JITTER_S)
        )
        self._idle_interval_s = None if idle_fps is None else 1.0 / idle_fps
        self._skip_still = skip_still
        self.tracks = follow
        """Known faces are tracked between searches; else every frame is searched as a whole."""
        self._known: list[_KnownFace] = []
        self._image: Image | None = None
        """The current frame."""
        self._expected: list[tuple[Box, _KnownFace]] | None = None
        """Known faces to be detected in the current frame, and where."""
        self._waiting: list[_KnownFace] = []
        """Further known faces."""
        self._thumbnail: NDArray[Any] | None = None
        """Thumbnail of the last processed frame, if the next may be skipped."""
        self.is_idle = False
        """No face and no motion for a while, as of the last frame."""
        self._last_motion_s: float | None = None
        self._processed_s: float | None = None
        self._last_face_s: float | None = None
        self._unsearched_since_s: float | None = None
        """Media time of the first track-only frame since the last detection; a new face may wait since then."""
        self._track_only_run = 0
        """Track-only frames since the last detection."""

    @property
    def sees_faces(self) -> bool:
        """Whether a face was found in the last ``FACE_PRESENT_S`` seconds, as of the last processed frame."""
        last_s, now = self._last_face_s, self._processed_s
        return last_s is not None and now is not None and 0 <= now - last_s <= FACE_PRESENT_S

    def step(self, image: Image, pts_s: float, *, cut: bool = False, unsearched: bool = False) -> DetectionMode:
        """Return what to do with the next frame.

        Args:
            image: the part of the picture in which faces are detected.
            pts_s: media time.
            cut: a new scene starts here.
            unsearched: parts of the picture have never been searched: no frame is skipped.
        """
        before = self._processed_s
        self._image, self._expected = image, None
        if before is None or cut or pts_s < before:
            self._known = []
            self._processed_s, self._thumbnail = pts_s, None
            self.is_idle, self._last_motion_s = False, pts_s
            return DetectionMode.SEARCH
        without_motion = self._no_motion(image, pts_s - before, pts_s)
        if unsearched:
            self.is_idle = False
        elif without_motion:
            return DetectionMode.SKIP
        self._processed_s = pts_s
        first = pts_s if self._unsearched_since_s is None else self._unsearched_since_s
        next_s = pts_s + (pts_s - before)
        late = next_s - first > MAX_DISCOVERY_DELAY_S + CLOCK_JITTER_S
        if self._overload_gap_s is not None and pts_s - before > self._overload_gap_s and self._known:
            late = self._track_only_run >= MAX_TRACK_ONLY_RUN
        if late or not self.tracks:
            return DetectionMode.SEARCH
        self._unsearched_since_s = first
        self._track_only_run += 1
        return DetectionMode.TRACK_ONLY

    def expected_boxes(self, pts_s: float) -> list[Box]:
        """Return the expected boxes of known faces: extrapolated, then refined by template matching.

        At most ``MAX_TRACKED``; the others have their turn in the next frames.
        """
        if self._expected is None:
            known = sorted(self._known, key=lambda face: (face.seen_s, face.box[0] - face.box[2]))
            self._expected = [(self._moved(face, pts_s), face) for face in known[:MAX_TRACKED]]
            self._waiting = [face for face in known[MAX_TRACKED:] if pts_s - face.seen_s <= MAX_EXTRAPOLATION_S]
        return [box for box, _ in self._expected]

    def waiting_boxes(self, pts_s: float) -> list[Box]:
        """Return where further known faces are expected, which are not detected in this frame."""
        self.expected_boxes(pts_s)
        return [face.extrapolate(pts_s) for face in self._waiting]

    def _moved(self, face: _KnownFace, pts_s: float) -> Box:
        box, image = face.extrapolate(pts_s), self._image
        return box if image is None or face.patch is None else match_template(image, face.patch, box)

    def update(self, found: Sequence[Detection], pts_s: float, *, searched: bool) -> None:
        """Take all faces of the frame.

        Args:
            found: the faces, tracked and new.
            pts_s: the frame's media time.
            searched: the frame was searched for new faces.
        """
        self.expected_boxes(pts_s)
        assert self._expected is not None
        image = self._image
        known = []
        for face in found:
            before = next((known for box, known in self._expected if same_face(box, face.box)), None)
            patch = None if image is None else make_patch(image, face.box)
            known.append(
                _KnownFace(box=face.box, seen_s=pts_s, velocity=_velocity(before, face.box, pts_s), patch=patch)
            )
        self._known = known + [
            face
            for face in self._waiting
            if not any(same_face(face.extrapolate(pts_s), other.box) for other in found)
        ]
        self._image = self._expected = None  # the picture is not held until the next one
        if found:
            self._last_face_s = pts_s
        if searched:
            self._unsearched_since_s = None
            self._track_only_run = 0

    def _no_motion(self, image: Image, passed_s: float, pts_s: float) -> bool:
        quiet = self._last_face_s is None or pts_s - self._last_face_s >= IDLE_AFTER_S
        self.is_idle = False
        if quiet and self._idle_interval_s is not None:
            longest = self._idle_interval_s
        elif self._skip_still:
            longest = STATIC_SCENE_INTERVAL_S
        else:
            self._thumbnail = None
            return False
        now, seen = _thumbnail(image), self._thumbnail
        still = seen is not None and np.abs(now - seen).max() < MOTION_THRESHOLD
        if not still or self._last_motion_s is None:
            self._last_motion_s = pts_s
        self.is_idle = quiet and self._idle_interval_s is not None and pts_s - self._last_motion_s >= NO_MOTION_S
        if still and passed_s + CLOCK_JITTER_S < longest:
            return True
        self._thumbnail = now
        return False


def _velocity(known: _KnownFace | None, box: Box, pts_s: float) -> tuple[float, float]:
    """Mean of the previous velocity and that of the last step, pixels per second."""
    passed_s = 0.0 if known is None else pts_s - known.seen_s
    if known is None or passed_s <= 0:
        return (0.0, 0.0)
    dx, dy = (((box[i] + box[i + 2]) - (known.box[i] + known.box[i + 2])) / 2 / passed_s for i in (0, 1))
    return ((known.velocity[0] + dx) / 2, (known.velocity[1] + dy) / 2)


def _thumbnail(image: Image) -> NDArray[np.int16]:
    # Nearest-neighbor first: averaging a whole 4K picture would cost more than detection.
    small = cv2.resize(image, (THUMBNAIL[0] * 4, THUMBNAIL[1] * 4), interpolation=cv2.INTER_NEAREST)
    gray: NDArray[Any] = cv2.cvtColor(
        cv2.resize(small, THUMBNAIL, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY
    )
    return gray.astype(np.int16)
