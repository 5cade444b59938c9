"""Which faces are worth scoring: those that may still win. Pure: the same faces give the same choice.

The quality of a track wanders around a mean of its own. What is known of it, the last score, how long ago that was,
how much the looks have changed since, and what can be seen without the network (sharpness, yaw, light, the
detector's confidence), makes the next quality a normal variable: an Ornstein-Uhlenbeck process (Phys. Rev. 36, 823,
1930) that runs by changes in looks as well as by time. A face is scored where the improvement to be expected over
what it has to beat (as in Jones et al., J. Global Optimization 13, 1998) is worth it. How far qualities wander is
learned from each camera: where they surprise, more is scored.

Scored in any case: a track's first face, one that may be somebody else (after a gap, beside another face, changed
in looks), one that stands for the rejects in a shadow sample, and one every ``MAX_UNSCORED_S``. Nothing else of a track
whose recognizer is sure.
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
from facegate.pipeline.gating.gate import GateSettings
from facegate.pipeline.gating.policies import ShadowSample
from facegate.pipeline.records import Box, Image, ScoredFace, TrackedFace

MIN_EXPECTED_GAIN = 1.5
"""Points of quality (of 100) that scoring a face must promise."""
WORTH_SHARE, LEAST_WORTH = 0.0175, 0.1
"""Where a recognizer answers and is not sure, so much of what is to be beaten is worth it, but no less than that:
of poor faces a point tells more, and each may be the one that gets the name. From 0.0125 to 0.02 it makes
hardly a difference (docs/savings.md)."""
PRIOR_SPREAD = 13.0
"""Standard deviation of a track's qualities around their mean, before a camera has shown its own."""
FORGETTING = 2.2
"""A track's quality is correlated with its last one by exp(-this * sqrt(seconds * change in looks)), the change
being 1 minus the correlation of two thumbnails. Fitted on the development clips, where neither tells as much
alone."""
MIN_CHANGE = 0.001
"""Change in looks by noise alone."""
PRIOR_WEIGHT = 20.0
"""Scores after which a camera's own spread counts as much as ``PRIOR_SPREAD``."""
SLOPES = np.array([8.0, 40.0, 35.0, 15.0], np.float32)
"""Points of quality per unit of log Laplacian variance, cosine of yaw, confidence and brightness (0..1): within the
tracks of the development clips, rounded (``python -m benchmarks.gate_cost.scoring_scheduler --fit``)."""
TRACK_MEAN_OF = 20
"""Scores over which a track's mean is taken."""
MAX_UNSCORED_S = 2.0
"""A track that goes on is scored this often at least: the purity guard needs to know who it is."""
GAP_S = 0.7
"""Unseen for so long although the camera was looked at, a track may have passed to somebody else."""
SAME_APPEARANCE = 0.5
"""Correlation of two thumbnails of a face; below, it may be another person."""
CONTEXT_MARGIN = 0.05
"""Overlap with another face from which a tracker may mix them up."""
DARK, DARK_AFTER = 0.15, 100
"""Lightness (0..1) below which quality falls faster than recognition does (docs/research/findings.md), and how many
scored faces show that a camera is so."""
THUMB = 14
"""Side of the thumbnails, in pixels."""

Features = NDArray[np.float32]


class _Track(msgspec.Struct):
    first_s: float
    seen_s: float
    look: int
    """The camera's look that saw it last."""
    scored_s: float | None = None
    features: Features | None = None
    """Of the face scored last."""
    thumb: Features | None = None
    quality: float = 0.0
    """Of the face scored last."""
    scores: int = 0
    mean: float = 0.0
    mean_features: Features | None = None
    best: float = -1.0
    best_s: float = 0.0
    sent: float | None = None
    """Quality of what the gate has sent by its rules."""


