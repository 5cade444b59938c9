"""``/health``, ``/config``, ``/session`` and ``/tokens``."""

from __future__ import annotations

from time import time
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, SecretStr

from facegate.console.security.accounts import Principal
from facegate.console.security.middleware import COOKIE, session_key
from facegate.console.web.errors import ERROR_RESPONSES, ApiError, RouteErrors, not_found
from facegate.console.web.models import ConfigVersionOut, RowId, Strict

router = APIRouter(tags=["system"], responses=ERROR_RESPONSES)


class ProcessOut(BaseModel):
    """A process of the console."""

    name: str
    running: bool
    pid: int | None
    since: float | None
    starts: int
    last_exit: int | None
    last_log_lines: str | None


class LogLineOut(BaseModel):
    """Something that a process said."""

    at: float
    process: str
    level: str
    event: str
    details: dict[str, str]


class HealthOut(BaseModel):
    """How everything is doing."""

    gate: ProcessOut
    gate_finished: bool
    worker: ProcessOut
    config: str
    """Version of the configuration that runs."""
    config_changed: bool
    """The file was changed by hand since: ``POST /config/load`` takes it over."""
    config_problem: str | None
    report: dict[str, Any] | None
    """The gate's (docs/performance.md): counts, cost, delivery; ``null`` while it does not answer."""
    lines: list[LogLineOut]
    stored: dict[str, int]
    disk: dict[str, int]
    """Bytes of the store and of recordings, and what is free."""
    notices: list[str]
    """Files that were damaged, and what took their place."""


class LoginIn(Strict):
    """Somebody who wants to come in."""

    name: Annotated[str, Field(max_length=64)]
    password: SecretStr


class SessionOut(BaseModel):
    """Who is here."""

    needed: bool
    """Whether one has to log in."""
    name: str | None
    role: str | None


class TokenCreate(Strict):
    """A token for a program."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    role: Literal["viewer", "administrator"] = "viewer"


class TokenOut(BaseModel):
    """A token without itself."""

    id: int
    name: str
    role: str
    made: float


class TokenCreatedOut(TokenOut):
    """A new one; ``token`` is shown this once."""

    token: str


@router.get("/health")
def health(console: RouteErrors) -> HealthOut:
    """Processes, the gate's report, and log lines that matter."""
    found = console.supervisor.health()
    return HealthOut(
        gate=ProcessOut(**msgspec.structs.asdict(found.gate)),
        gate_finished=found.gate_finished,
        worker=ProcessOut(**msgspec.structs.asdict(found.worker)),
        config=found.config_tag,
        config_changed=found.config_changed,
        config_problem=found.config_problem,
        report=console.report(),
        lines=[LogLineOut(**msgspec.structs.asdict(line)) for line in found.lines],
        stored=console.store.count(),
        disk=console.disk(),
        notices=console.notices(),
    )


@router.post("/config/load")
def load(console: RouteErrors) -> ConfigVersionOut:
    """Take over what was written into the configuration file by hand."""
    return ConfigVersionOut(config=console.supervisor.load().tag)


@router.post("/config/undo")
def undo(console: RouteErrors) -> ConfigVersionOut:
    """Take back the last change that was made here."""
    return ConfigVersionOut(config=console.supervisor.undo().tag)


@router.get("/session")
def session(console: RouteErrors, request: Request) -> SessionOut:
    """Who is here."""
    who: Principal | None = request.state.who
    return SessionOut(
        needed=console.accounts.auth_required(),
        name=None if who is None else who.name,
        role=None if who is None else who.role,
    )


@router.post("/session")
def log_in(console: RouteErrors, request: Request, response: Response, login: LoginIn) -> SessionOut:
    """Begin a session, with a new cookie."""
    asker = request.client.host if request.client else "?"
    for who in (f"from {asker}", f"as {login.name}"):
        wait = console.patience.wait_s(who, time())
        if wait > 0:
            raise ApiError(
                429, "too_many_attempts", "too many wrong attempts", f"try again in {max(1, round(wait))} seconds"
            )
    old = session_key(request.headers.get("cookie", ""))
    key = console.accounts.log_in(login.name, login.password.get_secret_value(), time())
    if key is None:
        for who in (f"from {asker}", f"as {login.name}"):
            console.patience.record_failure(who, time())
        raise ApiError(401, "wrong_login", "name or password is wrong", "try again, or ask an administrator")
    if old is not None:
        console.accounts.log_out(old)
    console.patience.record_success(f"from {asker}")
    console.patience.record_success(f"as {login.name}")
    response.set_cookie(COOKIE, key, httponly=True, samesite="strict", secure=console.secure, path="/")
    found = console.accounts.session_principal(key, time())
    assert found is not None
    return SessionOut(needed=True, name=found.name, role=found.role)


@router.delete("/session", status_code=204)
def log_out(console: RouteErrors, request: Request, response: Response) -> None:
    """End the session; its cookie is worth nothing any more."""
    key = session_key(request.headers.get("cookie", ""))
    if key is not None:
        console.accounts.log_out(key)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict", secure=console.secure)


@router.get("/tokens")
def tokens(console: RouteErrors, request: Request) -> list[TokenOut]:
    """Tokens of programs; for administrators."""
    _administrator(request)
    return [TokenOut(**msgspec.structs.asdict(token)) for token in console.accounts.tokens()]


@router.post("/tokens", status_code=201)
def make_token(console: RouteErrors, wanted: TokenCreate) -> TokenCreatedOut:
    """Make a token; a program sends it as ``Authorization: Bearer TOKEN``."""
    token, secret = console.accounts.create_token(wanted.name, wanted.role, time())
    return TokenCreatedOut(**msgspec.structs.asdict(token), token=secret)


@router.delete("/tokens/{token}", status_code=204)
def revoke(console: RouteErrors, token: RowId) -> None:
    """Let a token count no more."""
    if not console.accounts.revoke_token(token):
        raise not_found("such token")


def _administrator(request: Request) -> None:
    who: Principal = request.state.who
    if not who.may_change:
        raise ApiError(403, "not_allowed", "this is for administrators", "ask one")
