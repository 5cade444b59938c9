"""``/fleet``: the gates that share cameras, where this console was told of a fleet."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel

from facegate.console.web.errors import ERROR_RESPONSES, RouteErrors, not_found
from facegate.console.web.models import Strict
from facegate.fleet import admin
from facegate.fleet.bucket import BucketAddress
from facegate.fleet.records import DRAIN, PAUSE

router = APIRouter(tags=["fleet"], responses=ERROR_RESPONSES)
Named = Annotated[str, Path(pattern=r"^[\w.-]{1,64}$")]


class FleetNodeOut(BaseModel):
    """A gate that is there."""

    host: str
    cameras: int
    capacity: float
    """Looks per second that it can sustain."""
    load: float
    """Share of it that is in use."""
    seen_s: float
    """Seconds since it was last heard of."""
    drained: bool
    config: int
    problem: str


class FleetCameraOut(BaseModel):
    """A camera of the fleet."""

    gate: str | None
    state: str
    since_s: float | None
    processed_fps: float


class FleetOut(BaseModel):
    """How the fleet is doing."""

    fleet: str
    config: int
    """Revision of its configuration; 0 without one."""
    gates: dict[str, FleetNodeOut]
    cameras: dict[str, FleetCameraOut]


class DrainedOut(Strict):
    """Whether a gate is to give its cameras away and take no more."""

    drained: bool


class PausedOut(Strict):
    """Whether nobody is to watch a camera."""

    paused: bool


@router.get("/fleet")
def fleet(console: RouteErrors) -> FleetOut:
    """Which gate watches what, as ``facegate fleet status`` prints it."""
    found = admin.run(admin.status(_place(console)))
    return FleetOut.model_validate(found, from_attributes=True)


@router.put("/fleet/gates/{name}", status_code=204)
def drain(console: RouteErrors, name: Named, wanted: DrainedOut) -> Response:
    """Drain a gate, or let it take cameras again."""
    admin.run(admin.request(_place(console), DRAIN, name, wanted=wanted.drained))
    return Response(status_code=204)


@router.put("/fleet/cameras/{name}", status_code=204)
def pause(console: RouteErrors, name: Named, wanted: PausedOut) -> Response:
    """Let nobody watch a camera for a while, or let it be watched again."""
    admin.run(admin.request(_place(console), PAUSE, name, wanted=wanted.paused))
    return Response(status_code=204)


def _place(console: RouteErrors) -> BucketAddress:
    if console.fleet is None:
        raise not_found("fleet: this console was started without --fleet")
    return console.fleet
