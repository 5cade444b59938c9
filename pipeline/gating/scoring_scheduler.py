"""Selects the faces to score: those that can still become the best of their track. Pure logic.

The quality of a track varies around a mean of its own. From the last score, its age, the change in appearance
since, and features that need no network (sharpness, yaw, brightness, detector confidence), the next quality is
predicted as a normal variable: an Ornstein-Uhlenbeck process (Phys. Rev. 36, 823, 1930) that runs by change in
appearance as well as by time. A face is scored if its expected improvement over the incumbent (as in Jones et al.,
J. Global Optimization 13, 1998) is large enough. The spread is learned per camera: where predictions fail, more is
scored.

Always scored: the first face of a track; a face that may be another person (after a gap, next to another face, with
a changed appearance); a shadow sample; and one face every ``MAX_UNSCORED_S``. Of a track with conclusive
recognition nothing else is scored.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from math import erf, exp, pi, sqrt

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from facegate.detectors.base import same_face
from facegate.detectors.pose import pose
from facegate.pipeline.gating.limits import GateSettings
from facegate.pipeline.gating.policies import ShadowSample
from facegate.pipeline.records import Box, Image, ScoredFace, TrackedFace

MIN_EXPECTED_GAIN = 1.5
"""Minimum expected gain in points of quality (of 100) for a face to be scored."""
WORTH_SHARE, MIN_WORTH = 0.0175, 0.1
"""While recognition is inconclusive, the minimum expected gain is this share of the incumbent's quality, but at
least the second value: a point matters more for poor faces, and each may be the one that is identified. From 0.0125
to 0.02 it makes hardly a difference (docs/savings.md)."""
PRIOR_SPREAD = 13.0
"""Prior of the standard deviation of a track's qualities around their mean."""
FORGETTING = 2.2
"""A track's quality is correlated with its last one by exp(-this * sqrt(seconds * change in appearance)), the
change being 1 minus the correlation of two thumbnails. Fitted on the development clips; neither factor alone fits
as well."""
MIN_CHANGE = 0.001
"""Change in appearance by noise alone."""
PRIOR_WEIGHT = 20.0
"""Scores after which a camera's own spread counts as much as ``PRIOR_SPREAD``."""
SLOPES = np.array([8.0, 40.0, 35.0, 15.0], np.float32)
"""Points of quality per unit of log Laplacian variance, cosine of yaw, confidence and brightness (0..1): within the
tracks of the development clips, rounded (``python -m benchmarks.gate_cost.scoring_scheduler --fit``)."""
TRACK_MEAN_OF = 20
"""Scores over which a track's mean is taken."""
MAX_UNSCORED_S = 2.0
"""Maximum seconds between two scored faces of a live track: the identity guard needs its embedding."""
GAP_S = 0.7
"""Seconds without a detection, in processed frames, after which a track may have passed to another person."""
SAME_APPEARANCE = 0.5
"""Minimum correlation of two thumbnails of a face; below, it may be another person."""
CONTEXT_MARGIN = 0.05
"""Overlap with another face from which a tracker may swap them."""
DARK, DARK_AFTER = 0.15, 100
"""Lightness (0..1) below which quality falls faster than recognition does (docs/research/findings.md), and the
number of scored faces needed to call a camera dark."""
THUMB = 14
"""Side of the thumbnails, in pixels."""

Features = NDArray[np.float32]


class _Track(msgspec.Struct):
    first_s: float
    seen_s: float
    frame: int
    """Number of the processed frame that had it last."""
    scored_s: float | None = None
    features: Features | None = None
    """Features of the face scored last."""
    thumb: Features | None = None
    quality: float = 0.0
    """Quality of the face scored last."""
    scores: int = 0
    mean: float = 0.0
    mean_features: Features | None = None
    best: float = -1.0
    best_s: float = 0.0
    sent: float | None = None
    """Quality of the shot that the gate has sent."""


