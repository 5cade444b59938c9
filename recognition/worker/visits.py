"""One name per visit: the shots of a track, put together into one decision that only strengthens. Pure logic.

The embeddings of a visit's shots are averaged, weighted by quality, and matched again with each shot, so an early
shot gives a name at once and later ones confirm it. A name once given stays unless another fits better than it ever
did, or the gallery changes: then the visit is matched again with all that is known of it.

A visit lives as long as its track: the gate reports every second which tracks live. Silence ends it only where the
gate itself is silent. What has ended is remembered, so that a late shot does not tell the visit a second time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

import msgspec
import numpy as np

from facegate.pipeline.records import Floats
from facegate.recognition.embedders import unit
from facegate.recognition.matching.gallery import DecisionRule, Gallery, Match, quality_weight
from facegate.recognition.worker.visit import Kind, VisitEvent, VisitKey, VisitState, event_of, pack, unpack
from facegate.sinks.wire import LiveTracksMessage, ShotHeader, TrackEnded

__all__ = ["VisitEvent", "VisitKey", "Visits", "visit_key"]

VISIT_TIMEOUT_S = 30.0
"""A visit ends after this long without a shot where the gate does not report live tracks (before wire 1.6)."""
SILENT_S = 15.0
"""A visit ends after this long without a report of live tracks from a gate that sends them."""
RESUME_S = 8.0
"""A visit of an earlier process ends after this long, unless its gate reports that its track lives."""
LATE_SHOT_GRACE_S = 1.0
"""A shot may come this much later than the news that its track has ended."""
BEHIND_S = 3.0
"""A shot of a run that is over (it waited in a spool) may be followed by others within this time."""
LINGER_S = 600.0
"""A visit that ended because its gate was silent goes on if its track is heard of again within this time."""
MAX_OPEN = 10_000
MAX_ENDED = 10_000
MAX_RUNS = 1000
MAX_RECENT = 64
"""Shot ids remembered per visit, to tell a second delivery from another shot."""
MAX_REMATCHED = 500
"""Visits matched again at a time when the gallery has changed."""
GOOD_QUALITY = 30
"""From which a face that is like nobody enrolled is believed to be nobody's."""


def visit_key(header: ShotHeader | TrackEnded) -> VisitKey:
    """Which visit something belongs to."""
    return (header.run_id, header.camera, header.track_id)


class _Open(msgspec.Struct, eq=False):
    state: VisitState
    due: float
    """Monotonic time at which it is over unless something more comes."""
    gallery: Gallery | None
    """What it was matched with."""
    ending: bool = False
    """The gate does not list its track any more."""


class _Run(msgspec.Struct, eq=False):
    """What is known of a gate's run."""

    heard: float | None = None
    """When it last reported its live tracks."""
    live: dict[str, frozenset[int]] = {}
    over: bool = False


