"""Routes of confirmations: users who have verified the name of a visit."""

from __future__ import annotations

from time import time

from fastapi import APIRouter, Request
from pydantic import BaseModel

from facegate.console.security.accounts import Principal
from facegate.console.security.middleware import LOCAL_USER
from facegate.console.state import ConsoleState
from facegate.console.web.errors import ERROR_RESPONSES, ApiError, ConsoleDep, not_found
from facegate.console.web.models import PersonName, RowId, Strict
from facegate.store.confirmations import ConfirmationStore

router = APIRouter(tags=["visits"], responses=ERROR_RESPONSES)
PATH = "/visits/{run_id}/{camera}/{track_id}/confirmation"


class ConfirmationIn(Strict):
    """A confirmation."""

    name: PersonName
    """The name that is confirmed, so that one that has changed meanwhile is not."""


class ConfirmedBy(BaseModel):
    """Somebody who has confirmed."""

    who: str
    at: float
    """Unix time (UTC)."""


class ConfirmationOut(BaseModel):
    """Confirmations of the name of a visit."""

    name: str | None
    needed: int
    """Number of different users that ``facegate serve --confirmations`` asks for; 0: none."""
    by: list[ConfirmedBy]
    confirmed: bool
    """Whether enough users have confirmed the name."""


@router.get(PATH)
def confirmation(console: ConsoleDep, run_id: str, camera: str, track_id: RowId) -> ConfirmationOut:
    """Who has confirmed the name of a visit."""
    return _found(console, f"{run_id}/{camera}/{track_id}")


@router.put(PATH)
def confirm(
    console: ConsoleDep, request: Request, run_id: str, camera: str, track_id: RowId, given: ConfirmationIn
) -> ConfirmationOut:
    """Confirm the name of a visit, as the user who is logged in; the audit log says so."""
    visit, who = f"{run_id}/{camera}/{track_id}", _person(request)
    _found(console, visit)
    with ConfirmationStore(console.folder.store) as store:
        if not store.confirm(visit, given.name, who, time()):
            raise ApiError("conflict", f"the visit is not that of {given.name}", "reload the visit")
    return _found(console, visit)


@router.delete(PATH)
def withdraw(console: ConsoleDep, request: Request, run_id: str, camera: str, track_id: RowId) -> ConfirmationOut:
    """Take the own confirmation back."""
    visit = f"{run_id}/{camera}/{track_id}"
    with ConfirmationStore(console.folder.store) as store:
        store.withdraw(visit, _person(request))
    return _found(console, visit)


def _person(request: Request) -> str:
    """Name of the logged-in user: a confirmation is the act of a person."""
    principal: Principal = request.state.principal
    if principal is LOCAL_USER or "authorization" in request.headers:
        raise ApiError("login_required", "only a user can confirm a name", "log in with a name and a password")
    return principal.name


def _found(console: ConsoleState, visit: str) -> ConfirmationOut:
    known = console.store.visit(visit)
    if known is None:
        raise not_found(f"visit {visit[:200]}")
    with ConfirmationStore(console.folder.store) as store:
        by = [ConfirmedBy(who=each.who, at=each.at) for each in store.confirmations(visit)]
    needed = console.confirmations
    return ConfirmationOut(name=known.name, needed=needed, by=by, confirmed=0 < needed <= len(by))
