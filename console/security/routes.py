"""Routes ``/users``, ``/session/password`` and ``/audit``."""

from __future__ import annotations

from time import time
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, SecretStr
from starlette.responses import StreamingResponse

from facegate.audit.log import to_csv
from facegate.console.security.accounts import Principal
from facegate.console.security.middleware import COOKIE
from facegate.console.web.errors import ERROR_RESPONSES, ApiError, ConsoleDep, not_found
from facegate.console.web.models import RowId, Strict

router = APIRouter(tags=["accounts"], responses=ERROR_RESPONSES)
UserName = Annotated[str, Field(min_length=1, max_length=64)]
Role = Literal["viewer", "administrator"]


class UserOut(BaseModel):
    """A user."""

    name: str
    role: str
    cameras: list[str] | None
    """Cameras that a viewer may see; ``null`` for everything."""


class UserUpdate(Strict):
    """What a user may do and see."""

    role: Role
    cameras: list[Annotated[str, Field(max_length=64)]] | None = None
    """Cameras that a viewer may see; ``null`` for everything."""


class UserCreate(UserUpdate):
    """A new user."""

    name: UserName
    password: SecretStr


class UserPassword(Strict):
    """A new password of a user."""

    password: SecretStr


class PasswordIn(Strict):
    """A new password of the logged-in user."""

    current: SecretStr
    password: SecretStr


class AuditEntryOut(BaseModel):
    """A request that showed or changed something."""

    id: int
    at: float
    who: str
    address: str
    method: str
    path: str
    details: str
    status: int
    digest: str
    """SHA-256 over the digest of the entry before it and the values of this one, as a JSON array."""


class AuditOut(BaseModel):
    """A page of the audit log, newest first."""

    entries: list[AuditEntryOut]
    next: int | None


@router.get("/users")
def users(console: ConsoleDep, request: Request) -> list[UserOut]:
    """List users; for administrators."""
    check_administrator(request)
    return [UserOut(**msgspec.to_builtins(user)) for user in console.accounts.users()]


@router.post("/users", status_code=201)
def add_user(console: ConsoleDep, user: UserCreate) -> UserOut:
    """Add a user. The first one is an administrator: from then on a login is required."""
    known = console.accounts.users()
    if any(each.name == user.name for each in known):
        raise ApiError("name_taken", f"user {user.name} already exists", "use another name")
    if not known and user.role != "administrator":
        raise ApiError("invalid", "the first user has to be an administrator", "add an administrator first")
    console.accounts.set_password(user.name, user.password.get_secret_value(), user.role)
    console.accounts.change_user(user.name, user.role, user.cameras)
    return UserOut(name=user.name, role=user.role, cameras=user.cameras)


@router.put("/users/{name}", status_code=204)
def change_user(console: ConsoleDep, name: str, change: UserUpdate) -> None:
    """Change what a user may do and see."""
    if not console.accounts.change_user(name, change.role, change.cameras):
        raise not_found(f"user {name[:80]}")


@router.put("/users/{name}/password", status_code=204)
def set_password(console: ConsoleDep, name: str, given: UserPassword) -> None:
    """Set the password of a user and end the user's sessions."""
    user = next((each for each in console.accounts.users() if each.name == name), None)
    if user is None:
        raise not_found(f"user {name[:80]}")
    console.accounts.set_password(name, given.password.get_secret_value(), user.role)


@router.delete("/users/{name}", status_code=204)
def remove_user(console: ConsoleDep, name: str) -> None:
    """Remove a user and end the user's sessions."""
    if not console.accounts.remove_user(name):
        raise not_found(f"user {name[:80]}")


@router.put("/session/password", status_code=204)
def change_password(console: ConsoleDep, request: Request, response: Response, given: PasswordIn) -> None:
    """Change the password of the logged-in user; other sessions end."""
    principal: Principal | None = request.state.principal
    user = principal and next((each for each in console.accounts.users() if each.name == principal.name), None)
    if not user or "authorization" in request.headers:
        raise ApiError("login_required", "no user is logged in", "log in with a name and a password")
    source = f"as {user.name}"
    wait = console.throttle.wait_s(source, time())
    if wait > 0:
        raise ApiError("too_many_attempts", "too many failed attempts", f"retry in {max(1, round(wait))} seconds")
    if not console.accounts.has_password(user.name, given.current.get_secret_value()):
        console.throttle.record_failure(source, time())
        raise ApiError("forbidden", "the current password is wrong", "retry, or ask an administrator")
    console.accounts.set_password(user.name, given.password.get_secret_value(), user.role)
    key = console.accounts.log_in(user.name, given.password.get_secret_value(), time())
    assert key is not None
    response.set_cookie(COOKIE, key, httponly=True, samesite="strict", secure=console.secure, path="/")


@router.get("/audit")
def audit(
    console: ConsoleDep,
    request: Request,
    before: Annotated[RowId | None, Query(description="`next` of the previous page")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> AuditOut:
    """Who saw and changed what, newest first; for administrators."""
    check_administrator(request)
    found = console.audit.page(before, limit)
    return AuditOut(
        entries=[AuditEntryOut(**msgspec.structs.asdict(entry)) for entry in found],
        next=found[-1].id if len(found) == limit else None,
    )


@router.get("/audit.csv", response_class=Response, responses={200: {"content": {"text/csv": {}}}})
def export(console: ConsoleDep, request: Request) -> StreamingResponse:
    """The whole audit log as CSV, oldest first; for administrators."""
    check_administrator(request)
    headers = {"content-disposition": 'attachment; filename="facegate-audit.csv"'}
    return StreamingResponse(to_csv(console.audit.entries()), media_type="text/csv", headers=headers)


def check_administrator(request: Request) -> None:
    """Refuse requests of viewers.

    Raises:
        ApiError: it is one.
    """
    principal: Principal = request.state.principal
    if not principal.may_change:
        raise ApiError("forbidden", "accounts are for administrators only", "ask an administrator")
