"""Problem details (RFC 9457) of the API: one table of codes, each with a status and a title."""

from __future__ import annotations

from typing import Any

MEDIA_TYPE = "application/problem+json"
PROBLEMS: dict[str, tuple[int, str]] = {
    "bad_request": (400, "The request is malformed."),
    "login_required": (401, "Authentication is required."),
    "wrong_credentials": (401, "Name or password is wrong."),
    "forbidden": (403, "This account may not do this."),
    "cross_site": (403, "The request comes from another site."),
    "not_found": (404, "The resource does not exist."),
    "method_not_allowed": (405, "The method is not allowed."),
    "conflict": (409, "The configuration has changed since it was read."),
    "name_taken": (409, "The name is in use."),
    "too_large": (413, "The request is too large."),
    "unsupported_media_type": (415, "The content type is not supported."),
    "wrong_host": (421, "The host name is not one of this console."),
    "invalid": (422, "A value is invalid."),
    "not_enrolled": (422, "The gallery refused the change."),
    "source_failed": (422, "The camera or picture cannot be read."),
    "gate_refused": (422, "The gate refused the change."),
    "too_many_attempts": (429, "Too many failed logins."),
    "host_unavailable": (502, "The other host does not answer."),
    "internal_error": (500, "The console failed."),
    "busy": (503, "Too many requests are waiting."),
    "fleet_unavailable": (503, "The fleet is unavailable."),
    "gate_unavailable": (503, "The gate is unavailable."),
    "shutting_down": (503, "The console is shutting down."),
    "store_unavailable": (503, "The store is unavailable."),
    "disk_full": (507, "The disk is full."),
}


def problem(code: str, detail: str, remedy: str) -> dict[str, Any]:
    """Build a problem document.

    Args:
        code: key of :data:`PROBLEMS`.
        detail: what is wrong, with the value.
        remedy: what to do about it.
    """
    status, title = PROBLEMS[code]
    return {
        "type": f"/api/docs#problem-{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "remedy": remedy,
    }
