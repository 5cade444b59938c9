"""The gate of one camera: combines the policies, and gives every face its one fate.

Of the faces that pass limits and threshold, each track keeps its best so far. When one is sent:

- ``end``: when the track ends;
- ``early``: at once when it is good enough, then again only when better by the margin;
- ``interval``: the best of every so many seconds, the first one at once;

and in every mode after ``max_wait_s`` when nothing of the track was sent yet. What is to be sent may still be held
back: too short a track, a person who was sent recently, the minute's budget.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from facegate.pipeline.gating.limits import FaceLimits
from facegate.pipeline.gating.policies import BestShots, Budget, PrimaryFace, RecentPeople, ShadowSample
from facegate.pipeline.gating.threshold import Hysteresis, OnlineThreshold
from facegate.pipeline.records import (
    Outcome,
    QualityInfo,
    Reason,
    ScoredFace,
    ScoredFrame,
    Shot,
    SkippedFace,
    make_shot_id,
)

Mode = Literal["end", "early", "interval"]
MOST_TRACKS = 1000
"""Tracks of one camera at once; beyond, the one not seen for longest ends."""
UNSEEN_S = 600.0
"""A track not seen for this long ends, whatever the tracker says."""


class GateSettings(msgspec.Struct, frozen=True):
    """Settings of one camera's gate."""

    min_quality: int = 3
    hysteresis: int = 0
    mode: Mode = "end"
    good_enough: int = 60
    improve_margin: int = 10
    every_s: float = 5.0
    max_wait_s: float = 5.0
    top_k: int = 1
    apart_s: float = 1.0
    apart_deg: float = 15.0
    max_shots: int = 20
    min_track_faces: int = 1
    limits: FaceLimits = FaceLimits()
    primary_px: float | None = None
    """Only the largest face counts, if it is at least this wide; ``None`` lets all count."""
    per_minute: int | None = None
    shadow: float = 0.0
    dry_run: bool = False


class Decision(msgspec.Struct, frozen=True, eq=False):
    """The fate of one face; ``shot`` is set when it leaves."""

    face: ScoredFace | SkippedFace
    outcome: Outcome
    shot: Shot | None = None


class _Track(msgspec.Struct):
    first_s: float
    last_s: float
    best: BestShots
    faces: int = 0
    open: bool = False
    sent_quality: int | None = None
    """Best quality that was sent, or would have been but for a policy that held it back."""
    sent_s: float = 0.0
    sent: int = 0


