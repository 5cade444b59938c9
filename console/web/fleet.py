"""Routes ``/fleet``: nodes and cameras of the fleet given by ``--fleet``."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel

from facegate.console.web.errors import ERROR_RESPONSES, ConsoleDep, not_found
from facegate.console.web.models import Strict
from facegate.fleet import admin
from facegate.fleet.bucket import BucketAddress
from facegate.fleet.records import DRAIN, PAUSE

router = APIRouter(tags=["fleet"], responses=ERROR_RESPONSES)
Named = Annotated[str, Path(pattern=r"^[\w.-]{1,64}$")]


class FleetNodeOut(BaseModel):
    """A node of the fleet."""

    host: str
    cameras: int
    capacity: float
    """Processed frames per second that it can sustain."""
    load: float
    """Fraction of the capacity in use."""
    seen_s: float
    """Seconds since its last heartbeat."""
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
    """Status of the fleet."""

    fleet: str
    config: int
    """Revision of the configuration; 0 if there is none."""
    gates: dict[str, FleetNodeOut]
    cameras: dict[str, FleetCameraOut]


class DrainRequest(Strict):
    """Whether a node is drained: its cameras move to other nodes, and it gets no new ones."""

    drained: bool


class PauseRequest(Strict):
    """Whether a camera is paused on all nodes."""

    paused: bool


@router.get("/fleet")
def fleet(console: ConsoleDep) -> FleetOut:
    """Status of nodes and cameras, as ``facegate fleet status`` prints it."""
    found = admin.run(admin.status(_address(console)))
    return FleetOut.model_validate(found, from_attributes=True)


@router.put("/fleet/gates/{name}", status_code=204)
def drain(console: ConsoleDep, name: Named, request: DrainRequest) -> Response:
    """Drain a node, or undo that."""
    admin.run(admin.request(_address(console), DRAIN, name, enabled=request.drained))
    return Response(status_code=204)


@router.put("/fleet/cameras/{name}", status_code=204)
def pause(console: ConsoleDep, name: Named, request: PauseRequest) -> Response:
    """Pause or resume a camera."""
    admin.run(admin.request(_address(console), PAUSE, name, enabled=request.paused))
    return Response(status_code=204)


def _address(console: ConsoleDep) -> BucketAddress:
    if console.fleet is None:
        raise not_found("fleet: the console was started without --fleet")
    return console.fleet
