"""Rules: which events are told, when, and how often at most. Pure: times are arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Literal

import msgspec

from facegate.console.alarms.journal import Alarm
from facegate.store.records import StoredVisit
from facegate.store.retention import POOR_QUALITY

EventKind = Literal["known", "unknown", "alarm"]


class Event(msgspec.Struct, frozen=True):
    """Something that may be told."""

    key: str
    """The same event has the same key, so that it is sent once."""
    kind: EventKind
    at: float
    """Unix time (UTC)."""
    title: str
    body: str
    name: str | None = None
    camera: str | None = None
    shot: str | None = None
    """Shot whose crop is the picture."""
    lists: tuple[str, ...] = ()
    """Watch lists that the person is in."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Which events are told to whom."""

    name: str
    enabled: bool = True
    people: tuple[str, ...] = ()
    """Names that are told."""
    lists: tuple[str, ...] = ()
    """Watch lists whose people are told."""
    known: bool = False
    """Tell everybody with a name."""
    unknown: bool = False
    """Tell people without a name."""
    alarms: bool = False
    cameras: tuple[str, ...] = ()
    """Cameras of these events; all by default. Alarms of other subjects have no camera."""
    days: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)
    """Days of the week in the time zone of this host; Monday is 0."""
    begin: str = "00:00"
    end: str = "24:00"
    """``HH:MM`` in the time zone of this host; an end before the beginning is on the next day."""
    max_messages: int = 10
    period_s: float = 3600.0
    """At most that many messages in any period of that many seconds."""
    picture: bool = True
    receivers: tuple[int, ...] = ()
    """Ids of receivers."""

    def wants(self, event: Event) -> bool:
        """Whether the rule is for an event, however often it happens."""
        return self._is_about(event) and self._is_open(event.at)

    def allows(self, sent: Iterable[float], at: float) -> bool:
        """Whether another message is allowed at a Unix time, after messages at those times."""
        return sum(at - self.period_s < time <= at for time in sent) < self.max_messages

    def _is_about(self, event: Event) -> bool:
        if self.cameras and event.camera not in self.cameras:
            return False
        if event.kind == "known":
            return self.known or event.name in self.people or not set(self.lists).isdisjoint(event.lists)
        return self.unknown if event.kind == "unknown" else self.alarms

    def _is_open(self, at: float) -> bool:
        local = datetime.fromtimestamp(at)
        minute, begin, end = local.hour * 60 + local.minute, _minutes(self.begin), _minutes(self.end)
        if begin < end:
            return local.weekday() in self.days and begin <= minute < end
        if minute >= begin:
            return local.weekday() in self.days
        return minute < end and (local.weekday() - 1) % 7 in self.days  # the night that began yesterday


class Trial(msgspec.Struct, frozen=True):
    """What a rule would have told."""

    told: list[Event]
    held_back: int
    """Events that it wants, but that come too often."""


def try_rule(rule: Rule, events: Sequence[Event]) -> Trial:
    """Apply a rule to past events, oldest first."""
    told: list[Event] = []
    held_back = 0
    for event in events:
        if not rule.wants(event):
            continue
        if rule.allows((each.at for each in told), event.at):
            told.append(event)
        else:
            held_back += 1
    return Trial(told, held_back)


def visit_event(
    visit: StoredVisit,
    labels: Mapping[str, str] = MappingProxyType({}),
    lists: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> Event | None:
    """The event of a visit as it is now; ``None`` if nobody can be recognized in it.

    Cameras have their ``labels``, names for people by name; ``lists`` has the watch lists of each person.

    A visit that gets a name, or another name, is another event, unless somebody at the console has corrected it.
    """
    if visit.corrected is not None or (visit.name is None and visit.quality < POOR_QUALITY):
        return None
    kind: EventKind = "unknown" if visit.name is None else "known"
    similarity = "" if visit.name is None or visit.similarity is None else f", similarity {visit.similarity:.2f}"
    seen = datetime.fromtimestamp(visit.first).strftime("%H:%M:%S")
    return Event(
        key=f"visit {visit.visit} {visit.name or ''}",
        kind=kind,
        at=visit.last,
        title=f"{visit.name or 'Unknown person'} at {labels.get(visit.camera, visit.camera)}",
        body=f"{seen}, quality {visit.quality}{similarity}",
        name=visit.name,
        camera=visit.camera,
        shot=visit.best,
        lists=lists.get(visit.name or "", ()),
    )


def alarm_event(alarm: Alarm, labels: Mapping[str, str] = MappingProxyType({})) -> Event:
    """The event of an alarm that began; see :func:`visit_event`."""
    subject = labels.get(alarm.subject, alarm.subject) if alarm.kind == "camera" else alarm.subject
    what = f"{alarm.kind} {subject}" if alarm.kind != "file" else "damaged file"
    return Event(
        key=f"alarm {alarm.id}",
        kind="alarm",
        at=alarm.since,
        title=f"Alarm: {what.strip()}",
        body=f"{alarm.problem}; {alarm.remedy}",
        camera=alarm.subject if alarm.kind == "camera" else None,
    )


def _minutes(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return 60 * int(hours) + int(minutes)
