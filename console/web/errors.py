"""Every refusal of the API has one form: what is wrong for programs and for people, and what to do about it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from facegate.console.processes.config_file import ChangedMeanwhileError
from facegate.console.processes.gate_client import GateRefusedError, GateUnreachableError
from facegate.console.scoring import BusyError
from facegate.console.state import ConsoleState
from facegate.console.web.models import Problem
from facegate.errors import ConfigError, FacegateError, FleetError, GalleryError, SourceError, StoreError
from facegate.fleet.admin import UnknownNameError
from facegate.pipeline.addresses import redact

_STATUS: dict[type[FacegateError], tuple[int, str]] = {
    ChangedMeanwhileError: (409, "changed_meanwhile"),
    GateUnreachableError: (503, "gate_away"),
    GateRefusedError: (422, "refused"),
    ConfigError: (422, "not_valid"),
    GalleryError: (422, "not_enrolled"),
    SourceError: (422, "source"),
    StoreError: (503, "store"),
    BusyError: (503, "busy"),
    UnknownNameError: (404, "not_found"),
    FleetError: (503, "fleet"),
}
ERROR_CODES = {
    400: ("bad_request", "send what /api/docs describes"),
    404: ("not_found", "look at the list it should be in"),
    405: ("method_not_allowed", "send what /api/docs describes"),
    415: ("media_type", "send application/json"),
}


class ApiError(Exception):
    """A refusal with its own words."""

    def __init__(self, status: int, error: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.status = status
        self.problem = Problem(error=error, message=message, remedy=remedy)


def not_found(what: str) -> ApiError:
    """There is no such thing."""
    return ApiError(404, "not_found", f"there is no {what}", "load the list again: it may have gone")


def add_problems(app: FastAPI) -> None:
    """Let an app answer so."""

    @app.exception_handler(ApiError)
    def _own(request: Request, error: ApiError) -> JSONResponse:
        return JSONResponse(error.problem.model_dump(), error.status)

    @app.exception_handler(FacegateError)
    def _ours(request: Request, error: FacegateError) -> JSONResponse:
        status, name = next((found for kind, found in _STATUS.items() if isinstance(error, kind)), (500, "failed"))
        message, _, remedy = redact(" ".join(str(error).split())).partition("; ")
        return _problem(status, name, message, remedy or "change what the message names, and try again")

    @app.exception_handler(RequestValidationError)
    def _validation(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        message = str(first["msg"]).removeprefix("Value error, ")
        return _problem(
            422, "not_valid", f"{place}: {message}" if place else message, "send what /api/docs describes"
        )

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> JSONResponse:
        name, remedy = ERROR_CODES.get(error.status_code, ("failed", "try again"))
        answer = _problem(error.status_code, name, str(error.detail).lower(), remedy)
        answer.headers.update(error.headers or {})
        return answer


def _problem(status: int, error: str, message: str, remedy: str) -> JSONResponse:
    return JSONResponse(Problem(error=error, message=message, remedy=remedy).model_dump(), status)


def _console(request: Request) -> ConsoleState:
    console: ConsoleState = request.app.state.console
    return console


RouteErrors = Annotated[ConsoleState, Depends(_console)]
"""The console, as a parameter of a route."""
ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        400: "Not even JSON.",
        401: "Nobody is logged in.",
        403: "Not allowed, or asked by another page.",
        404: "There is no such thing.",
        409: "Changed meanwhile.",
        413: "Too large.",
        421: "Not a name of this host.",
        422: "Not valid.",
        429: "Too many wrong attempts.",
        503: "The gate or the store is away for the moment.",
    }.items()
}
