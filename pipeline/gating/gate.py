"""The gate of one camera: combines the policies and gives every face exactly one outcome.

Of the faces that pass limits and threshold, each track keeps its best so far. It is sent:

- ``end``: when the track ends;
- ``early``: at once when it is good enough, then again only when better by the margin;
- ``interval``: the first at once, then the best of every ``interval_s``;

and in every mode after ``max_wait_s`` when nothing of the track was sent yet. A shot can still be held back: the
track is too short, the person was sent recently, or the budget per minute is used up.

With recognition feedback, an inconclusive result gives the track another, different shot, even after it has ended;
a conclusive one closes it.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from facegate.pipeline.gating.followups import FIRST_FOLLOWUP_DELAY_S, ReserveShots
from facegate.pipeline.gating.limits import GateSettings
from facegate.pipeline.gating.policies import BestShots, Budget, Hysteresis, PrimaryFace, RecentPeople, ShadowSample
from facegate.pipeline.gating.recall_threshold import RecallThreshold
from facegate.pipeline.quality.grayscale import is_gray
from facegate.pipeline.records import (
    Outcome,
    QualityInfo,
    Reason,
    RecognitionFeedback,
    ScoredFace,
    ScoredFrame,
    Shot,
    SkippedFace,
    make_shot_id,
)

MAX_TRACKS = 1000
"""Maximum number of tracks of one camera; beyond, the one not seen for longest ends."""
TRACK_TIMEOUT_S = 600.0
"""Seconds without a face after which a track ends, whatever the tracker says."""
FEEDBACK_TIMEOUT_S = 5.0
"""Seconds for which an ended track is held for feedback on its last shot."""


class Decision(msgspec.Struct, frozen=True, eq=False):
    """The outcome of one face; ``shot`` is set when it is sent."""

    face: ScoredFace | SkippedFace
    outcome: Outcome
    shot: Shot | None = None


class _Track(msgspec.Struct):
    first_s: float
    last_s: float
    best: BestShots
    faces: int = 0
    best_quality: int = 0
    """Best quality of all scored faces."""
    modes: set[bool] = msgspec.field(default_factory=set)
    """Whether its scored faces were gray; both after a switch between day and night."""
    named: bool = False
    is_open: bool = False
    sent_rank: float | None = None
    """Best rank that was sent or held back by a policy."""
    sent_s: float = 0.0
    sent: int = 0
    reserves: ReserveShots = msgspec.field(default_factory=ReserveShots)
    awaiting: set[str] = msgspec.field(default_factory=set)
    """Shots without feedback yet."""
    inconclusive: bool = False
    """The last feedback was inconclusive, and no shot has followed."""
    conclusive: bool = False
    follow_up_due_s: float = 0.0
    """Media time of the earliest follow-up while the track goes on."""
    follow_up_delay_s: float = FIRST_FOLLOWUP_DELAY_S
    held_since_s: float = 0.0
    """Monotonic time at which the ended track sent its last shot."""


class GatePolicy:
    """Decides for one camera. ``recent`` is this camera's, ``group`` may be shared with other cameras."""

    def __init__(
        self,
        run_id: str,
        camera: str,
        settings: GateSettings,
        quality_info: QualityInfo,
        *,
        recent: RecentPeople | None = None,
        group: RecentPeople | None = None,
        recall: RecallThreshold | None = None,
        gray_recall: RecallThreshold | None = None,
    ) -> None:
        """Create; ``recall`` learns from pictures in color, and from gray ones without a ``gray_recall``."""
        self._run_id, self._camera, self._info = run_id, camera, quality_info
        self._settings = settings
        self._recent, self._group, self.recall = recent, group, recall
        self.gray_recall = recall if gray_recall is None else gray_recall
        self._hysteresis = Hysteresis(settings.hysteresis)
        self._primary = None if settings.primary_face_min_px is None else PrimaryFace(settings.primary_face_min_px)
        self._budget = None if settings.max_per_minute is None else Budget(settings.max_per_minute)
        self._shadow = ShadowSample(settings.shadow_rate, run_id)
        self._tracks: dict[int, _Track] = {}
        self._held: dict[int, _Track] = {}
        """Ended tracks that wait for feedback."""
        self._shots: dict[str, tuple[int, int, bool]] = {}
        """Shots without feedback: their tracks and qualities, and whether they are gray."""
        self._follow_ups_enabled = (
            settings.max_followups > 0 and settings.mode != "interval" and not settings.dry_run
        )
        self._feedback_expected = False
        self._now = 0.0
        self._clock = 0.0

    def set_feedback_expected(self, answering: bool) -> None:
        """Set whether recognizers that send feedback are connected."""
        self._feedback_expected = answering and self._follow_ups_enabled

    def is_held(self, track_id: int) -> bool:
        """Whether an ended track may still send shots."""
        return track_id in self._held

    def awaits_feedback(self, shot_id: str) -> bool:
        """Whether feedback on this shot is expected."""
        return shot_id in self._shots

    def is_conclusive(self, track_id: int) -> bool:
        """Whether a track sends no more shots because its recognition is conclusive."""
        track = self._tracks.get(track_id)
        return track is not None and track.conclusive

    def on_feedback(self, answer: RecognitionFeedback) -> list[Decision]:
        """Take recognition feedback on a shot; feedback on unknown shots is ignored."""
        track_id, quality, gray = self._shots.pop(answer.shot_id, (-1, 0, False))
        track = self._tracks.get(track_id) or self._held.get(track_id)
        if track is None or track.conclusive:
            return []
        track.awaiting.discard(answer.shot_id)
        track.named |= answer.named
        recall = self._recall_of(gray=gray)
        if recall is not None:
            recall.on_feedback(quality, answer)
        track.conclusive, track.inconclusive = answer.conclusive, not answer.conclusive
        track.follow_up_due_s, track.follow_up_delay_s = (
            self._now + track.follow_up_delay_s,
            2 * track.follow_up_delay_s,
        )
        if track.conclusive:
            kept, track.best.kept = track.best.kept, []
            decisions = [Decision(face, Outcome.SUPERSEDED) for face in kept] + self._drop_reserves(track)
            return decisions + (self._release_held(track_id) if track_id in self._held else [])
        return self._follow_up_ended(track_id, track) if track_id in self._held else []

    def settle_pending(self) -> list[Decision]:
        """Settle held tracks without waiting for feedback."""
        return [decision for track_id in list(self._held) for decision in self._release_held(track_id)]

    def step(self, frame: ScoredFrame) -> list[Decision]:
        """Take one scored frame; return the decisions it causes (the best face of a track may stay undecided)."""
        decisions: list[Decision] = []
        now = frame.frame.pts_s
        self._now, self._clock = now, frame.frame.received_s
        primary = None if self._primary is None else self._primary.track_of((*frame.faces, *frame.skipped))
        for face in frame.faces:
            track = self._track(face, now)
            track.best_quality = max(track.best_quality, face.quality)
            refused = self._rejection(track, face, primary)
            if refused is None:
                for lost in track.best.add(face):
                    decisions += self._reserve(track, lost)
            elif refused is Outcome.SUPERSEDED:
                decisions += self._reserve(track, face)
            else:
                decisions.append(self._reject(face, refused))
            decisions += self._release(track, now)
        for skipped in frame.skipped:
            decisions.append(Decision(skipped, skipped.outcome))
            decisions += self._release(self._track(skipped, now), now)
        for track_id in frame.ended:
            decisions += self._end(track_id, now)
        if self._tracks and (len(self._tracks) > MAX_TRACKS or not frame.frame.seq % 256):
            decisions += self._expire_tracks(now)
        for track_id, track in list(self._held.items()):
            if self._clock - track.held_since_s > FEEDBACK_TIMEOUT_S:
                decisions += self._release_held(track_id)
        return decisions

    def finish(self, now: float) -> list[Decision]:
        """End every track, at the end of the camera."""
        return [decision for track_id in list(self._tracks) for decision in self._end(track_id, now)]

    def _track(self, face: ScoredFace | SkippedFace, now: float) -> _Track:
        track = self._tracks.get(face.track_id)
        if track is None:
            s = self._settings
            track = self._tracks[face.track_id] = _Track(
                now, now, BestShots(s.top_k, s.min_gap_s, s.min_yaw_gap_deg)
            )
        track.faces += 1
        track.last_s = now
        return track

    def _rejection(self, track: _Track, face: ScoredFace, primary: int | None) -> Outcome | None:
        if track.conclusive:
            return Outcome.SUPERSEDED
        s = self._settings
        refused = s.limits.rejection(face.face.detection, face.face.frame)
        if refused is not None:
            return refused
        if self._primary is not None and face.track_id != primary:
            return Outcome.NOT_PRIMARY
        gray = is_gray(face.face.crop)
        track.modes.add(gray)
        recall = self._recall_of(gray=gray)
        fixed = s.min_quality if s.gray_min_quality is None or not gray else s.gray_min_quality
        threshold = fixed if recall is None else recall.threshold_for(face.track_id)
        track.is_open = self._hysteresis.admits(track.is_open, face.quality, threshold)
        if not track.is_open:
            return Outcome.BELOW_THRESHOLD
        return Outcome.SUPERSEDED if face.rank[0] < self._improvement_floor(track) else None

    def _improvement_floor(self, track: _Track) -> float:
        """Minimum rank for another shot of the track."""
        if track.sent_rank is None or self._settings.mode == "interval":
            return 0
        return track.sent_rank + self._settings.improve_margin

    def _reject(self, face: ScoredFace, outcome: Outcome) -> Decision:
        if self._shadow.selects(face.face):
            return Decision(face, Outcome.SHADOW, self._shot(face, 0, Reason.SHADOW))
        return Decision(face, outcome)

    def _release(self, track: _Track, now: float) -> list[Decision]:
        """Send the best face of a live track if it is due."""
        s = self._settings
        if track.faces < s.min_track_faces or track.sent >= s.max_shots:
            return []
        if self._budget is not None and not self._budget.has_left(now):
            return []  # it may still be sent when the minute is over, or when the track ends
        if not track.best.kept:
            return self._follow_up_live(track, now)
        best = track.best.kept[0]
        reason: Reason | None = None
        if track.inconclusive and not track.awaiting and track.sent <= s.max_followups:
            reason = Reason.FOLLOW_UP  # better by the margin than the inconclusive shot
        elif s.mode == "early" and track.sent_rank is not None:
            reason = Reason.IMPROVED
        elif s.mode == "early" and best.quality >= s.good_enough:
            reason = Reason.GOOD_ENOUGH
        elif s.mode == "interval" and (track.sent_rank is None or now - track.sent_s >= s.interval_s):
            reason = Reason.INTERVAL
        elif track.sent_rank is None and now - track.first_s >= s.max_wait_s:
            reason = Reason.MAX_WAIT
        if reason is None:
            return []
        track.best.kept.pop(0)
        decisions = [self._send(track, best, reason, now)]
        floor = self._improvement_floor(track)
        below = [face for face in track.best.kept if face.rank[0] < floor]
        track.best.kept = [face for face in track.best.kept if face.rank[0] >= floor]
        return decisions + [decision for face in below for decision in self._reserve(track, face)]

    def _reserve(self, track: _Track, face: ScoredFace) -> list[Decision]:
        """Keep a face in reserve if follow-ups are possible."""
        dropped = track.reserves.add(face) if self._feedback_expected and not track.conclusive else [face]
        return [Decision(other, Outcome.SUPERSEDED) for other in dropped]

    def _drop_reserves(self, track: _Track) -> list[Decision]:
        for shot_id in track.awaiting:
            self._shots.pop(shot_id, None)
        return [Decision(face, Outcome.SUPERSEDED) for face in track.reserves.clear()]

    def _follow_up_live(self, track: _Track, now: float) -> list[Decision]:
        """Send a follow-up of a live track, keeping one for its end."""
        s = self._settings
        if not track.inconclusive or track.awaiting or now < track.follow_up_due_s or track.sent >= s.max_followups:
            return []
        face = track.reserves.take_best()
        return [] if face is None else [self._send(track, face, Reason.FOLLOW_UP, now)]

    def _follow_up_ended(self, track_id: int, track: _Track) -> list[Decision]:
        """Send a follow-up of an ended track, or release it."""
        s = self._settings
        if track.awaiting:
            return []
        left = track.sent <= s.max_followups and track.sent < s.max_shots
        if track.inconclusive and left and (self._budget is None or self._budget.has_left(self._now)):
            face = track.reserves.take_best()
            if face is not None:
                track.held_since_s = self._clock
                return [self._send(track, face, Reason.FOLLOW_UP, self._now)]
        return self._release_held(track_id)

    def _end(self, track_id: int, now: float) -> list[Decision]:
        track = self._tracks.pop(track_id, None)
        if track is None:
            return []
        decisions = []
        kept, track.best.kept = track.best.kept, []
        for face in kept:
            if track.faces < self._settings.min_track_faces:
                decisions.append(Decision(face, Outcome.SHORT_TRACK))
            elif track.sent >= self._settings.max_shots:
                decisions.append(Decision(face, Outcome.SUPERSEDED))
            else:
                decisions.append(self._send(track, face, Reason.TRACK_ENDED, now))
        if not self._feedback_expected or not (track.awaiting or track.inconclusive):
            self._learn_from(track_id, track)
            return decisions + self._drop_reserves(track)
        track.held_since_s = self._clock
        self._held[track_id] = track
        return decisions + self._follow_up_ended(track_id, track)

    def _release_held(self, track_id: int) -> list[Decision]:
        track = self._held.pop(track_id)
        self._learn_from(track_id, track)
        return self._drop_reserves(track)

    def _learn_from(self, track_id: int, track: _Track) -> None:
        """Learn from a finished track; one that saw a switch between day and night tells about neither."""
        recall = self._recall_of(gray=True in track.modes)
        if recall is not None and track.named and len(track.modes) < 2 and recall.is_explored(track_id):
            recall.on_named_visit(track.best_quality)

    def _recall_of(self, *, gray: bool) -> RecallThreshold | None:
        return self.gray_recall if gray else self.recall

    def _send(self, track: _Track, face: ScoredFace, reason: Reason, now: float) -> Decision:
        """Send a face unless a policy holds it back."""
        track.sent_rank = max(face.rank[0], track.sent_rank or 0.0)
        track.sent_s = now
        clock = face.face.frame.received_s
        # A track's own shots do not hold back its further ones.
        if not track.sent and self._recent is not None and self._recent.contains(face, now):
            return Decision(face, Outcome.COOLDOWN)
        if not track.sent and self._group is not None and self._group.contains(face, clock):
            return Decision(face, Outcome.DUPLICATE)
        if self._budget is not None:
            if not self._budget.has_left(now):
                return Decision(face, Outcome.OVER_BUDGET)
            self._budget.spend(now)
        track.sent += 1
        for people, at in ((self._recent, now), (self._group, clock)):
            if people is not None:
                people.add(face, at)
        if self._settings.dry_run:
            return Decision(face, Outcome.DRY_RUN)
        shot = self._shot(face, track.sent, reason)
        if self._feedback_expected:
            track.inconclusive = False
            track.awaiting.add(shot.shot_id)
            self._shots[shot.shot_id] = (face.track_id, face.quality, is_gray(face.face.crop))
            track.reserves.record_sent(face)
        return Decision(face, Outcome.FORWARDED, shot)

    def _expire_tracks(self, now: float) -> list[Decision]:
        """End stale tracks, and the oldest beyond ``MAX_TRACKS``."""
        stale = [track_id for track_id, track in self._tracks.items() if now - track.last_s > TRACK_TIMEOUT_S]
        beyond = len(self._tracks) - len(stale) - MAX_TRACKS
        if beyond > 0:
            fresh: Iterable[int] = (track_id for track_id in self._tracks if track_id not in stale)
            stale += sorted(fresh, key=lambda track_id: self._tracks[track_id].last_s)[:beyond]
        return [decision for track_id in stale for decision in self._end(track_id, now)]

    def _shot(self, face: ScoredFace, rank: int, reason: Reason) -> Shot:
        return Shot(
            shot_id=make_shot_id(self._run_id, self._camera, face.track_id, face.face.face_id),
            run_id=self._run_id,
            camera=self._camera,
            track_id=face.track_id,
            rank=rank,
            reason=reason,
            scored=face,
            quality_info=self._info,
        )
