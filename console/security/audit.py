"""Appends who saw and changed what to the audit log."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import suppress
from time import monotonic, time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facegate.audit.log import AuditLog, Use
from facegate.console.security.accounts import Principal
from facegate.errors import StoreError

SAME_S = 300.0
"""Who reads the same again within this time is recorded once."""
SAFE = ("GET", "HEAD", "OPTIONS")
API = "/api/v1"
SEEN = ("/visits", "/shots", "/people", "/unknowns", "/audit", "/users", "/tokens", "/cameras/")
"""Paths of the API that show people, or who may see them. Pictures in lists are covered by their list."""
PAGES = ("/live",)
TRIALS = ("/tune", "/notifications/try", "/score")
"""Paths to which a POST changes nothing."""
SHOWN_KEYS = ("name", "role", "enabled", "cameras", "shot_id", "drained", "paused", "accept", "without")
"""Fields of requests whose values are recorded; of the others only that they were given."""
MAX_DETAILS = 500
MAX_BODY = 64 * 1024

log = structlog.get_logger(__name__)


class AuditMiddleware:
    """ASGI middleware inside of access control: appends what was seen and changed."""

    def __init__(self, app: ASGIApp, audit: AuditLog) -> None:
        self._app, self._audit = app, audit
        self._seen: dict[tuple[str, str], float] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http" or not self._is_recorded(scope):
            await self._app(scope, receive, send)
            return
        body, status = bytearray(), 0

        async def heard() -> Message:
            message = await receive()
            if len(body) <= MAX_BODY:
                body.extend(message.get("body", b""))
            return message

        async def said(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                await self._record(scope, bytes(body), status)
            await send(message)

        await self._app(scope, heard, said)

    def _is_recorded(self, scope: Scope) -> bool:
        path, method = scope["path"], scope["method"]
        if method not in SAFE:
            return method != "POST" or not path.endswith(TRIALS)
        shown = path.removeprefix(API).startswith(SEEN) and path.startswith(API) and not path.endswith(".jpg")
        if not shown and path not in PAGES:
            return False
        who, now = _who(scope), monotonic()
        if now - self._seen.get((who, path), -SAME_S) < SAME_S:
            return False
        self._seen = {key: at for key, at in self._seen.items() if now - at < SAME_S} | {(who, path): now}
        return True

    async def _record(self, scope: Scope, body: bytes, status: int) -> None:
        client = scope.get("client") or ("", 0)
        query = scope.get("query_string", b"").decode("latin-1") if scope["method"] in SAFE else ""
        details = query or _details(body)
        try:
            use = Use(
                time(), _who(scope), str(client[0]), scope["method"], scope["path"], details[:MAX_DETAILS], status
            )
            await asyncio.to_thread(self._audit.append, use)
        except (StoreError, sqlite3.Error) as error:
            with suppress(OSError):  # the log may be on the same full disk
                log.error("audit log cannot be written", reason=str(error))


def _who(scope: Scope) -> str:
    principal: Principal | None = scope["state"]["principal"]
    return "" if principal is None else principal.name


def _details(body: bytes) -> str:
    """Fields of a JSON request: values where they are harmless, otherwise the names alone."""
    try:
        given = json.loads(body) if body else {}
    except ValueError:
        return ""  # files
    if not isinstance(given, dict):
        return ""
    shown = [
        f"{key}={json.dumps(given[key], ensure_ascii=False)}" if key in SHOWN_KEYS else str(key) for key in given
    ]
    return ", ".join(shown)
