"""Routes ``/health``, ``/config``, ``/session`` and ``/tokens``."""

from __future__ import annotations

from time import time
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, SecretStr

from facegate.console.security.accounts import Principal
from facegate.console.security.middleware import COOKIE, session_key
from facegate.console.security.routes import check_administrator
from facegate.console.web.errors import ERROR_RESPONSES, ApiError, ConsoleDep, not_found
from facegate.console.web.models import ConfigVersionOut, RowId, Strict

router = APIRouter(tags=["system"], responses=ERROR_RESPONSES)


class ProcessOut(BaseModel):
    """State of a process of the console."""

    name: str
    running: bool
    pid: int | None
    since: float | None
    starts: int
    last_exit: int | None
    last_log_lines: str | None


class LogLineOut(BaseModel):
    """A log line of a process."""

    at: float
    process: str
    level: str
    event: str
    details: dict[str, str]


class HealthOut(BaseModel):
    """Health of the console and its processes."""

    gate: ProcessOut
    gate_finished: bool
    worker: ProcessOut
    config: str
    """Version of the running configuration."""
    config_changed: bool
    """The file was edited by hand; ``POST /config/load`` applies it."""
    config_problem: str | None
    report: dict[str, Any] | None
    """Report of the gate (docs/reference/run-report.md); ``null`` while the gate is unreachable."""
    lines: list[LogLineOut]
    stored: dict[str, int]
    """Numbers of ``shots`` and ``visits``; empty while the store cannot be read."""
    disk: dict[str, int]
    """Bytes of the store and of the recordings, and free space."""
    notices: list[str]
    """Files that cannot be read, damaged files, and their replacements."""


class LoginIn(Strict):
    """Credentials."""

    name: Annotated[str, Field(max_length=64)]
    password: SecretStr


class SessionOut(BaseModel):
    """The logged-in user."""

    needed: bool
    """Whether a login is required."""
    name: str | None
    role: str | None


class TokenCreate(Strict):
    """A new token for a program."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    role: Literal["viewer", "administrator"] = "viewer"


class TokenOut(BaseModel):
    """A token without its secret."""

    id: int
    name: str
    role: str
    created: float


class TokenCreatedOut(TokenOut):
    """A new token; ``token`` is only shown once."""

    token: str


@router.get("/health")
def health(console: ConsoleDep) -> HealthOut:
    """Processes, the gate's report, warnings and errors."""
    found = console.supervisor.health()
    stored, notices = console.stored()
    return HealthOut(
        gate=ProcessOut(**msgspec.structs.asdict(found.gate)),
        gate_finished=found.gate_finished,
        worker=ProcessOut(**msgspec.structs.asdict(found.worker)),
        config=found.config_tag,
        config_changed=found.config_changed,
        config_problem=found.config_problem,
        report=console.report(),
        lines=[LogLineOut(**msgspec.structs.asdict(line)) for line in found.lines],
        stored=stored,
        disk=console.disk(),
        notices=notices,
    )


@router.post("/config/load")
def load(console: ConsoleDep) -> ConfigVersionOut:
    """Apply the configuration file after it was edited by hand."""
    return ConfigVersionOut(config=console.supervisor.load().tag)


@router.post("/config/undo")
def undo(console: ConsoleDep) -> ConfigVersionOut:
    """Undo the last change of the configuration made by the console."""
    return ConfigVersionOut(config=console.supervisor.undo().tag)


@router.get("/session")
def session(console: ConsoleDep, request: Request) -> SessionOut:
    """The logged-in user."""
    principal: Principal | None = request.state.principal
    return SessionOut(
        needed=console.accounts.auth_required(),
        name=None if principal is None else principal.name,
        role=None if principal is None else principal.role,
    )


@router.post("/session")
def log_in(console: ConsoleDep, request: Request, response: Response, login: LoginIn) -> SessionOut:
    """Log in; sets a session cookie."""
    address = request.client.host if request.client else "?"
    sources = (f"from {address}", f"as {login.name}")
    for source in sources:
        wait = console.throttle.wait_s(source, time())
        if wait > 0:
            raise ApiError("too_many_attempts", "too many failed logins", f"retry in {max(1, round(wait))} seconds")
    old = session_key(request.headers.get("cookie", ""))
    key = console.accounts.log_in(login.name, login.password.get_secret_value(), time())
    if key is None:
        for source in sources:
            console.throttle.record_failure(source, time())
        raise ApiError("wrong_credentials", "name or password is wrong", "retry, or ask an administrator")
    if old is not None:
        console.accounts.log_out(old)
    for source in sources:
        console.throttle.record_success(source)
    response.set_cookie(COOKIE, key, httponly=True, samesite="strict", secure=console.secure, path="/")
    found = console.accounts.session_principal(key, time())
    assert found is not None
    return SessionOut(needed=True, name=found.name, role=found.role)


@router.delete("/session", status_code=204)
def log_out(console: ConsoleDep, request: Request, response: Response) -> None:
    """Log out; the session cookie becomes invalid."""
    key = session_key(request.headers.get("cookie", ""))
    if key is not None:
        console.accounts.log_out(key)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict", secure=console.secure)


@router.get("/tokens")
def tokens(console: ConsoleDep, request: Request) -> list[TokenOut]:
    """List tokens; for administrators."""
    check_administrator(request)
    return [TokenOut(**msgspec.structs.asdict(token)) for token in console.accounts.tokens()]


@router.post("/tokens", status_code=201)
def make_token(console: ConsoleDep, request: TokenCreate) -> TokenCreatedOut:
    """Create a token, to be sent as ``Authorization: Bearer TOKEN``."""
    token, secret = console.accounts.create_token(request.name, request.role, time())
    return TokenCreatedOut(**msgspec.structs.asdict(token), token=secret)


@router.delete("/tokens/{token}", status_code=204)
def revoke(console: ConsoleDep, token: RowId) -> None:
    """Revoke a token."""
    if not console.accounts.revoke_token(token):
        raise not_found(f"token {token}")
