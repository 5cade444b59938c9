"""When a finding becomes an alarm and when the alarm ends. Pure: time is an argument."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, get_args

import msgspec

AlarmKind = Literal["camera", "process", "disk", "gallery", "store", "file", "clock", "fleet", "configuration"]
KINDS: tuple[AlarmKind, ...] = get_args(AlarmKind)
AlarmKey = tuple[AlarmKind, str]
"""Kind and subject: at most one alarm is open for each."""
RAISE_S: Mapping[AlarmKind, float] = {"camera": 10.0, "process": 2.0, "gallery": 2.0, "store": 2.0, "fleet": 10.0}
"""Seconds that a condition lasts before it is an alarm; 0 by default. Cameras reconnect, processes restart."""
END_S: Mapping[AlarmKind, float] = {"camera": 5.0, "process": 10.0}
"""Seconds that a condition is gone before its alarm ends; 0 by default. A process that fails again is one alarm."""


class Condition(msgspec.Struct, frozen=True):
    """What a check found about one subject."""

    kind: AlarmKind
    subject: str
    """Name of the camera, process, node or file; empty where there is only one."""
    problem: str | None = None
    """What is wrong; ``None`` if nothing is."""
    remedy: str = ""
    is_known: bool = True
    """Whether the check could tell: an alarm neither begins nor ends otherwise."""


class Changes(msgspec.Struct, frozen=True):
    """Alarms that begin, each with the monotonic time when its condition began, and alarms that end."""

    raised: list[tuple[Condition, float]]
    ended: list[AlarmKey]


class Debouncer:
    """Lets short conditions pass."""

    def __init__(self) -> None:
        self._since: dict[AlarmKey, float] = {}

    def step(
        self, found: Mapping[AlarmKind, Sequence[Condition]], opened: Collection[AlarmKey], now: float
    ) -> Changes:
        """Decide which alarms begin and end.

        Args:
            found: the findings of each kind that was checked; a subject that is missing in them is gone.
            opened: keys of the open alarms.
            now: monotonic time.
        """
        changes = Changes([], [])
        for kind, findings in found.items():
            known = {finding.subject: finding for finding in findings}
            gone = {subject: Condition(kind, subject) for open_kind, subject in opened if open_kind == kind}
            for subject, finding in (gone | known).items():
                self._check((kind, subject), finding, (kind, subject) in opened, now, changes)
            for key in [key for key in self._since if key[0] == kind and key[1] not in gone | known]:
                del self._since[key]
        return changes

    def _check(self, key: AlarmKey, finding: Condition, is_open: bool, now: float, changes: Changes) -> None:
        is_bad = finding.problem is not None
        if not finding.is_known or is_bad == is_open:
            self._since.pop(key, None)
            return
        began = self._since.setdefault(key, now)
        if now - began < (RAISE_S if is_bad else END_S).get(key[0], 0.0):
            return
        del self._since[key]
        if is_bad:
            changes.raised.append((finding, began))
        else:
            changes.ended.append(key)
