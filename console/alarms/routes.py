"""Routes ``/alarms``."""

from __future__ import annotations

from time import time
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel

from facegate.console.alarms.journal import Alarm
from facegate.console.security.permissions import SeenCameras
from facegate.console.web.errors import ERROR_RESPONSES, ConsoleDep, not_found
from facegate.console.web.models import RowId

router = APIRouter(tags=["alarms"], responses=ERROR_RESPONSES)


class AlarmOut(BaseModel):
    """Something that is or was wrong."""

    id: int
    kind: str
    """``camera``, ``process``, ``disk``, ``gallery``, ``store``, ``file``, ``clock``, ``fleet`` or
    ``configuration``."""
    subject: str
    """Name of the camera, process, node or file; empty where there is only one."""
    problem: str
    remedy: str
    since: float
    ended: float | None
    """``null`` while it is open."""


class AlarmsOut(BaseModel):
    """Open alarms, and a page of all alarms."""

    open: list[AlarmOut]
    """Oldest first."""
    alarms: list[AlarmOut]
    """Open and ended ones, newest first."""
    next: int | None
    """``before`` of the next page; ``null`` on the last one."""


@router.get("/alarms")
def alarms(
    console: ConsoleDep,
    seen: SeenCameras,
    before: Annotated[RowId | None, Query(description="`next` of the previous page")] = None,
    limit: Annotated[int, Query(ge=0, le=200)] = 50,
) -> AlarmsOut:
    """Alarms: what is wrong, since when, and what was."""
    page = console.alarms.page(before, limit)

    def shown(found: list[Alarm]) -> list[AlarmOut]:
        kept = (alarm for alarm in found if seen is None or (alarm.kind == "camera" and alarm.subject in seen))
        return [alarm_out(alarm) for alarm in kept]

    return AlarmsOut(
        open=shown(console.alarms.open()),
        alarms=shown(page),
        next=page[-1].id if page and len(page) == limit else None,
    )


@router.delete("/alarms/{alarm}", status_code=204)
def dismiss(console: ConsoleDep, alarm: RowId) -> None:
    """Dismiss an open alarm; it comes back if its cause lasts. A missing node of the fleet is forgotten."""
    if (ended := console.alarms.dismiss(alarm, time())) is None:
        raise not_found(f"open alarm {alarm}")
    publish_alarms(console, [ended])


def publish_alarms(console: ConsoleDep, changed: list[Alarm]) -> None:
    """Tell open pages that alarms have begun or ended."""
    console.broker.publish("alarms", [alarm_out(alarm).model_dump() for alarm in changed])


def alarm_out(alarm: Alarm) -> AlarmOut:
    """The record of an alarm."""
    return AlarmOut(**msgspec.structs.asdict(alarm))
