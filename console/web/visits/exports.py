"""Routes that export visits as CSV, for spreadsheets."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from datetime import datetime
from io import StringIO
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import APIRouter, Query
from starlette.responses import StreamingResponse

from facegate.console.security.permissions import SeenCameras
from facegate.console.web.errors import ERROR_RESPONSES, ApiError, ConsoleDep
from facegate.console.web.visits.lists import FilterOfVisits, Text, Time
from facegate.store.reader import StoreReader, VisitFilter
from facegate.store.records import StoredVisit

router = APIRouter(tags=["visits"], responses=ERROR_RESPONSES)
PAGE = 200
CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {}}}}
Zone = Annotated[str, Query(max_length=64, description="Time zone of the days and times, such as `Europe/Berlin`")]
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@router.get("/visits.csv", response_class=StreamingResponse, responses=CSV)
def visits_csv(console: ConsoleDep, query: FilterOfVisits, zone: Zone = "UTC") -> StreamingResponse:
    """Visits as CSV, with the filters of `/visits`."""
    clock = _zone(zone)
    found: Iterable[StoredVisit] = () if query is None else _all(console.store, query)
    head = ("visit", "camera", "began", "ended", "name", "corrected", "quality", "shots", "similarity", "fpir")
    rows = (
        (
            *(each.visit, each.camera, _text(each.first, clock), _text(each.last, clock), each.name),
            *("yes" if each.corrected else "", each.quality, each.shots, each.similarity, each.fpir),
        )
        for each in found
    )
    return _csv("visits.csv", head, rows)


@router.get("/attendance.csv", response_class=StreamingResponse, responses=CSV)
def attendance_csv(
    console: ConsoleDep,
    seen: SeenCameras,
    since: Time = None,
    until: Time = None,
    camera: Text = None,
    zone: Zone = "UTC",
) -> StreamingResponse:
    """First visit in and last visit out of each person on each day, as CSV.

    A visit counts on the day on which it began.
    """
    clock = _zone(zone)
    days: dict[tuple[str, str], tuple[float, float, int]] = {}
    for each in _all(console.store, VisitFilter(camera=camera, cameras=seen, known=True, since=since, until=until)):
        key = (datetime.fromtimestamp(each.first, clock).date().isoformat(), each.name or "")
        first, last, count = days.get(key, (each.first, each.last, 0))
        days[key] = min(first, each.first), max(last, each.last), count + 1
    rows = (
        (day, name, _text(first, clock), _text(last, clock), count)
        for (day, name), (first, last, count) in sorted(days.items())
    )
    return _csv("attendance.csv", ("day", "name", "first_in", "last_out", "visits"), rows)


def _all(store: StoreReader, query: VisitFilter) -> Iterator[StoredVisit]:
    before = None
    while True:
        page = store.visits(query, before, PAGE)
        yield from page.items
        before = page.next
        if before is None:
            return


def _zone(zone: str) -> ZoneInfo:
    try:
        return ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ApiError("invalid", f"unknown time zone {zone!r}", "give one such as Europe/Berlin") from None


def _text(at: float, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(at, zone).isoformat(timespec="seconds")


def _csv(file: str, head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> StreamingResponse:
    def lines() -> Iterator[str]:
        out = StringIO()
        writer = csv.writer(out)
        yield "\ufeff"  # spreadsheets take the text for UTF-8
        writer.writerow(head)
        for row in rows:
            writer.writerow([_cell(value) for value in row])
            if out.tell() > 2**14:
                yield out.getvalue()
                out.seek(0)
                out.truncate()
        yield out.getvalue()

    headers = {"content-disposition": f'attachment; filename="{file}"'}
    return StreamingResponse(lines(), media_type="text/csv; charset=utf-8", headers=headers)


def _cell(value: object) -> object:
    """A name that a spreadsheet would take for a formula becomes text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
