"""Route ``/journeys``: the visits of one person over several cameras."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

from facegate.console.security.permissions import SeenCameras, is_seen
from facegate.console.state import ConsoleState
from facegate.console.web.errors import ERROR_RESPONSES, ConsoleDep
from facegate.console.web.models import VisitOut, visit_out
from facegate.recognition.journeys.assembly import Sighting, assemble
from facegate.store.reader import VisitFilter
from facegate.store.records import StoredVisit

router = APIRouter(tags=["visits"], responses=ERROR_RESPONSES)
Time = Annotated[float | None, Query(ge=0, le=1e11, description="Unix time (UTC)")]
DEFAULT_PERIOD_S = 24 * 3600
MAX_VISITS = 5_000
"""Newest visits of the period that are looked at."""
PAGE = 200


class JourneyVisitOut(BaseModel):
    """A visit of a journey."""

    visit: VisitOut
    joined_by: Literal["face", "place"]
    """``face``: same name, number or face; ``place``: cameras and times leave no other person."""


class JourneyOut(BaseModel):
    """The visits of one person, in order of their beginnings."""

    name: str | None
    unknown_id: int | None
    first: float
    last: float
    visits: list[JourneyVisitOut]


class TravelTimeOut(BaseModel):
    """Seconds between leaving one camera and being seen at another that count as plausible."""

    start: str
    end: str
    least_s: float
    """Negative where both cameras see the person at once."""
    most_s: float
    walks: int
    """Number of sure walks it was learned from; 0 if it is set."""


class JourneysOut(BaseModel):
    """Journeys, those that began last first."""

    journeys: list[JourneyOut]
    travel: list[TravelTimeOut]
    complete: bool
    """Whether all visits of the period were looked at."""


@router.get("/journeys")
def journeys(
    console: ConsoleDep,
    seen: SeenCameras,
    since: Time = None,
    until: Time = None,
    name: Annotated[str | None, Query(max_length=200)] = None,
    unknown_id: Annotated[int | None, Query(ge=0)] = None,
    min_cameras: Annotated[int, Query(ge=1, le=100)] = 2,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> JourneysOut:
    """Journeys of the last 24 hours, or of a period, over at least ``min_cameras`` cameras.

    Visits are joined by name, number of the unknown visitor and face; where a face decides nothing, by the times
    that people take between cameras, which are learned from sure journeys or set with ``neighbors`` of a camera.
    """
    since = time.time() - DEFAULT_PERIOD_S if since is None and until is None else since
    visits, complete = _visits(console, VisitFilter(cameras=seen, since=since, until=until))
    templates, rule = console.search.templates_of(list(visits))
    found = assemble(
        (
            Sighting(
                visit=each.visit,
                camera=each.camera,
                first=each.first,
                last=each.last,
                name=each.name,
                unknown_id=each.unknown_id,
                seen_before=each.seen_before or 0,
                embedding=templates.get(row),
            )
            for row, each in visits.items()
        ),
        rule,
        _neighbors(console, seen),
    )
    stored = {each.visit: each for each in visits.values()}
    fitting = [
        journey
        for journey in found.journeys
        if (name is None or journey.name == name)
        and (unknown_id is None or journey.unknown_id == unknown_id)
        and len({stored[each.visit].camera for each in journey.visits}) >= min_cameras
    ]
    return JourneysOut(
        journeys=[
            JourneyOut(
                name=journey.name,
                unknown_id=journey.unknown_id,
                first=journey.first,
                last=journey.last,
                visits=[
                    JourneyVisitOut(visit=visit_out(stored[each.visit]), joined_by=each.joined_by)
                    for each in journey.visits
                ],
            )
            for journey in fitting[:limit]
        ],
        travel=[
            TravelTimeOut(**{field: getattr(each, field) for field in TravelTimeOut.model_fields})
            for each in found.travel.all()
        ],
        complete=complete and len(fitting) <= limit,
    )


def _neighbors(console: ConsoleState, seen: Sequence[str] | None) -> dict[str, dict[str, float]]:
    """What is set for cameras, of those that the user may see."""
    config = console.supervisor.running().config
    cameras = () if config is None else config.cameras
    return {
        camera.name: {end: most_s for end, most_s in camera.neighbors.items() if is_seen(seen, end)}
        for camera in cameras
        if is_seen(seen, camera.name)
    }


def _visits(console: ConsoleState, visit_filter: VisitFilter) -> tuple[dict[int, StoredVisit], bool]:
    """Visits by row id, at most ``MAX_VISITS``, and whether these are all."""
    found: dict[int, StoredVisit] = {}
    before: int | None = None
    while len(found) < MAX_VISITS:
        page = console.store.visits(visit_filter, before, PAGE)
        found.update((each.id, each) for each in page.items)
        before = page.next
        if before is None:
            return found, True
    return found, False
