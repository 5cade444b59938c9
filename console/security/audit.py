"""Audit log: who saw and changed what. Rows are only ever appended, and each carries the hash of all before it."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from threading import Lock
from time import monotonic, time
from typing import Any

import msgspec
import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facegate.console.security.accounts import Principal
from facegate.database import Database
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

_FIRST = """
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    who TEXT NOT NULL,
    address TEXT NOT NULL,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    details TEXT NOT NULL,
    status INTEGER NOT NULL,
    digest TEXT NOT NULL
) STRICT
"""
TRIGGER = """
CREATE TRIGGER IF NOT EXISTS audit_{verb} BEFORE {verb} ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
"""

log = structlog.get_logger(__name__)


class AuditEntry(msgspec.Struct, frozen=True):
    """A request."""

    id: int
    at: float
    """Unix time (UTC)."""
    who: str
    """Name of the user or token."""
    address: str
    method: str
    path: str
    details: str
    """Fields of the request."""
    status: int
    """HTTP status: from 400 on it was refused or failed."""
    digest: str
    """SHA-256 of the entry before it and this one."""


FIELDS = AuditEntry.__struct_fields__


class AuditLog(Database):
    """The log, for any thread."""

    what = "audit log"
    remedy = "'facegate serve' creates one"
    application = 0x66674155
    steps = (_FIRST,)
    pragmas = ("synchronous=FULL",)
    failure = StoreError

    def _prepare(self) -> None:
        self._lock = Lock()
        super()._prepare()
        for verb in ("UPDATE", "DELETE"):
            self._db.execute(TRIGGER.format(verb=verb))

    def append(self, at: float, who: str, address: str, method: str, path: str, details: str, status: int) -> None:
        """Append an entry; see :class:`AuditEntry`."""
        values = (at, who, address, method, path, details, status)
        with self._lock, self._transaction():
            row = self._db.execute("SELECT digest FROM audit ORDER BY id DESC LIMIT 1").fetchone()
            digest = chained("" if row is None else row[0], *values)
            self._db.execute(
                "INSERT INTO audit (at, who, address, method, path, details, status, digest) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, digest),
            )

    def page(self, before: int | None = None, limit: int = 100) -> list[AuditEntry]:
        """Entries before that id, newest first."""
        return self._read("id < ? ORDER BY id DESC LIMIT ?", (2**62 if before is None else before, limit))

    def entries(self) -> Iterator[AuditEntry]:
        """All entries, oldest first."""
        last = 0
        while found := self._read("id > ? ORDER BY id LIMIT 1000", (last,)):
            yield from found
            last = found[-1].id

    def _read(self, condition: str, values: tuple[int, ...]) -> list[AuditEntry]:
        with self._lock, self._errors():
            rows = self._db.execute(f"SELECT {', '.join(FIELDS)} FROM audit WHERE {condition}", values).fetchall()
        return [AuditEntry(*row) for row in rows]


def chained(before: str, *values: Any) -> str:
    """Digest of an entry: SHA-256 over the digest before it and its values as a JSON array."""
    text = json.dumps([before, *values], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def to_csv(entries: Iterator[AuditEntry]) -> Iterator[str]:
    """Entries as CSV with a head, a piece at a time."""
    yield _line(FIELDS)
    for entry in entries:
        yield _line(msgspec.structs.astuple(entry))


def _line(values: Any) -> str:
    out = io.StringIO()
    # A cell that begins like a formula would be one in a spreadsheet.
    csv.writer(out).writerow([f"'{v}" if isinstance(v, str) and v[:1] in tuple("=+-@\t") else v for v in values])
    return out.getvalue()


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
            await asyncio.to_thread(
                self._audit.append,
                time(),
                _who(scope),
                str(client[0]),
                scope["method"],
                scope["path"],
                details[:MAX_DETAILS],
                status,
            )
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
