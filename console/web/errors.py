"""Errors of the API as problem documents (RFC 9457), and the console as a parameter of routes."""

from __future__ import annotations

from typing import Annotated, Any

import structlog
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from facegate.console.problems import MEDIA_TYPE, PROBLEMS, problem
from facegate.console.processes.config_file import ConfigConflictError
from facegate.console.processes.gate_client import GateRefusedError, GateUnreachableError
from facegate.console.scoring import BusyError
from facegate.console.state import REPAIR, ConsoleState
from facegate.console.web.models import Problem
from facegate.errors import (
    FREE_SPACE,
    ConfigError,
    FacegateError,
    FleetError,
    GalleryError,
    SourceError,
    StoreError,
    is_disk_full,
    os_reason,
)
from facegate.fleet.admin import UnknownNameError
from facegate.pipeline.addresses import redact
from facegate.pipeline.config.messages import explain

log = structlog.get_logger(__name__)

_CODES: dict[type[FacegateError], str] = {
    ConfigConflictError: "conflict",
    GateUnreachableError: "gate_unavailable",
    GateRefusedError: "gate_refused",
    ConfigError: "invalid",
    GalleryError: "not_enrolled",
    SourceError: "source_failed",
    StoreError: "store_unavailable",
    BusyError: "busy",
    UnknownNameError: "not_found",
    FleetError: "fleet_unavailable",
}
_REMEDIES = {
    "disk_full": FREE_SPACE,
    "internal_error": "see the log of the console, and report it",
    "invalid": "change the value named in the detail, and retry",
    "store_unavailable": REPAIR,
}
"""For errors that name none."""
_HTTP_ERRORS = {
    400: ("bad_request", "see /api/docs for the format of this request"),
    404: ("not_found", "see /api/docs for the paths that exist"),
    405: ("method_not_allowed", "see /api/docs for the methods of this path"),
    415: ("unsupported_media_type", "send application/json"),
}


class ApiError(Exception):
    """A refused request.

    Args:
        code: key of :data:`~facegate.console.problems.PROBLEMS`.
        detail: what is wrong, with the value.
        remedy: what to do about it.
    """

    def __init__(self, code: str, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.problem = problem(code, detail, remedy)


def not_found(what: str) -> ApiError:
    """The error for a resource that does not exist."""
    return ApiError("not_found", f"there is no {what}", "reload the list; it may have been removed")


def add_problems(app: FastAPI) -> None:
    """Let an app answer every error with a problem document."""

    @app.exception_handler(ApiError)
    def _api_error(request: Request, error: ApiError) -> JSONResponse:
        return _response(error.problem)

    @app.exception_handler(FacegateError)
    def _facegate_error(request: Request, error: FacegateError) -> JSONResponse:
        code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), "internal_error")
        code = "disk_full" if is_disk_full(error) else code
        detail, _, remedy = redact(" ".join(str(error).split())).partition("; ")
        return _response(problem(code, detail, remedy or _REMEDIES.get(code, _REMEDIES["invalid"])))

    @app.exception_handler(RequestValidationError)
    def _validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:])
        detail = f"{field or 'the request'}: {explain(first)}"
        return _response(problem("invalid", detail, "see /api/docs for the format of this request"))

    @app.exception_handler(HTTPException)
    def _http_error(request: Request, error: HTTPException) -> JSONResponse:
        code, remedy = _HTTP_ERRORS.get(error.status_code, ("bad_request", "see /api/docs"))
        document = problem(code, str(error.detail).lower(), remedy) | {"status": error.status_code}
        response = _response(document)
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    def _unexpected_error(request: Request, error: Exception) -> JSONResponse:
        log.error("request failed", path=request.url.path, error=type(error).__name__)
        if is_disk_full(error):
            return _response(problem("disk_full", os_reason(error), FREE_SPACE))
        return _response(problem("internal_error", "unexpected error", _REMEDIES["internal_error"]))


def declare_problems(schema: dict[str, Any]) -> dict[str, Any]:
    """Declare the errors of an OpenAPI document, which FastAPI gives as JSON, as problem documents."""
    for path in schema["paths"].values():
        for route in path.values():
            for status, response in route["responses"].items():
                if not status.startswith("2"):
                    (content,) = response["content"].values()
                    response["content"] = {MEDIA_TYPE: content}
    return schema


def _response(document: dict[str, Any]) -> JSONResponse:
    return JSONResponse(document, document["status"], media_type=MEDIA_TYPE)


def _console(request: Request) -> ConsoleState:
    console: ConsoleState = request.app.state.console
    return console


ConsoleDep = Annotated[ConsoleState, Depends(_console)]
"""The console, as a parameter of a route."""
ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {
        "model": Problem,
        "description": " ".join(title for each, title in PROBLEMS.values() if each == status),
    }
    for status in sorted({status for status, _ in PROBLEMS.values()} - {405, 415})
}
"""The errors that any route may answer with, for OpenAPI."""
