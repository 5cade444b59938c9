"""How closely each frame of one camera is looked at: searched whole, only where faces are expected, or not at all.

Searching is dear and following cheap. A face that is known is followed from its last places and its look; the
whole frame is searched as soon as one is lost, after a cut, and so often that a new face is found at most
``MAX_DISCOVERY_DELAY_S`` after the look that a search would have found it in. Under overload that cannot be promised, and every
third look is a search: otherwise looks would become dearer just when there are too many of them. Where nobody was
seen for a while and nothing moves, the camera is looked at seldom.

Pure, with time as an argument: the same frames and faces give the same looks.
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
"""A new face is found at most so much later than by searching every frame."""
OVERLOAD_FACTOR = 1.5
"""Looks are scarce when so much more time lies between two than was asked for."""
MAX_TRACK_ONLY_RUN = 2
"""So many looks in turn follow known faces while looks are scarce."""
CLOCK_JITTER_S = 0.02
"""Cameras' clocks tremble by so much."""
IDLE_AFTER_S = 3.0
"""Without a face for so long, a still camera is looked at seldom."""
NO_MOTION_S = 2.0
"""A quiet camera in whose pictures nothing has moved for so long is at rest: few of its packets need decoding."""
STATIC_SCENE_INTERVAL_S = 0.5
"""With ``skip_still``, a still scene is looked at this often, so that tracks do not end."""
MOTION_THRESHOLD = 8.0
"""Gray levels (0..255) by which a cell of the thumbnail changes when something moves; above a camera's noise."""
THUMBNAIL = (64, 36)
MAX_EXTRAPOLATION_S = 1.0
"""A face's speed is not believed over more time than this."""


class DetectionMode(StrEnum):
    """What is done with a frame."""

    SKIP = "none"
    """Nothing moved and nobody is there."""
    TRACK_ONLY = "follow"
    """Known faces are looked for where they are expected."""
    FULL_FRAME = "search"
    """The whole frame is searched."""


class _KnownFace(msgspec.Struct, frozen=True, eq=False):
    """A face of the last look."""

    box: Box
    velocity: tuple[float, float]
    """Pixels per second of its middle."""
    patch: FaceTemplatePatch | None

    def extrapolate(self, passed_s: float) -> Box:
        """Where it is expected after so long."""
        ahead = min(passed_s, MAX_EXTRAPOLATION_S)
        dx, dy = (speed * ahead for speed in self.velocity)
        x1, y1, x2, y2 = self.box
        return (x1 + dx, y1 + dy, x2 + dx, y2 + dy)


class DetectionScheduler:
    """Decides for one camera. For every frame ``step``; then ``tracked`` or ``detected`` with what was found."""

    def __init__(
        self,
        *,
        look_s: float | None = None,
        idle_fps: float | None = 0.5,
        skip_still: bool = False,
        follow: bool = True,
    ) -> None:
        """Configure.

        Args:
            look_s: seconds between two looks where nothing is overloaded; ``None`` where that is not known.
            idle_fps: looks per second at a still scene without faces; ``None`` looks at every frame.
            skip_still: leave out frames in which nothing has moved although somebody is there.
            follow: ``False`` searches every frame that is looked at.
        """
        self._overload_gap_s = (
            None if look_s is None else max(OVERLOAD_FACTOR * look_s, MAX_DISCOVERY_DELAY_S / 2 + CLOCK_JITTER_S)
        )
        self._idle_interval_s = None if idle_fps is None else 1.0 / idle_fps
        self._skip_still = skip_still
        self._track_between = follow
        self._known: list[_KnownFace] = []
        self._image: Image | None = None
        """The frame that is looked at."""
        self._thumbnail: NDArray[Any] | None = None
        """Of the last frame that was looked at, where the next may be left out."""
        self.is_idle = False
        """Nobody is there and nothing has moved for a while, as far as the last frame told."""
        self._last_motion_s: float | None = None
        self._processed_s: float | None = None
        self._known_s: float | None = None
        """Of the known faces' places."""
        self._last_face_s: float | None = None
        self._unsearched_since_s: float | None = None
        """The first look since the last search that was none: how long a new face may have waited already."""
        self._track_only_run = 0
        """Looks since the last search."""

    def step(self, image: Image, pts_s: float, *, cut: bool = False) -> DetectionMode:
        """Say how to look at the next frame."""
        before = self._processed_s
        self._image = image
        if before is None or cut or pts_s < before:
            self._known = []
            self._processed_s, self._thumbnail = pts_s, None
            self.is_idle, self._last_motion_s = False, pts_s
            return DetectionMode.FULL_FRAME
        if self._no_motion(image, pts_s - before, pts_s):
            return DetectionMode.SKIP
        self._processed_s = pts_s
        first = pts_s if self._unsearched_since_s is None else self._unsearched_since_s
        next_s = pts_s + (pts_s - before)
        late = next_s - first > MAX_DISCOVERY_DELAY_S + CLOCK_JITTER_S
        if self._overload_gap_s is not None and pts_s - before > self._overload_gap_s and self._known:
            late = self._track_only_run >= MAX_TRACK_ONLY_RUN
        if late or not self._track_between:
            return DetectionMode.FULL_FRAME
        self._unsearched_since_s = first
        self._track_only_run += 1
        return DetectionMode.TRACK_ONLY

    def expected_boxes(self, pts_s: float) -> list[Box]:
        """Where the known faces should be now: by their speed, and where the picture looks like them."""
        passed_s = 0.0 if self._known_s is None else pts_s - self._known_s
        places = [(known.extrapolate(passed_s), known.patch) for known in self._known]
        image = self._image
        return [
            place if image is None or looks is None else match_template(image, looks, place)
            for place, looks in places
        ]

    def tracked(self, found: Sequence[Detection | None], pts_s: float) -> bool:
        """Take what was found at the expected places; ``False`` where one was lost and a search has to follow."""
        pairs = [(face, known) for face, known in zip(found, self._known, strict=True) if face is not None]
        if len(pairs) < len(found):
            return False
        self._update_known(pairs, pts_s)
        return True

    def detected(self, found: Sequence[Detection], pts_s: float) -> None:
        """Take what a search has found."""
        expected = list(zip(self.expected_boxes(pts_s), self._known, strict=True))
        pairs = []
        for face in found:
            known = next((known for box, known in expected if same_face(box, face.box)), None)
            pairs.append((face, known))
        self._update_known(pairs, pts_s)
        self._unsearched_since_s = None
        self._track_only_run = 0

    def _update_known(self, pairs: Sequence[tuple[Detection, _KnownFace | None]], pts_s: float) -> None:
        passed_s = 0.0 if self._known_s is None else pts_s - self._known_s
        image = self._image
        self._known = [
            _KnownFace(
                box=face.box,
                velocity=_velocity(known, face.box, passed_s),
                patch=None if image is None else make_patch(image, face.box),
            )
            for face, known in pairs
        ]
        self._image = None  # not held until the next one
        self._known_s = pts_s
        if pairs:
            self._last_face_s = pts_s

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


def _velocity(known: _KnownFace | None, box: Box, passed_s: float) -> tuple[float, float]:
    """Half of what was known of it, half of what the last step shows."""
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
