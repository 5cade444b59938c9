"""Visits: the shots of a track combined into one decision. Pure logic.

The embeddings of a visit's shots are averaged, weighted by quality, and matched again with each shot, so that an
early shot gives a name at once and later ones confirm it. A name stays unless another one scores higher than it
ever did, or the gallery changes: then the visit is matched again.

A visit lasts as long as its track: the gate reports live tracks every second. It times out only if the gate itself
is silent. Ended visits are remembered, so that a late shot does not start a new one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

import msgspec
import numpy as np

from facegate.pipeline.records import Floats
from facegate.recognition.embedders import unit
from facegate.recognition.matching.decision_rule import DecisionRule
from facegate.recognition.matching.gallery import Gallery, Match, quality_weight
from facegate.recognition.worker.visit_state import (
    GateRunState,
    Kind,
    OpenVisit,
    Stranger,
    VisitEvent,
    VisitKey,
    VisitState,
    event_of,
    fit,
    pack,
    unpack,
    visit_key,
)
from facegate.sinks.wire import LiveTracksMessage, ShotHeader, TrackEnded

__all__ = ["VisitEvent", "VisitKey", "Visits", "visit_key"]

VISIT_TIMEOUT_S = 30.0
"""A visit ends after this long without a shot if the gate does not report live tracks (before wire 1.6)."""
SILENT_S = 15.0
"""A visit ends after this long without a report of live tracks from a gate that sends them."""
RESUME_S = 8.0
"""A visit of an earlier process ends after this long unless its track is reported as live."""
LATE_SHOT_GRACE_S = 1.0
"""A shot may arrive this long after the end of its track was reported."""
SPOOLED_SHOT_TIMEOUT_S = 3.0
"""A spooled shot of a run that is over may be followed by others within this time."""
LINGER_S = 600.0
"""A visit that ended because its gate was silent resumes if its track is reported again within this time."""
MAX_OPEN = 10_000
MAX_ENDED = 10_000
MAX_RUNS = 1000
MAX_RECENT = 64
"""Number of shot ids remembered per visit, to detect duplicates."""
MAX_REMATCHED = 500
"""Maximum number of visits matched again per round after a change of the gallery."""
GOOD_QUALITY = 30
"""Minimum quality from which a low score is conclusive."""


class Visits:
    """All visits of a worker."""

    def __init__(
        self,
        gallery: Callable[[], Gallery],
        rule: DecisionRule,
        identify: Callable[[VisitState], Stranger | None] = lambda state: None,
        min_shots: int = 1,
    ) -> None:
        """Create.

        Args:
            gallery: returns the current gallery.
            rule: the decision rule.
            identify: returns the unknown visitor of a visit with a new shot.
            min_shots: number of shots that must agree on a name.
        """
        self._min_shots = min_shots
        self._identify = identify
        self._gallery = gallery
        self._rule = rule
        self._open: OrderedDict[VisitKey, OpenVisit] = OrderedDict()
        self._ended: OrderedDict[VisitKey, VisitState] = OrderedDict()
        self._runs: OrderedDict[str, GateRunState] = OrderedDict()
        self._matched: Gallery | None = gallery()
        """Gallery that all visits have been matched with."""
        self._touched: dict[VisitKey, None] = {}
        self._lingering: dict[VisitKey, float] = {}
        """Ended visits whose tracks may still live, and since when."""

    def shot(self, header: ShotHeader, embedding: Floats, alone: Match, now: float) -> list[VisitEvent]:
        """Add a shot; return the events.

        Args:
            header: header of the shot.
            embedding: ``(D,)`` of unit length.
            alone: match of this shot alone.
            now: monotonic time, s.
        """
        key = visit_key(header)
        visit = self._open.get(key)
        if visit is not None:
            self._open.move_to_end(key)
            return self._add(visit, header, embedding, alone, now)
        if (known := self._ended.get(key)) is not None:
            return self._late(known, header, embedding, alone, now)
        state = VisitState(
            *key, header.pts_s, header.pts_s, header.received_at, alone,
            pack(embedding * quality_weight(np.array(header.quality.value))), pack(embedding),
            header.quality.value, 1, [header.shot_id],
        )  # fmt: skip
        state.best = state.vote(alone, self._min_shots)
        self._open[key] = OpenVisit(state, now + self._timeout_s(key[0]), self._gallery())
        self._touched[key] = None
        state.stranger = self._identify(state)
        events = [event_of("seen", state, str(state.opening))]
        if state.best.name is not None:
            events.append(event_of("named", state, header.shot_id))
        return events + self._evict()

    def _add(
        self, visit: OpenVisit, header: ShotHeader, embedding: Floats, alone: Match, now: float
    ) -> list[VisitEvent]:
        state = visit.state
        if header.shot_id in state.recent:
            return []
        events = self._rematch(visit)
        weighted = embedding * quality_weight(np.array(header.quality.value))
        total = unpack(state.sum) + weighted if len(state.sum) == weighted.nbytes else weighted
        state.sum = pack(total)
        state.shots += 1
        state.recent = [*state.recent[1 - MAX_RECENT :], header.shot_id]
        state.last_pts_s = max(state.last_pts_s, header.pts_s)
        state.quality = max(state.quality, header.quality.value)
        late = max(visit.due, now + LATE_SHOT_GRACE_S)
        visit.due = late if visit.ending else now + self._timeout_s(state.run_id)
        if state.own is not None:
            self._touched[state.key] = None
            return events
        # The single match counts too: the mean of good and bad shots may be worse than the good one.
        alone, before = state.vote(alone, self._min_shots), state.best
        together = state.agreed(self._gallery().match(unit(total), self._rule), self._min_shots)
        state.best = max(before, alone, together, key=fit)
        if state.best is alone or not state.single:
            state.single = pack(embedding)
        self._touched[state.key] = None
        earlier, state.stranger = state.stranger, self._identify(state)
        if state.stranger is not None and state.stranger.seen_before and state.stranger != earlier:
            events.append(event_of("returned", state, header.shot_id))
        if state.best.name == before.name:
            return events
        kind: Kind = "named" if before.name is None else "changed"
        return [*events, event_of(kind, state, header.shot_id, before.name)]

    def _late(
        self, state: VisitState, header: ShotHeader, embedding: Floats, alone: Match, now: float
    ) -> list[VisitEvent]:
        """Handle a shot of a visit that has ended."""
        if header.shot_id in state.recent:
            return []
        run = self._runs.get(state.run_id)
        if not state.over and (run is None or not run.over) and self._is_live(state.key, now) is not False:
            events, visit = self._reopen(state, now), self._open.get(state.key)
            return events if visit is None else events + self._add(visit, header, embedding, alone, now)
        state.recent = [*state.recent[1 - MAX_RECENT :], header.shot_id]
        state.shots += 1
        state.last_pts_s = max(state.last_pts_s, header.pts_s)
        self._touched[state.key] = None
        alone = state.vote(alone, self._min_shots)
        if state.best.name is not None or alone.name is None or state.removed or state.own is not None:
            return []
        # The visit is over, but its name is still worth publishing.
        state.best, state.opening = alone, state.opening + 1
        return [event_of("named", state, header.shot_id), event_of("ended", state, str(state.opening))]

    def status(self, header: ShotHeader) -> tuple[bool, bool]:
        """Whether the visit of a shot has a name, and whether that is conclusive."""
        key = visit_key(header)
        visit = self._open.get(key)
        state = self._ended.get(key) if visit is None else visit.state
        if state is None:
            return False, False
        people = len(self._gallery().names)
        if state.best.name is not None:
            return True, self._rule.is_conclusive(state.best.score, people)
        return False, state.quality >= GOOD_QUALITY and self._rule.is_impostor(state.best.score, people)

    def live(self, live: LiveTracksMessage, now: float) -> list[VisitEvent]:
        """Handle a report of live tracks: visits of all other tracks of these cameras end."""
        run = self._run(live.run_id)
        run.last_report, run.over = now, False
        cameras = {camera: frozenset(ids) for camera, ids in live.cameras.items()}
        run.live = {**run.live, **cameras}
        for (run_id, camera, track_id), visit in self._open.items():
            if run_id != live.run_id or camera not in cameras or visit.state.over:
                continue
            visit.ending = track_id not in cameras[camera]
            visit.due = min(visit.due, now + LATE_SHOT_GRACE_S) if visit.ending else now + SILENT_S
        # Ended while the gate was silent, but still live.
        back = [
            (run_id, camera, track_id)
            for run_id, camera, track_id in self._lingering
            if run_id == live.run_id and track_id in cameras.get(camera, ())
        ]
        return [event for key in back for event in self._reopen(self._ended[key], now)]

    def ended(self, end: TrackEnded, now: float) -> None:
        """Handle the end of a track."""
        key = visit_key(end)
        visit = self._open.get(key)
        if visit is not None:
            visit.due, visit.ending, visit.state.over = now + LATE_SHOT_GRACE_S, True, True
        elif (state := self._ended.get(key)) is not None and not state.over:
            self._forget_face(state)

    def run_over(self, run_id: str, now: float) -> None:
        """Handle the end of a run, or its replacement by another."""
        run = self._run(run_id)
        if run.over:
            return
        run.over = True
        for key, visit in self._open.items():
            if key[0] == run_id and not visit.ending:
                visit.due, visit.ending, visit.state.over = min(visit.due, now + LATE_SHOT_GRACE_S), True, True
        for key in [key for key in self._lingering if key[0] == run_id]:
            self._forget_face(self._ended[key])

    def expire(self, now: float) -> list[VisitEvent]:
        """Match visits again after a change of the gallery, and end the visits that are over."""
        for key in [key for key, since in self._lingering.items() if now - since > LINGER_S]:
            self._forget_face(self._ended[key])
        events = self.rematch()
        for key in [key for key, visit in self._open.items() if visit.due <= now]:
            events += self._end(key, now, over=self._open[key].ending)
        return events

    def rematch(self) -> list[VisitEvent]:
        """Match up to ``MAX_REMATCHED`` visits again if the gallery has changed; return the events."""
        gallery = self._gallery()
        if gallery is self._matched:
            return []
        events = self._correct(gallery)
        names = frozenset(gallery.names)
        for key, state in self._ended.items():
            if state.own is None and state.best.name is not None and state.best.name not in names:
                state.best = msgspec.structs.replace(state.best, name=None)
                state.removed = True
                self._touched[key] = None
        stale = [visit for visit in self._open.values() if visit.gallery is not gallery]
        if len(stale) <= MAX_REMATCHED:
            self._matched = gallery
        return events + [event for visit in stale[:MAX_REMATCHED] for event in self._rematch(visit)]

    def _correct(self, gallery: Gallery) -> list[VisitEvent]:
        """Apply corrections that are new, and take those back that were undone; return the events."""
        events = []
        for state in [*(visit.state for visit in self._open.values()), *self._ended.values()]:
            before = state.best.name
            if state.visit in gallery.corrections:
                name = gallery.corrections[state.visit]
                if state.own is not None and name == before:
                    continue
                state.own = state.own or state.best
                state.best = msgspec.structs.replace(state.best, name=name)
            elif state.own is not None:
                stays = state.own.name in gallery.names
                state.best, state.own = state.own if stays else msgspec.structs.replace(state.own, name=None), None
            else:
                continue
            state.corrections += 1
            self._touched[state.key] = None
            if state.best.name != before:
                known = before if before in gallery.names else None
                events.append(event_of("changed", state, f"correction-{state.corrections}", known))
        return events

    def finish(self, now: float = 0.0) -> list[VisitEvent]:
        """End all visits; those with live tracks resume if the worker is restarted in time."""
        return [event for key in list(self._open) for event in self._end(key, now, over=self._open[key].ending)]

    def resume(self, opened: Iterable[VisitState], ended: Iterable[VisitState], now: float) -> None:
        """Resume the state of an earlier process; names are matched again before anything is published."""
        self._open.update((state.key, OpenVisit(state, now + RESUME_S, None)) for state in opened)
        self._ended.update((state.key, state) for state in ended)
        self._lingering.update((key, now) for key, state in self._ended.items() if not state.over)
        self._matched = None

    def present(self) -> list[VisitEvent]:
        """The open visits, one event each."""
        return [
            event_of("seen" if visit.state.best.name is None else "named", visit.state, "")
            for visit in self._open.values()
        ]

    def face_is_wanted(self, key: VisitKey) -> bool:
        """Whether the face of an ended visit without a name may be stored."""
        state = self._ended.get(key)
        return state is None or not state.removed

    def is_open(self, key: VisitKey) -> bool:
        """Whether a visit is open."""
        return key in self._open

    def touched(self) -> list[tuple[VisitState, bool]]:
        """Visits that have changed since the last call, each with whether it is open."""
        found = []
        for key in self._touched:
            visit = self._open.get(key)
            state = self._ended.get(key) if visit is None else visit.state
            if state is not None:
                found.append((state, visit is not None))
        self._touched = {}
        return found

    def _run(self, run_id: str) -> GateRunState:
        run = self._runs.setdefault(run_id, GateRunState())
        self._runs.move_to_end(run_id)
        if len(self._runs) > MAX_RUNS:
            self._runs.popitem(last=False)
        return run

    def _is_live(self, key: VisitKey, now: float) -> bool | None:
        """Whether the gate lists a track as live; ``None`` if unknown."""
        run = self._runs.get(key[0])
        if run is None or run.last_report is None or now - run.last_report > SILENT_S:
            return None
        return key[2] in run.live.get(key[1], ())

    def _timeout_s(self, run_id: str) -> float:
        run = self._runs.get(run_id)
        if run is None or (run.last_report is None and not run.over):
            return VISIT_TIMEOUT_S
        return SPOOLED_SHOT_TIMEOUT_S if run.over else SILENT_S

    def _rematch(self, visit: OpenVisit) -> list[VisitEvent]:
        """Match a visit again if the gallery has changed."""
        gallery, state, before = self._gallery(), visit.state, visit.state.best
        if visit.gallery is gallery:
            return []
        visit.gallery = gallery
        if state.own is not None:
            return []
        vectors = [unit(unpack(state.sum)), unpack(state.single)]
        length = gallery.templates.shape[1]
        if gallery.names and any(len(vector) != length for vector in vectors):  # of another model
            vectors = []
        found = [gallery.match(vector, self._rule) for vector in vectors]
        if not found:
            found = [before if before.name in gallery.names else msgspec.structs.replace(before, name=None)]
        state.best = max(found, key=fit)
        if before.name is None and (state.shots < self._min_shots or len({each.name for each in found}) > 1):
            state.best = state.agreed(state.best, self._min_shots)
        self._touched[state.key] = None
        if state.best.name == before.name:
            return []
        state.corrections += 1
        gone = before.name is not None and before.name not in gallery.names
        state.removed = state.best.name is None and (gone or state.removed)
        kind: Kind = "named" if before.name is None else "changed"
        # A renamed or removed name is not published again.
        return [event_of(kind, state, f"gallery-{state.corrections}", None if gone else before.name)]

    def _reopen(self, state: VisitState, now: float) -> list[VisitEvent]:
        del self._ended[state.key]
        self._lingering.pop(state.key, None)
        state.opening += 1
        visit = OpenVisit(state, now + self._timeout_s(state.run_id), None)
        self._open[state.key] = visit
        self._rematch(visit)
        self._touched[state.key] = None
        events = [event_of("seen", state, str(state.opening))]
        if state.best.name is not None:
            events.append(event_of("named", state, f"seen-{state.opening}"))
        return events + self._evict()

    def _evict(self) -> list[VisitEvent]:
        return self._end(next(iter(self._open)), 0.0, over=True) if len(self._open) > MAX_OPEN else []

    def _end(self, key: VisitKey, now: float, *, over: bool) -> list[VisitEvent]:
        visit = self._open[key]
        events = self._rematch(visit)
        del self._open[key]
        self._ended[key] = visit.state
        self._lingering[key] = now
        if over:
            self._forget_face(visit.state)
        self._touched[key] = None
        if len(self._ended) > MAX_ENDED:
            self._lingering.pop(self._ended.popitem(last=False)[0], None)
        return [*events, event_of("ended", visit.state, str(visit.state.opening))]

    def _forget_face(self, state: VisitState) -> None:
        """Delete the embeddings of an ended track."""
        state.over, state.sum, state.single = True, b"", b""
        self._lingering.pop(state.key, None)
        self._touched[state.key] = None
