"""One name per visit: the shots of a track, put together into one decision that only strengthens. Pure logic.

The embeddings of a visit's shots are averaged, weighted by quality, and matched anew with each shot, so an early
shot gives a name at once and later ones confirm it. A name once given stays unless another fits better than it ever
did; whoever was told the first is told of that.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

import msgspec
import numpy as np

from facegate.pipeline.records import Floats
from facegate.recognition.embedders import unit
from facegate.recognition.matching.gallery import Gallery, Match, Rule, weight
from facegate.sinks.wire import Ended, ShotHeader

IDLE_S = 30.0
"""A visit of which nothing comes for so long is over, whatever the gate says or does not."""
LATE_S = 1.0
"""A shot may come so much later than the news that its track has ended."""
MOST_OPEN = 10_000
GOOD_QUALITY = 30
"""From which a face that is like nobody enrolled is believed to be nobody's."""

VisitKey = tuple[str, str, int]
"""Run, camera, track."""


def visit_key(header: ShotHeader | Ended) -> VisitKey:
    """Which visit something belongs to."""
    return (header.run_id, header.camera, header.track_id)


class VisitEvent(msgspec.Struct, frozen=True):
    """Something that became known of a visit: a line of the worker's output."""

    event: Literal["seen", "named", "changed", "ended"]
    visit: str
    camera: str
    track_id: int
    name: str | None
    similarity: float
    margin: float
    """By how much the second person is less similar."""
    fpir: float | None
    """Probability that a stranger's visit gets so good a score; ``None`` where no rate is known."""
    shots: int
    first_pts_s: float
    last_pts_s: float
    """Media times of the first and last shot, seconds."""
    seen_at: float | None = None
    """Unix time (UTC) by the gate's clock when the first shot's frame came."""
    before: str | None = None
    """The name that ``changed`` takes back."""

    @property
    def key(self) -> VisitKey:
        """Which visit it belongs to."""
        run_id = self.visit.split("/", 1)[0]
        return (run_id, self.camera, self.track_id)


class _Visit(msgspec.Struct, eq=False):
    first: ShotHeader
    sum: Floats
    best: Match
    """The decision: the best match so far, by its score; one with a name before any without."""
    shots: int
    last_pts_s: float
    due: float
    """When it is over if nothing more comes."""
    quality: int
    """The best of its shots'."""


class Visits:
    """All visits of which a worker has shots."""

    def __init__(self, gallery: Callable[[], Gallery], rule: Rule) -> None:
        """Take what to compare with (it may change), and who is named."""
        self._gallery = gallery
        self._rule = rule
        self._open: OrderedDict[VisitKey, _Visit] = OrderedDict()

    def shot(self, header: ShotHeader, embedding: Floats, alone: Match, now: float) -> list[VisitEvent]:
        """Take a shot at a monotonic time; return what is new.

        Args:
            header: of the shot.
            embedding: ``(D,)`` of unit length.
            alone: its match by itself.
            now: monotonic seconds.
        """
        key = visit_key(header)
        weighted = embedding * weight(np.array(header.quality.value))
        visit = self._open.get(key)
        if visit is None:
            visit = _Visit(header, weighted, alone, 1, header.pts_s, now + IDLE_S, header.quality.value)
            self._open[key] = visit
            events = [_event("seen", visit)]
            if alone.name is not None:
                events.append(_event("named", visit))
            return events + self._make_room()
        self._open.move_to_end(key)
        visit.sum = visit.sum + weighted
        visit.shots, visit.due = visit.shots + 1, now + IDLE_S
        visit.last_pts_s = max(visit.last_pts_s, header.pts_s)
        visit.quality = max(visit.quality, header.quality.value)
        # What the shot says by itself counts too: the mean of good and bad shots may be worse than the good one.
        together = self._gallery().match(unit(visit.sum), self._rule)
        before = visit.best.name
        visit.best = max(visit.best, alone, together, key=lambda match: (match.name is not None, match.score))
        if visit.best.name == before:
            return []
        return [_event("named" if before is None else "changed", visit, before)]

    def standing(self, header: ShotHeader) -> tuple[bool, bool]:
        """Whether the visit of a shot has a name, and whether more shots would hardly change that."""
        visit = self._open.get(visit_key(header))
        if visit is None:
            return False, False
        people = len(self._gallery().names)
        if visit.best.name is not None:
            return True, self._rule.sure(visit.best.score, people)
        return False, visit.quality >= GOOD_QUALITY and self._rule.strange(visit.best.score, people)

    def ended(self, end: Ended, now: float) -> None:
        """The gate says that a track is over."""
        visit = self._open.get(visit_key(end))
        if visit is not None:
            visit.due = now + LATE_S

    def over(self, now: float) -> list[VisitEvent]:
        """End the visits that are over."""
        return [self._end(key) for key, visit in list(self._open.items()) if visit.due <= now]

    def finish(self) -> list[VisitEvent]:
        """End all visits."""
        return [self._end(key) for key in list(self._open)]

    def _make_room(self) -> list[VisitEvent]:
        return [self._end(next(iter(self._open)))] if len(self._open) > MOST_OPEN else []

    def _end(self, key: VisitKey) -> VisitEvent:
        return _event("ended", self._open.pop(key))


def _event(
    event: Literal["seen", "named", "changed", "ended"], visit: _Visit, before: str | None = None
) -> VisitEvent:
    first, best = visit.first, visit.best
    named = best.name is not None and event != "seen"
    return VisitEvent(
        event=event,
        visit=f"{first.run_id}/{first.camera}/{first.track_id}",
        camera=first.camera,
        track_id=first.track_id,
        name=best.name if named else None,
        similarity=round(best.similarity, 4),
        margin=round(best.margin, 4),
        fpir=None if best.fpir is None else float(f"{best.fpir:.3g}"),
        shots=visit.shots,
        first_pts_s=round(first.pts_s, 3),
        last_pts_s=round(visit.last_pts_s, 3),
        seen_at=first.received_at,
        before=before,
    )
