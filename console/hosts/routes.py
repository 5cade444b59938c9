"""Routes of other hosts: their state, the visits of all, and their own pages and API below ``/hosts/NAME``."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import Annotated
from urllib.parse import quote

import httpx2
import msgspec
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ValidationError
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, StreamingResponse

from facegate.console.hosts.peers import PeerClient, PeerError
from facegate.console.security.accounts import Principal
from facegate.console.security.middleware import ROLE_HEADER
from facegate.console.web.cameras import camera_list
from facegate.console.web.errors import ERROR_RESPONSES, ApiError, ConsoleDep, not_found
from facegate.console.web.models import CamerasOut, VisitOut, VisitsOut, visit_out
from facegate.store.reader import VisitFilter

router = APIRouter(tags=["hosts"], responses=ERROR_RESPONSES)
pages = APIRouter(include_in_schema=False)
HERE = "this host"
"""Name of the console itself among the hosts."""
SENT = (
    "accept", "accept-language", "content-type", "if-modified-since", "if-none-match", "if-range", "last-event-id",
    "range",
)  # fmt: skip
"""Headers of a request that are sent on; the login of this console is not."""
KEPT_BACK = ("connection", "keep-alive", "set-cookie", "transfer-encoding", "www-authenticate", "server", "date")
"""Headers of an answer that are not."""
VIA = "x-facegate-host"
"""Header that tells a console under which name its pages are shown by another."""
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


class HostCameraOut(BaseModel):
    """A camera of a host."""

    name: str
    label: str
    state: str


class HostOut(BaseModel):
    """A host."""

    name: str
    """Empty for the console that answers."""
    ok: bool
    """Whether it answered."""
    problem: str | None
    cameras: list[HostCameraOut]
    alarms: int


class HostVisitOut(BaseModel):
    """A visit of a host."""

    host: str
    """Empty for the console that answers."""
    visit: VisitOut


class HostVisitsOut(BaseModel):
    """Visits of all hosts, those that began last first."""

    visits: list[HostVisitOut]
    next: str | None
    """Cursor of the next page; ``null`` on the last one."""
    away: dict[str, str]
    """Hosts that did not answer, and why: their visits are missing here, and come with the same cursor later."""


@router.get("/hosts")
async def hosts(console: ConsoleDep, request: Request) -> list[HostOut]:
    """State of every host; those that do not answer say why."""
    peers: PeerClient = request.state.peers

    async def own() -> HostOut:
        cameras = await run_in_threadpool(camera_list, console)
        return _host("", cameras, len(console.alarms.open()))

    async def other(name: str) -> HostOut:
        try:
            cameras, alarms = await asyncio.gather(peers.get(name, "/cameras"), peers.get(name, "/alarms"))
            return _host(name, CamerasOut.model_validate(cameras), len(alarms["open"]))
        except (PeerError, ValidationError, KeyError, TypeError) as error:
            return HostOut(name=name, ok=False, problem=_words(name, error), cameras=[], alarms=0)

    return list(await asyncio.gather(own(), *map(other, peers.peers)))


def _host(name: str, cameras: CamerasOut, alarms: int) -> HostOut:
    found = [
        HostCameraOut(name=each.name, label=each.display_name or each.name, state=each.state)
        for each in cameras.cameras
    ]
    return HostOut(name=name, ok=True, problem=None, cameras=found, alarms=alarms)


@router.get("/hosts/visits")
async def all_visits(
    console: ConsoleDep,
    request: Request,
    name: Annotated[str | None, Query(max_length=200)] = None,
    known: bool | None = None,
    since: Annotated[float | None, Query(ge=0, le=1e11)] = None,
    until: Annotated[float | None, Query(ge=0, le=1e11)] = None,
    after: Annotated[str | None, Query(max_length=20_000, description="`next` of the previous page")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> HostVisitsOut:
    """Visits of all hosts, newest first."""
    peers: PeerClient = request.state.peers
    cursor = _decoded(after)
    away: dict[str, str] = {}
    asked = {"name": name, "known": known, "since": since, "until": until}
    given = {key: str(value).lower() for key, value in asked.items() if value is not None}
    given |= {} if name is None else {"name": name}

    async def own() -> list[VisitOut]:
        found = VisitFilter(name=name, known=known, since=since, until=until)
        page = await run_in_threadpool(console.store.visits, found, cursor.get(""), limit)
        return [visit_out(visit) for visit in page.items]

    async def other(host: str) -> list[VisitOut]:
        before = {} if cursor.get(host) is None else {"before": str(cursor[host])}
        found = await peers.get(host, "/visits", {**given, **before, "limit": str(limit)})
        return VisitsOut.model_validate(found).visits

    async def one(host: str, ask: Callable[[], Awaitable[list[VisitOut]]]) -> list[HostVisitOut]:
        try:
            return [HostVisitOut(host=host, visit=visit) for visit in await ask()]
        except (PeerError, ValidationError) as error:
            away[host] = _words(host, error)
            return []

    lists = await asyncio.gather(
        one("", own),
        *(one(host, lambda host=host: other(host)) for host in peers.peers),  # type: ignore[misc]
    )
    merged = sorted((each for found in lists for each in found), key=lambda each: -each.visit.first)[:limit]
    following = dict(cursor)
    for each in merged:
        following[each.host] = each.visit.id
    more = len(merged) == limit or bool(away)
    return HostVisitsOut(visits=merged, next=_encoded(following) if more else None, away=away)


@pages.get("/hosts/{name}")
def host_start(name: str) -> RedirectResponse:
    """The first page of a host's console."""
    return RedirectResponse(f"{quote(name)}/live", 303)


@pages.api_route("/hosts/{name}/{path:path}", methods=METHODS)
async def host_page(request: Request, name: str, path: str) -> Response:
    """A page or an API request of another host's console, answered by it.

    What may be done there is decided by the role of the token; viewers of this console are viewers there.
    """
    peers: PeerClient = request.state.peers
    if name not in peers.peers:
        raise not_found(f"host {name[:64]}")
    principal: Principal = request.state.principal
    headers = {key: value for key, value in request.headers.items() if key in SENT}
    if not principal.may_change:
        headers[ROLE_HEADER] = "viewer"
    query = request.url.query
    target = "/" + quote(path.lstrip("/"), safe="/:@!$&'()*+,;=~") + (f"?{query}" if query else "")
    try:
        answer = await peers.forward(name, request.method, target, {**headers, VIA: name}, request.stream())
    except PeerError as error:
        raise ApiError("host_unavailable", str(error), "retry, or open the console of that host") from error
    kept = {key: value for key, value in answer.headers.items() if key not in KEPT_BACK}
    return StreamingResponse(
        answer.aiter_raw(), answer.status_code, kept, background=BackgroundTask(_close, answer)
    )


async def _close(answer: httpx2.Response) -> None:
    await answer.aclose()


def _words(host: str, error: Exception) -> str:
    return str(error) if isinstance(error, PeerError) else f"host {host} runs another version of facegate"


def _encoded(cursor: dict[str, int]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode()


def _decoded(cursor: str | None) -> dict[str, int]:
    if cursor is None:
        return {}
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cursor.encode()), type=dict[str, int])
    except (msgspec.DecodeError, binascii.Error, UnicodeError, ValueError) as error:
        raise ApiError("invalid", "after is no cursor of this list", "use 'next' of the previous page") from error