class ScoringScheduler:
    """Decides for one camera: call ``select`` for every frame, then ``scored`` with the scores."""

    def __init__(self, settings: GateSettings, run_id: str, *, everything: bool = False) -> None:
        """Configure.

        Args:
            settings: of the camera's gate; they determine the incumbent's quality.
            run_id: as for the gate's shadow samples.
            everything: score every face.
        """
        self._settings = settings
        self._shadow = ShadowSample(settings.shadow_rate, run_id)
        self._everything = everything
        self.conclusive_tracks: Set[int] | None = None
        """Tracks that send no more shots because recognition is conclusive; ``None`` without feedback."""
        self._tracks: dict[int, _Track] = {}
        self._learned, self._dark = 0, 0
        self._frame_count = 0
        self._surprise, self._surprises = PRIOR_WEIGHT, PRIOR_WEIGHT
        self._expected: dict[str, tuple[float, float, Features, Features]] = {}
        """For the last frame's selected faces: predicted quality and variance, features, thumbnail."""

    def select(self, faces: Sequence[TrackedFace]) -> list[bool]:
        """Return for each face of one frame whether to score it."""
        self._frame_count += 1
        self._expected.clear()  # faces that were selected before and then dropped under overload
        if self._everything:
            return [True] * len(faces)
        boxes = [face.face.detection.box for face in faces]
        return [self._must_score(face, boxes[:i] + boxes[i + 1 :]) for i, face in enumerate(faces)]

    def scored(self, faces: Sequence[ScoredFace]) -> None:
        """Learn from the faces that were scored."""
        for face in faces:
            expected = self._expected.pop(face.face.face_id, None)
            if expected is not None:
                self._update(face, *expected)

    def ended(self, tracks: Sequence[int]) -> None:
        """Drop ended tracks."""
        for track_id in tracks:
            self._tracks.pop(track_id, None)

    @property
    def spread(self) -> float:
        """Standard deviation of a track's qualities around its mean, learned from this camera."""
        return PRIOR_SPREAD * sqrt(min(max(self._surprise / self._surprises, 0.1), 4.0))

    @property
    def is_dark_camera(self) -> bool:
        """Whether most faces are so dark that the threshold drops people whom a recognizer would still identify."""
        return self._learned >= DARK_AFTER and 2 * self._dark > self._learned and self._settings.min_quality > 1

    @property
    def _follow_ups_enabled(self) -> bool:
        """Whether follow-ups are possible."""
        return self.conclusive_tracks is not None and self._settings.max_followups > 0

    def _must_score(self, face: TrackedFace, others: list[Box]) -> bool:
        now, detection = face.face.frame.pts_s, face.face.detection
        track = self._tracks.get(face.track_id)
        if track is None:
            track = self._tracks[face.track_id] = _Track(first_s=now, seen_s=now, frame=self._frame_count)
        # Where processed frames are far apart, consecutive ones are no gap.
        gap_s = now - track.seen_s if self._frame_count - track.frame > 1 else 0.0
        track.seen_s, track.frame = now, self._frame_count
        gray = cv2.cvtColor(face.face.crop, cv2.COLOR_RGB2GRAY)
        features = face_features(face, gray)
        thumb = _thumb(gray)
        if track.scored_s is None or track.features is None or track.thumb is None:
            return self._select(face, (0.0, 0.0, features, thumb))
        passed_s, correlation = now - track.scored_s, float(thumb @ track.thumb)
        mean, variance = self._predict(track, features, passed_s, correlation)
        must_score = (
            not 0 <= passed_s < MAX_UNSCORED_S
            or gap_s > GAP_S
            or correlation < SAME_APPEARANCE
            or any(same_face(detection.box, other, CONTEXT_MARGIN) for other in others)
            or self._shadow.selects(face.face)
        )
        incumbent = self._incumbent_quality(track, now)
        worth = (
            min(MIN_EXPECTED_GAIN, max(WORTH_SHARE * incumbent, MIN_WORTH))
            if self._follow_ups_enabled
            else MIN_EXPECTED_GAIN
        )
        gain = _expected_gain(mean, sqrt(variance), incumbent)
        if must_score or (gain >= worth and face.track_id not in (self.conclusive_tracks or ())):
            return self._select(face, (mean, variance, features, thumb))
        return False

    def _select(self, face: TrackedFace, expected: tuple[float, float, Features, Features]) -> bool:
        self._expected[face.face.face_id] = expected
        return True

    def _predict(
        self, track: _Track, features: Features, passed_s: float, correlation: float
    ) -> tuple[float, float]:
        """Mean and variance of the next quality of a track."""
        assert track.features is not None and track.mean_features is not None
        kept = exp(-FORGETTING * sqrt(max(passed_s, 0.0) * max(1.0 - correlation, MIN_CHANGE)))
        was = track.quality - track.mean - float((track.features - track.mean_features) @ SLOPES)
        mean = track.mean + float((features - track.mean_features) @ SLOPES) + kept * was
        return mean, max(self.spread**2 * (1 - kept * kept), 1.0)

    def _incumbent_quality(self, track: _Track, now: float) -> float:
        s = self._settings
        if s.mode == "interval" and now - track.best_s >= s.interval_s:
            track.best = -1.0
        elif s.top_k > 1 and now - track.best_s >= s.min_gap_s:
            track.best = -1.0  # far from the best so far, another face can be selected as well
        elif track.sent is None and now - track.first_s >= s.max_wait_s and track.best >= s.lowest_quality:
            track.sent = track.best
        least = float(s.lowest_quality - s.hysteresis)
        # For a follow-up, a face that is no better than the shot may be needed, too.
        if track.sent is None or s.mode == "interval" or s.top_k > 1 or self._follow_ups_enabled:
            return max(track.best, least)
        return max(track.best, track.sent + s.improve_margin, least)

    def _update(self, face: ScoredFace, mean: float, variance: float, features: Features, thumb: Features) -> None:
        track = self._tracks.get(face.track_id)
        if track is None:
            return
        now, quality = face.face.frame.pts_s, face.rank[0]
        self._learned += 1
        self._dark += bool(features[3] < DARK)
        if track.scored_s is not None:
            self._surprise += (quality - mean) ** 2 / variance * (self._surprise / self._surprises)
            self._surprises += 1.0
        track.scores = min(track.scores + 1, TRACK_MEAN_OF)
        share = 1.0 / track.scores
        if track.mean_features is None:
            track.mean_features = features
        track.mean += share * (quality - track.mean)
        track.mean_features = track.mean_features + np.float32(share) * (features - track.mean_features)
        track.scored_s, track.quality, track.features, track.thumb = now, quality, features, thumb
        if quality > track.best:
            track.best, track.best_s = quality, now
        s = self._settings
        due = s.good_enough if track.sent is None else track.sent + s.improve_margin
        if s.mode == "early" and quality >= due:
            track.sent = quality


def _expected_gain(mean: float, spread: float, incumbent: float) -> float:
    """Expected improvement of a normal variable over ``incumbent``."""
    z = (mean - incumbent) / spread
    return (mean - incumbent) * 0.5 * (1 + erf(z / sqrt(2))) + spread * exp(-z * z / 2) / sqrt(2 * pi)


def face_features(face: TrackedFace, gray: NDArray[np.uint8]) -> Features:
    """Return features that predict a face's quality without the network, in the order of :data:`SLOPES`."""
    inside = gray[20:100, 20:92]
    sharpness = np.log1p(cv2.Laplacian(inside, cv2.CV_32F).var())
    detection = face.face.detection
    front = np.cos(np.radians(pose(detection)[0]))
    return np.array([sharpness, front, detection.confidence, inside.mean() / 255.0], np.float32)


def _thumb(gray: Image | NDArray[np.uint8]) -> Features:
    """Return a thumbnail of the face with mean 0 and length 1."""
    small = cv2.resize(gray, (THUMB, THUMB), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    small -= small.mean()
    unit: Features = small / np.float32(max(float(np.sqrt(small @ small)), 1e-6))
    return unit
