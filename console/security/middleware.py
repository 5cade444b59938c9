"""What every request passes first: is it meant for this host, from this page, by somebody who may?"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from time import time
from urllib.parse import urlsplit

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facegate.console.security.accounts import Accounts, Principal

COOKIE = "facegate"
MOST_BODY, MOST_UPLOAD = 256 * 1024, 12 * 2**20
"""Bytes of a request: of a form or JSON, and of one with pictures."""
OPEN = ("/login", "/static/", "/api/v1/session", "/healthz")
"""Paths for everybody who reaches this host."""
SAFE = ("GET", "HEAD", "OPTIONS")
ASKING = ("/api/v1/score",)
"""Paths that take something and change nothing: for who may look, too."""
LOCAL_USER = Principal("this host", "administrator")
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class _Refusal(msgspec.Struct, frozen=True):
    status: int
    error: str
    message: str
    remedy: str


class _TooLargeError(Exception):
    """More came than was announced, or than is taken."""


class AccessMiddleware:
    """ASGI middleware; leaves who it is in ``scope["state"]["who"]``."""

    def __init__(self, app: ASGIApp, accounts: Accounts, hosts: Collection[str]) -> None:
        """Configure.

        Args:
            app: what is guarded.
            accounts: of whom may come in.
            hosts: names of this host beside its addresses, ``localhost`` and its own name.
        """
        self._app = app
        self._accounts = accounts
        self._hosts = {"localhost", socket.gethostname().lower(), *(host.lower() for host in hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        who = self._principal(headers)
        scope.setdefault("state", {})["who"] = who
        refusal = self._rejection(scope, headers, who)
        if refusal is not None:
            await _refuse(refusal, scope, send)
            return
        limit = MOST_UPLOAD if headers.get("content-type", "").startswith("multipart/") else MOST_BODY
        if headers.get("content-length", "0").isdigit() and int(headers.get("content-length", "0")) > limit:
            await _refuse(_too_large(limit), scope, send)
            return
        begun = False

        async def guarded_send(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                own = {key.encode(): value.encode() for key, value in HEADERS.items()}
                if not scope["path"].startswith("/static/"):
                    own[b"cache-control"] = b"no-store"
                present = {key.lower() for key, _ in message["headers"]}
                message["headers"] += [(key, value) for key, value in own.items() if key not in present]
            await send(message)

        came = 0

        async def guarded_receive() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > limit:
                raise _TooLargeError
            return message

        try:
            await self._app(scope, guarded_receive, guarded_send)
        except _TooLargeError:
            if not begun:
                await _refuse(_too_large(limit), scope, send)
        except asyncio.CancelledError:  # what took longer than a console that ends waits for
            if begun:
                raise
            await _refuse(_Refusal(503, "ending", "the console is ending", "start it again"), scope, send)

    def _principal(self, headers: dict[str, str]) -> Principal | None:
        if not self._accounts.auth_required():
            return LOCAL_USER
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and secret:
            return self._accounts.token_principal(secret.strip())
        key = session_key(headers.get("cookie", ""))
        return None if key is None else self._accounts.session_principal(key, time())

    def _rejection(self, scope: Scope, headers: dict[str, str], who: Principal | None) -> _Refusal | None:
        host = headers.get("host", "")
        if not self._authenticate(host):
            return _Refusal(
                421,
                "wrong_host",
                "this is not a name of this host",
                "open it by its address, or start with --host NAME",
            )
        path, method = scope["path"], scope["method"]
        if method not in SAFE and "authorization" not in headers and not _same_origin(headers, host):
            return _Refusal(403, "cross_site", "another page asked for this", "do it on the console's own page")
        if path.startswith(OPEN):
            return None
        if who is None:
            return _Refusal(401, "login_needed", "nobody is logged in", "log in, or send a token")
        if method not in SAFE and path not in ASKING and not who.may_change:
            return _Refusal(403, "not_allowed", f"{who.name} may look but not change", "ask an administrator")
        return None

    def _authenticate(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.lower().removesuffix(".local") in self._hosts or name.lower() in self._hosts
        return True  # by an address nobody is led here from another page's name


def session_key(cookies: str) -> str | None:
    """The session in a request's cookies."""
    try:
        found = SimpleCookie(cookies).get(COOKIE)
    except CookieError:
        return None
    return None if found is None else found.value


def _same_origin(headers: dict[str, str], host: str) -> bool:
    """Whether a browser says that the console's own page asks; programs that say nothing are no browsers."""
    site = headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == host


def _too_large(limit: int) -> _Refusal:
    return _Refusal(413, "too_large", f"more than {limit // 1024} KiB", "send less, or smaller pictures")


async def _refuse(refusal: _Refusal, scope: Scope, send: Send) -> None:
    page = not scope["path"].startswith("/api/")
    headers = [(key.encode(), value.encode()) for key, value in HEADERS.items()]
    if page and refusal.status == 401:
        await send({"type": "http.response.start", "status": 303, "headers": [(b"location", b"/login"), *headers]})
        await send({"type": "http.response.body", "body": b""})
        return
    body = msgspec.json.encode({"error": refusal.error, "message": refusal.message, "remedy": refusal.remedy})
    kind = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    if refusal.status == 401:
        kind.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": refusal.status, "headers": [*kind, *headers]})
    await send({"type": "http.response.body", "body": body})