class Gate:
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
        online: OnlineThreshold | None = None,
    ) -> None:
        self._run_id, self._camera, self._info = run_id, camera, quality_info
        self._settings = settings
        self._recent, self._group, self.online = recent, group, online
        self._hysteresis = Hysteresis(settings.hysteresis)
        self._primary = None if settings.primary_px is None else PrimaryFace(settings.primary_px)
        self._budget = None if settings.per_minute is None else Budget(settings.per_minute)
        self._shadow = ShadowSample(settings.shadow, run_id)
        self._tracks: dict[int, _Track] = {}

    def step(self, frame: ScoredFrame) -> list[Decision]:
        """Take one scored frame; return the faces whose fate is now known (the best of a track may stay open)."""
        decisions: list[Decision] = []
        now = frame.frame.pts_s
        primary = None if self._primary is None else self._primary.of((*frame.faces, *frame.skipped))
        for face in frame.faces:
            track = self._track(face, now)
            refused = self._refuse(track, face, primary)
            if refused is None:
                decisions += [Decision(lost, Outcome.SUPERSEDED) for lost in track.best.add(face)]
            else:
                decisions.append(self._rejected(face, refused))
            if track.best.kept:
                decisions += self._release(track, now)
        for skipped in frame.skipped:
            decisions.append(Decision(skipped, skipped.outcome))
            track = self._track(skipped, now)
            if track.best.kept:
                decisions += self._release(track, now)
        for track_id in frame.ended:
            decisions += self._end(track_id, now)
        if self._tracks and (len(self._tracks) > MOST_TRACKS or not frame.frame.seq % 256):
            decisions += self._clear_out(now)
        return decisions

    def finish(self, now: float) -> list[Decision]:
        """End every track, at the end of the camera."""
        return [decision for track_id in list(self._tracks) for decision in self._end(track_id, now)]

    def _track(self, face: ScoredFace | SkippedFace, now: float) -> _Track:
        track = self._tracks.get(face.track_id)
        if track is None:
            s = self._settings
            track = self._tracks[face.track_id] = _Track(now, now, BestShots(s.top_k, s.apart_s, s.apart_deg))
        track.faces += 1
        track.last_s = now
        return track

    def _refuse(self, track: _Track, face: ScoredFace, primary: int | None) -> Outcome | None:
        if face.left_early:
            return Outcome.EARLY_EXIT
        s = self._settings
        refused = s.limits.refuse(face.face.detection, face.face.frame)
        if refused is not None:
            return refused
        if self._primary is not None and face.track_id != primary:
            return Outcome.NOT_PRIMARY
        threshold = s.min_quality
        if self.online is not None:
            self.online.observe(face.quality)
            threshold = self.online.threshold
        track.open = self._hysteresis.admits(track.open, face.quality, threshold)
        if not track.open:
            return Outcome.BELOW_THRESHOLD
        return Outcome.SUPERSEDED if face.quality < self._floor(track) else None

    def _floor(self, track: _Track) -> int:
        """What a face needs to be worth another shot of its track."""
        if track.sent_quality is None or self._settings.mode == "interval":
            return 0
        return track.sent_quality + self._settings.improve_margin

    def _rejected(self, face: ScoredFace, outcome: Outcome) -> Decision:
        if outcome is not Outcome.SUPERSEDED and not face.left_early and self._shadow.takes(face.face):
            return Decision(face, Outcome.SHADOW, self._shot(face, 0, Reason.SHADOW))
        return Decision(face, outcome)

    def _release(self, track: _Track, now: float) -> list[Decision]:
        """Send the best of a track that goes on, if it is time."""
        s = self._settings
        if track.faces < s.min_track_faces or track.sent >= s.max_shots:
            return []
        if self._budget is not None and not self._budget.left(now):
            return []  # it may still go when the minute is over, or as the track ends
        best = track.best.kept[0]
        reason: Reason | None = None
        if s.mode == "early" and track.sent_quality is not None:
            reason = Reason.IMPROVED
        elif s.mode == "early" and best.quality >= s.good_enough:
            reason = Reason.GOOD_ENOUGH
        elif s.mode == "interval" and (track.sent_quality is None or now - track.sent_s >= s.every_s):
            reason = Reason.INTERVAL
        elif track.sent_quality is None and now - track.first_s >= s.max_wait_s:
            reason = Reason.MAX_WAIT
        if reason is None:
            return []
        track.best.kept.pop(0)
        decisions = [self._send(track, best, reason, now)]
        floor = self._floor(track)
        decisions += [Decision(face, Outcome.SUPERSEDED) for face in track.best.kept if face.quality < floor]
        track.best.kept = [face for face in track.best.kept if face.quality >= floor]
        return decisions

    def _end(self, track_id: int, now: float) -> list[Decision]:
        track = self._tracks.pop(track_id, None)
        if track is None:
            return []
        decisions = []
        for face in track.best.kept:
            if track.faces < self._settings.min_track_faces:
                decisions.append(Decision(face, Outcome.SHORT_TRACK))
            elif track.sent >= self._settings.max_shots:
                decisions.append(Decision(face, Outcome.SUPERSEDED))
            else:
                decisions.append(self._send(track, face, Reason.TRACK_ENDED, now))
        return decisions

    def _send(self, track: _Track, face: ScoredFace, reason: Reason, now: float) -> Decision:
        """Send a face, unless somebody or something holds it back."""
        track.sent_quality = max(face.quality, track.sent_quality or 0)
        track.sent_s = now
        clock = face.face.frame.received_s
        # What a track has sent itself does not hold back its further shots.
        if not track.sent and self._recent is not None and self._recent.holds(face, now):
            return Decision(face, Outcome.COOLDOWN)
        if not track.sent and self._group is not None and self._group.holds(face, clock):
            return Decision(face, Outcome.DUPLICATE)
        if self._budget is not None:
            if not self._budget.left(now):
                return Decision(face, Outcome.OVER_BUDGET)
            self._budget.spend(now)
        track.sent += 1
        for people, at in ((self._recent, now), (self._group, clock)):
            if people is not None:
                people.add(face, at)
        if self._settings.dry_run:
            return Decision(face, Outcome.DRY_RUN)
        return Decision(face, Outcome.FORWARDED, self._shot(face, track.sent, reason))

    def _clear_out(self, now: float) -> list[Decision]:
        """End tracks that the tracker has forgotten to end, and the oldest beyond the bound."""
        stale = [track_id for track_id, track in self._tracks.items() if now - track.last_s > UNSEEN_S]
        beyond = len(self._tracks) - len(stale) - MOST_TRACKS
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