class ScoringScheduler:
    """Decides for one camera. For every frame ``select``; then ``scored`` with what came of it."""

    def __init__(self, settings: GateSettings, run_id: str, *, everything: bool = False) -> None:
        """Configure.

        Args:
            settings: of the camera's gate: what a face has to beat follows from them.
            run_id: as for the gate's shadow samples.
            everything: score every face.
        """
        self._settings = settings
        self._shadow = ShadowSample(settings.shadow_rate, run_id)
        self._everything = everything
        self.conclusive_tracks: Set[int] | None = None
        """Tracks of which nothing more will be sent, as their recognizer is sure; ``None`` where nobody answers."""
        self._tracks: dict[int, _Track] = {}
        self._learned, self._dark = 0, 0
        self._look = 0
        self._surprise, self._surprises = PRIOR_WEIGHT, PRIOR_WEIGHT
        self._expected: dict[str, tuple[float, float, Features, Features]] = {}
        """Of the last frame's chosen faces: quality and variance expected, features, thumbnail."""

    def select(self, faces: Sequence[TrackedFace]) -> list[bool]:
        """For each face of one frame, whether to score it."""
        self._look += 1
        self._expected.clear()  # what was chosen before and then left out under overload
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
        """Forget tracks."""
        for track_id in tracks:
            self._tracks.pop(track_id, None)

    @property
    def spread(self) -> float:
        """Standard deviation of a track's qualities around its mean, as far as this camera has shown."""
        return PRIOR_SPREAD * sqrt(min(max(self._surprise / self._surprises, 0.1), 4.0))

    @property
    def is_dark_camera(self) -> bool:
        """Whether most faces are so dark that the threshold drops some whom a recognizer would still name."""
        return self._learned >= DARK_AFTER and 2 * self._dark > self._learned and self._settings.min_quality > 1

    @property
    def _follow_ups_enabled(self) -> bool:
        """Whether a track may be asked for more, since somebody answers."""
        return self.conclusive_tracks is not None and self._settings.max_followups > 0

    def _must_score(self, face: TrackedFace, others: list[Box]) -> bool:
        now, detection = face.face.frame.pts_s, face.face.detection
        track = self._tracks.get(face.track_id)
        if track is None:
            track = self._tracks[face.track_id] = _Track(first_s=now, seen_s=now, look=self._look)
        # Where looks are far apart, no more than that is no gap.
        gap_s = now - track.seen_s if self._look - track.look > 1 else 0.0
        track.seen_s, track.look = now, self._look
        gray = cv2.cvtColor(face.face.crop, cv2.COLOR_RGB2GRAY)
        features = face_features(face, gray)
        thumb = _thumb(gray)
        if track.scored_s is None or track.features is None or track.thumb is None:
            return self._select(face, (0.0, 0.0, features, thumb))
        passed_s, alike = now - track.scored_s, float(thumb @ track.thumb)
        mean, variance = self._predict(track, features, passed_s, alike)
        doubt = (
            not 0 <= passed_s < MAX_UNSCORED_S
            or gap_s > GAP_S
            or alike < SAME_APPEARANCE
            or any(same_face(detection.box, other, CONTEXT_MARGIN) for other in others)
            or self._shadow.selects(face.face)
        )
        beat = self._incumbent_quality(track, now)
        worth = (
            min(MIN_EXPECTED_GAIN, max(WORTH_SHARE * beat, LEAST_WORTH))
            if self._follow_ups_enabled
            else MIN_EXPECTED_GAIN
        )
        gain = _expected_gain(mean, sqrt(variance), beat)
        if doubt or (gain >= worth and face.track_id not in (self.conclusive_tracks or ())):
            return self._select(face, (mean, variance, features, thumb))
        return False

    def _select(self, face: TrackedFace, expected: tuple[float, float, Features, Features]) -> bool:
        self._expected[face.face.face_id] = expected
        return True

    def _predict(self, track: _Track, features: Features, passed_s: float, alike: float) -> tuple[float, float]:
        """Mean and variance of the next quality of a track."""
        assert track.features is not None and track.mean_features is not None
        kept = exp(-FORGETTING * sqrt(max(passed_s, 0.0) * max(1.0 - alike, MIN_CHANGE)))
        was = track.quality - track.mean - float((track.features - track.mean_features) @ SLOPES)
        mean = track.mean + float((features - track.mean_features) @ SLOPES) + kept * was
        return mean, max(self.spread**2 * (1 - kept * kept), 1.0)

    def _incumbent_quality(self, track: _Track, now: float) -> float:
        s = self._settings
        if s.mode == "interval" and now - track.best_s >= s.interval_s:
            track.best = -1.0
        elif s.top_k > 1 and now - track.best_s >= s.min_gap_s:
            track.best = -1.0  # apart from the best so far, others may win beside it
        elif track.sent is None and now - track.first_s >= s.max_wait_s and track.best >= s.min_quality:
            track.sent = track.best
        least = float(s.min_quality - s.hysteresis)
        # Of a track that is asked again, what is no better than the shot may be wanted, too.
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


def _expected_gain(mean: float, spread: float, beat: float) -> float:
    """Mean of what a normal variable exceeds ``beat`` by, 0 where it does not."""
    z = (mean - beat) / spread
    return (mean - beat) * 0.5 * (1 + erf(z / sqrt(2))) + spread * exp(-z * z / 2) / sqrt(2 * pi)


def face_features(face: TrackedFace, gray: NDArray[np.uint8]) -> Features:
    """What tells of a face's quality without the network; :data:`SLOPES` says how much."""
    inside = gray[20:100, 20:92]
    sharpness = np.log1p(cv2.Laplacian(inside, cv2.CV_32F).var())
    detection = face.face.detection
    front = np.cos(np.radians(pose(detection)[0]))
    return np.array([sharpness, front, detection.confidence, inside.mean() / 255.0], np.float32)


def _thumb(gray: Image | NDArray[np.uint8]) -> Features:
    """A small picture of the face, of mean 0 and length 1."""
    small = cv2.resize(gray, (THUMB, THUMB), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    small -= small.mean()
    unit: Features = small / np.float32(max(float(np.sqrt(small @ small)), 1e-6))
    return unit
