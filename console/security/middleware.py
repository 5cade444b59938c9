"""Access control of every request: host, origin, authentication, role, size."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from time import time
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facegate.console.problems import MEDIA_TYPE, problem
from facegate.console.security.accounts import Accounts, Principal
from facegate.console.security.permissions import may_request
from facegate.console.security.proxy import NO_PROXY, ProxySettings

COOKIE = "facegate"
MAX_BODY, MAX_UPLOAD = 256 * 1024, 12 * 2**20
"""Maximum bytes of a request body: JSON or a form; with uploaded files."""
PUBLIC = ("/login", "/api/v1/session", "/healthz")
"""Paths that need no login."""
SAFE = ("GET", "HEAD", "OPTIONS")
READ_ONLY_POSTS = ("/api/v1/score", "/api/v1/search")
"""Paths that viewers may post to, because nothing is changed."""
ROLE_HEADER = "x-facegate-role"
"""A program that shows this console to a user of its own may ask for less than its token allows: ``viewer``."""
LOCAL_USER = Principal("this host", "administrator")
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "media-src 'self'; worker-src 'self'; manifest-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
FRAMED_HEADERS = {
    "content-security-policy": HEADERS["content-security-policy"].replace(
        "frame-ancestors 'none'", "frame-ancestors 'self'"
    ),
    "x-frame-options": "SAMEORIGIN",
}
"""Behind a proxy that logs users in, whose own pages show the console in a frame."""


class _TooLargeError(Exception):
    """The body is larger than the limit."""


class AccessMiddleware:
    """ASGI middleware; puts the authenticated :class:`Principal` into ``scope["state"]["principal"]``."""

    def __init__(
        self, app: ASGIApp, accounts: Accounts, hosts: Collection[str], proxy: ProxySettings = NO_PROXY
    ) -> None:
        """Configure.

        Args:
            app: the protected app.
            accounts: users, sessions and tokens.
            hosts: accepted host names in addition to addresses, ``localhost`` and the name of this host.
            proxy: the reverse proxy in front of the console.
        """
        self._app = app
        self._accounts = accounts
        self._proxy = proxy
        self._headers = HEADERS if proxy.address is None else HEADERS | FRAMED_HEADERS
        self._hosts = {"localhost", socket.gethostname().lower(), *(host.lower() for host in hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = self._proxy.without_base_path(scope)
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        proxied = self._proxy.is_sender(scope)
        principal = LOCAL_USER if proxied else self._principal(headers)
        scope.setdefault("state", {})["principal"] = principal
        rejection = self._rejection(scope, headers, principal, proxied=proxied)
        if rejection is not None:
            await _reject(rejection, scope, send)
            return
        limit = MAX_UPLOAD if headers.get("content-type", "").startswith("multipart/") else MAX_BODY
        if headers.get("content-length", "0").isdigit() and int(headers.get("content-length", "0")) > limit:
            await _reject(_too_large(limit), scope, send)
            return
        started = False

        async def guarded_send(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                own = {key.encode(): value.encode() for key, value in self._headers.items()}
                if not scope["path"].startswith("/static/"):
                    own[b"cache-control"] = b"no-store"
                present = {key.lower() for key, _ in message["headers"]}
                message["headers"] += [(key, value) for key, value in own.items() if key not in present]
            await send(message)

        received = 0

        async def guarded_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise _TooLargeError
            return message

        try:
            await self._app(scope, guarded_receive, guarded_send)
        except _TooLargeError:
            if not started:
                await _reject(_too_large(limit), scope, send)
        except asyncio.CancelledError:  # longer than the shutdown waits
            if started:
                raise
            rejection = problem("shutting_down", "the console is shutting down", "retry after it has restarted")
            await _reject(rejection, scope, send)

    def _principal(self, headers: dict[str, str]) -> Principal | None:
        if not self._accounts.auth_required():
            return LOCAL_USER
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and secret:
            found = self._accounts.token_principal(secret.strip())
            less = headers.get(ROLE_HEADER) == "viewer"
            return Principal(found.name, "viewer") if found is not None and less else found
        key = session_key(headers.get("cookie", ""))
        return None if key is None else self._accounts.session_principal(key, time())

    def _rejection(
        self, scope: Scope, headers: dict[str, str], principal: Principal | None, *, proxied: bool
    ) -> dict[str, Any] | None:
        host = headers.get("host", "")
        if self._proxy.address is not None and not proxied and not self._proxy.is_health_check(scope):
            return problem("forbidden", "only the reverse proxy may connect", "open the console through it")
        if not proxied and not self._is_own_host(host):
            return problem(
                "wrong_host",
                f"{host[:80]!r} is not a host name of this console",
                "use its address, or start 'facegate serve' with --host NAME",
            )
        path, method = scope["path"], scope["method"]
        if method not in SAFE and "authorization" not in headers and not _same_origin(headers, host):
            return problem("cross_site", "the request comes from another site", "use the pages of the console")
        if path in PUBLIC or path.startswith("/static/"):
            return None
        if principal is None:
            return problem("login_required", "not logged in", "log in, or send a token")
        if method not in SAFE and path not in READ_ONLY_POSTS and not principal.may_change:
            return problem("forbidden", f"{principal.name} is a viewer", "ask an administrator")
        if not may_request(principal, path):
            return problem("forbidden", f"{principal.name} may see some cameras only", "ask an administrator")
        return None

    def _is_own_host(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.lower().removesuffix(".local") in self._hosts or name.lower() in self._hosts
        return True  # DNS rebinding needs a name


def session_key(cookies: str) -> str | None:
    """Session key in the cookies of a request; ``None`` if there is none."""
    try:
        found = SimpleCookie(cookies).get(COOKIE)
    except CookieError:
        return None
    return None if found is None else found.value


def _same_origin(headers: dict[str, str], host: str) -> bool:
    """Whether the request comes from the console's own pages, or from a program that sends neither header."""
    site = headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == host


def _too_large(limit: int) -> dict[str, Any]:
    return problem("too_large", f"the body exceeds {limit // 1024} KiB", "send less, or smaller pictures")


async def _reject(document: dict[str, Any], scope: Scope, send: Send) -> None:
    page = not scope["path"].startswith("/api/")
    headers = [(key.encode(), value.encode()) for key, value in HEADERS.items()]
    if page and document["status"] == 401:
        # Relative, as a reverse proxy may show the console below a prefix.
        depth, query = scope["path"].count("/") - 1, scope["query_string"].decode("latin-1")
        wanted = scope["path"][1:] + (f"?{query}" if query else "")
        # An address that somebody was sent is opened after the login.
        location = "../" * depth + "login" + (f"?{urlencode({'next': wanted})}" if depth or query else "")
        found = (b"location", location.encode())
        await send({"type": "http.response.start", "status": 303, "headers": [found, *headers]})
        await send({"type": "http.response.body", "body": b""})
        return
    body = msgspec.json.encode(document)
    kind = [(b"content-type", MEDIA_TYPE.encode()), (b"cache-control", b"no-store")]
    if document["status"] == 401:
        kind.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": document["status"], "headers": [*kind, *headers]})
    await send({"type": "http.response.body", "body": body})