class Visits:
    """All visits of which a worker has shots."""

    def __init__(self, gallery: Callable[[], Gallery], rule: DecisionRule) -> None:
        """Take what to compare with (it may change), and who is named."""
        self._gallery = gallery
        self._rule = rule
        self._open: OrderedDict[VisitKey, _Open] = OrderedDict()
        self._ended: OrderedDict[VisitKey, VisitState] = OrderedDict()
        self._runs: OrderedDict[str, _Run] = OrderedDict()
        self._matched: Gallery | None = gallery()
        """What all visits were matched with when this was last complete."""
        self._touched: dict[VisitKey, None] = {}
        self._lingering: dict[VisitKey, float] = {}
        """Ended visits whose tracks may live, and since when."""

    def shot(self, header: ShotHeader, embedding: Floats, alone: Match, now: float) -> list[VisitEvent]:
        """Take a shot at a monotonic time; return what is new.

        Args:
            header: of the shot.
            embedding: ``(D,)`` of unit length.
            alone: its match by itself.
            now: monotonic seconds.
        """
        key = visit_key(header)
        visit = self._open.get(key)
        if visit is not None:
            self._open.move_to_end(key)
            return self._add(visit, header, embedding, alone, now)
        known = self._ended.get(key)
        if known is not None:
            return self._late(known, header, embedding, alone, now)
        state = VisitState(
            *key, header.pts_s, header.pts_s, header.received_at, alone,
            pack(embedding * quality_weight(np.array(header.quality.value))), pack(embedding),
            header.quality.value, 1, [header.shot_id],
        )  # fmt: skip
        self._open[key] = _Open(state, now + self._patience_s(key[0]), self._gallery())
        self._touched[key] = None
        events = [event_of("seen", state, str(state.opening))]
        if alone.name is not None:
            events.append(event_of("named", state, header.shot_id))
        return events + self._evict()

    def _add(
        self, visit: _Open, header: ShotHeader, embedding: Floats, alone: Match, now: float
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
        if not visit.ending:
            visit.due = now + self._patience_s(state.run_id)
        else:
            visit.due = max(visit.due, now + LATE_SHOT_GRACE_S)
        # What the shot says by itself counts too: the mean of good and bad shots may be worse than the good one.
        together = self._gallery().match(unit(total), self._rule)
        before = state.best
        state.best = max(before, alone, together, key=_fit)
        if state.best is alone or not state.single:
            state.single = pack(embedding)
        self._touched[state.key] = None
        if state.best.name == before.name:
            return events
        kind: Kind = "named" if before.name is None else "changed"
        return [*events, event_of(kind, state, header.shot_id, before.name)]

    def _late(
        self, state: VisitState, header: ShotHeader, embedding: Floats, alone: Match, now: float
    ) -> list[VisitEvent]:
        """A shot of a visit that was told as ended."""
        if header.shot_id in state.recent:
            return []
        run = self._runs.get(state.run_id)
        if not state.over and (run is None or not run.over) and self._lives(state.key, now) is not False:
            events, visit = self._reopen(state, now), self._open.get(state.key)
            return events if visit is None else events + self._add(visit, header, embedding, alone, now)
        state.recent = [*state.recent[1 - MAX_RECENT :], header.shot_id]
        state.shots += 1
        state.last_pts_s = max(state.last_pts_s, header.pts_s)
        self._touched[state.key] = None
        if state.best.name is not None or alone.name is None or state.removed:
            return []
        # Nobody is there any more, but who it was is worth telling.
        state.best, state.opening = alone, state.opening + 1
        return [event_of("named", state, header.shot_id), event_of("ended", state, str(state.opening))]

    def status(self, header: ShotHeader) -> tuple[bool, bool]:
        """Whether the visit of a shot has a name, and whether more shots would hardly change that."""
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
        """The gate reports which tracks live: visits of other tracks are over, and silence ends none of these."""
        run = self._run(live.run_id)
        run.heard, run.over = now, False
        cameras = {camera: frozenset(ids) for camera, ids in live.cameras.items()}
        run.live = {**run.live, **cameras}
        for (run_id, camera, track_id), visit in self._open.items():
            if run_id != live.run_id or camera not in cameras or visit.state.over:
                continue
            visit.ending = track_id not in cameras[camera]
            visit.due = min(visit.due, now + LATE_SHOT_GRACE_S) if visit.ending else now + SILENT_S
        # Told as ended while the gate could not be heard, and still there.
        back = [
            (run_id, camera, track_id)
            for run_id, camera, track_id in self._lingering
            if run_id == live.run_id and track_id in cameras.get(camera, ())
        ]
        return [event for key in back for event in self._reopen(self._ended[key], now)]

    def ended(self, end: TrackEnded, now: float) -> None:
        """The gate says that a track is over."""
        key = visit_key(end)
        visit = self._open.get(key)
        if visit is not None:
            visit.due, visit.ending, visit.state.over = now + LATE_SHOT_GRACE_S, True, True
        elif (state := self._ended.get(key)) is not None and not state.over:
            self._forget_face(state)

    def run_over(self, run_id: str, now: float) -> None:
        """A run has ended, or another one has taken its place."""
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
        """Match visits again where the gallery has changed, and end the visits that are over."""
        for key in [key for key, since in self._lingering.items() if now - since > LINGER_S]:
            self._forget_face(self._ended[key])
        events = self.rematch()
        for key in [key for key, visit in self._open.items() if visit.due <= now]:
            events += self._end(key, now, over=self._open[key].ending)
        return events

    def rematch(self) -> list[VisitEvent]:
        """Match some of the visits again if the gallery has changed; return what is new."""
        gallery = self._gallery()
        if gallery is self._matched:
            return []
        names = frozenset(gallery.names)
        for key, state in self._ended.items():
            if state.best.name is not None and state.best.name not in names:
                state.best = msgspec.structs.replace(state.best, name=None)
                state.removed = True
                self._touched[key] = None
        stale = [visit for visit in self._open.values() if visit.gallery is not gallery]
        if len(stale) <= MAX_REMATCHED:
            self._matched = gallery
        return [event for visit in stale[:MAX_REMATCHED] for event in self._rematch(visit)]

    def finish(self, now: float = 0.0) -> list[VisitEvent]:
        """End all visits; those whose tracks live go on if this worker is started again in time."""
        return [event for key in list(self._open) for event in self._end(key, now, over=self._open[key].ending)]

    def resume(self, opened: Iterable[VisitState], ended: Iterable[VisitState], now: float) -> None:
        """Go on with what an earlier process knew; names are matched again before anything is told."""
        self._open.update((state.key, _Open(state, now + RESUME_S, None)) for state in opened)
        self._ended.update((state.key, state) for state in ended)
        self._lingering.update((key, now) for key, state in self._ended.items() if not state.over)
        self._matched = None

    def present(self) -> list[VisitEvent]:
        """The open visits as they are: an event for each."""
        return [
            event_of("seen" if visit.state.best.name is None else "named", visit.state, "")
            for visit in self._open.values()
        ]

    def face_is_wanted(self, key: VisitKey) -> bool:
        """Whether the face of an ended visit without a name may be kept."""
        state = self._ended.get(key)
        return state is None or not state.removed

    def is_open(self, key: VisitKey) -> bool:
        """Whether a visit has begun and not ended."""
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

    def _run(self, run_id: str) -> _Run:
        run = self._runs.setdefault(run_id, _Run())
        self._runs.move_to_end(run_id)
        if len(self._runs) > MAX_RUNS:
            self._runs.popitem(last=False)
        return run

    def _lives(self, key: VisitKey, now: float) -> bool | None:
        """Whether the gate lists a track as live; ``None`` where it does not say."""
        run = self._runs.get(key[0])
        if run is None or run.heard is None or now - run.heard > SILENT_S:
            return None
        return key[2] in run.live.get(key[1], ())

    def _patience_s(self, run_id: str) -> float:
        run = self._runs.get(run_id)
        if run is None or (run.heard is None and not run.over):
            return VISIT_TIMEOUT_S
        return BEHIND_S if run.over else SILENT_S

    def _rematch(self, visit: _Open) -> list[VisitEvent]:
        """Decide again where the gallery has changed."""
        gallery, state, before = self._gallery(), visit.state, visit.state.best
        if visit.gallery is gallery:
            return []
        visit.gallery = gallery
        vectors = [unit(unpack(state.sum)), unpack(state.single)]
        length = gallery.templates.shape[1]
        if gallery.names and any(len(vector) != length for vector in vectors):  # of another recognizer
            vectors = []
        found = [gallery.match(vector, self._rule) for vector in vectors]
        if not found:
            stays = before.name in gallery.names
            found = [before if stays else msgspec.structs.replace(before, name=None)]
        state.best = max(found, key=_fit)
        self._touched[state.key] = None
        if state.best.name == before.name:
            return []
        state.corrections += 1
        gone = before.name is not None and before.name not in gallery.names
        state.removed = state.best.name is None and (gone or state.removed)
        kind: Kind = "named" if before.name is None else "changed"
        # A name that was renamed or removed is not repeated.
        return [event_of(kind, state, f"gallery-{state.corrections}", None if gone else before.name)]

    def _reopen(self, state: VisitState, now: float) -> list[VisitEvent]:
        del self._ended[state.key]
        self._lingering.pop(state.key, None)
        state.opening += 1
        visit = _Open(state, now + self._patience_s(state.run_id), None)
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
        """The track is over: what could recognize the person is not kept."""
        state.over, state.sum, state.single = True, b"", b""
        self._lingering.pop(state.key, None)
        self._touched[state.key] = None


def _fit(match: Match) -> tuple[bool, float]:
    return (match.name is not None, match.score)
