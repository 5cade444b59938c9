"""Where somebody was before: the last visit of the same person at another camera. Pure.

Within one worker and its lifetime; journeys over everything that is stored are made by
:mod:`facegate.recognition.journeys`.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from facegate.recognition.journeys.assembly import MAX_GAP_S
from facegate.recognition.worker.visit_state import CameFrom, VisitEvent

MAX_PEOPLE = 10_000
Identity = str | int


class _LastVisit(msgspec.Struct, frozen=True):
    visit: str
    camera: str
    until: float
    """Unix time (UTC) of its last shot."""
    came_from: CameFrom | None
    """The visit before, if it was at another camera."""


class Walks:
    """The last visit of each person and unknown visitor."""

    def __init__(self) -> None:
        self._last: OrderedDict[Identity, _LastVisit] = OrderedDict()

    def complete(self, event: VisitEvent) -> VisitEvent:
        """Return the event with where the person was before; unchanged for somebody without an identity."""
        identity = event.name if event.name is not None else event.unknown_id
        if identity is None or event.seen_at is None:
            return event
        before = self._last.get(identity)
        came_from = None
        if before is not None and before.visit == event.visit:
            came_from = before.came_from
        elif before is not None and before.camera != event.camera:
            seconds = event.seen_at - before.until
            if abs(seconds) <= MAX_GAP_S:
                came_from = CameFrom(before.camera, before.visit, round(seconds, 1))
        until = event.seen_at + event.last_pts_s - event.first_pts_s
        if before is None or until >= before.until:
            self._last[identity] = _LastVisit(event.visit, event.camera, until, came_from)
            self._last.move_to_end(identity)
            if len(self._last) > MAX_PEOPLE:
                self._last.popitem(last=False)
        return event if came_from is None else msgspec.structs.replace(event, came_from=came_from)
