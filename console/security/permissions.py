"""What a viewer who is restricted to cameras may request; other paths are refused, also those yet to come."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated

from fastapi import Depends, Request

from facegate.console.security.accounts import Principal

API = "/api/v1"
PAGES = ("/", "/live", "/visits", "/journeys", "/alarms", "/accounts")
LISTS = (
    "/session", "/session/password", "/cameras", "/live", "/events", "/visits", "/visits.csv", "/attendance.csv",
    "/names", "/shots", "/alarms", "/journeys",
)  # fmt: skip
"""Paths of the API whose routes leave out what the viewer may not see."""
OF_CAMERA = re.compile(
    r"/cameras/(?P<camera>[^/]+)/(snapshot\.jpg|tracks)"
    r"|/visits/[^/]+/(?P<visited>[^/]+)/[^/]+(/face\.jpg|/clip\.mp4|/evidence\.zip|/confirmation)?"
)
OF_SHOT = re.compile(r"/shots/[^/]+(/(crop|scene)\.jpg)?")
"""Its route looks up the camera."""


def may_request(principal: Principal, path: str) -> bool:
    """Whether a principal may read a path."""
    if principal.cameras is None or path in PAGES:
        return True
    if path.startswith(API + "/"):
        path = path.removeprefix(API)
    elif not path.startswith("/visits/"):
        return False
    if path in LISTS or OF_SHOT.fullmatch(path):
        return True
    found = OF_CAMERA.fullmatch(path)
    return found is not None and principal.may_see(found["camera"] or found["visited"])


def _seen(request: Request) -> tuple[str, ...] | None:
    principal: Principal = request.state.principal
    return principal.cameras


SeenCameras = Annotated[tuple[str, ...] | None, Depends(_seen)]
"""Cameras that the user may see, as a parameter of a route; ``None`` for everything."""


def is_seen(seen: Collection[str] | None, camera: str) -> bool:
    """Whether a camera is among them."""
    return seen is None or camera in seen
