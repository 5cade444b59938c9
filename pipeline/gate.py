"""The gate: which faces of a track are let through. Pure logic, time as an argument, no I/O.

Policy: a face below the quality threshold is dropped at once. Of the rest, each track keeps its best so far and
sends it when the track ends, or after ``max_wait_s`` when somebody stays. After a shot was sent, only a face better
by ``improve_margin`` is worth another.
"""

from __future__ import annotations

import msgspec

from facegate.pipeline.records import (
    Outcome,
    QualityInfo,
    Reason,
    ScoredFace,
    ScoredFrame,
    Shot,
    make_shot_id,
)


class GateSettings(msgspec.Struct, frozen=True):
    """Settings of one camera's gate."""

    min_quality: int
    max_wait_s: float
    improve_margin: int


class Decision(msgspec.Struct, frozen=True, eq=False):
    """The fate of one face; ``shot`` is set when it is forwarded."""

    face: ScoredFace
    outcome: Outcome
    shot: Shot | None = None


class _TrackState(msgspec.Struct):
    first_s: float
    best: ScoredFace | None = None
    sent_quality: int | None = None
    sent: int = 0


class BestShotGate:
    """Best shot per track for one camera."""

    def __init__(self, run_id: str, camera: str, settings: GateSettings, quality_info: QualityInfo) -> None:
        self._run_id = run_id
        self._camera = camera
        self._settings = settings
        self._info = quality_info
        self._tracks: dict[int, _TrackState] = {}

    def step(self, frame: ScoredFrame) -> list[Decision]:
        """Take one scored frame; return the faces whose fate is now known (one face per track may stay open)."""
        decisions: list[Decision] = []
        now = frame.frame.pts_s
        for face in frame.faces:
            state = self._tracks.setdefault(face.track_id, _TrackState(first_s=now))
            decisions += self._consider(state, face)
            if state.best is not None and state.sent == 0 and now - state.first_s >= self._settings.max_wait_s:
                decisions += self._send(state, Reason.MAX_WAIT)
        for track_id in frame.ended:
            ended = self._tracks.pop(track_id, None)
            if ended is not None:
                decisions += self._send(ended, Reason.TRACK_ENDED)
        return decisions

    def _consider(self, state: _TrackState, face: ScoredFace) -> list[Decision]:
        if face.left_early:
            return [Decision(face, Outcome.EARLY_EXIT)]
        if face.quality < self._settings.min_quality:
            return [Decision(face, Outcome.BELOW_THRESHOLD)]
        if state.sent_quality is not None and face.quality < state.sent_quality + self._settings.improve_margin:
            return [Decision(face, Outcome.SUPERSEDED)]
        rival = state.best
        # The raw score breaks ties between equal integers, so "best" does not depend on rounding.
        if rival is not None and (face.quality, face.raw) <= (rival.quality, rival.raw):
            return [Decision(face, Outcome.SUPERSEDED)]
        state.best = face
        return [] if rival is None else [Decision(rival, Outcome.SUPERSEDED)]

    def _send(self, state: _TrackState, reason: Reason) -> list[Decision]:
        best = state.best
        if best is None:
            return []
        state.best, state.sent_quality = None, best.quality
        state.sent += 1
        shot = Shot(
            shot_id=make_shot_id(self._run_id, self._camera, best.track_id, best.face.face_id),
            run_id=self._run_id,
            camera=self._camera,
            track_id=best.track_id,
            rank=state.sent,
            reason=reason,
            scored=best,
            quality_info=self._info,
        )
        return [Decision(best, Outcome.FORWARDED, shot)]
