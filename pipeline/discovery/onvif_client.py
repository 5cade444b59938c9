"""SOAP requests to ONVIF devices: login, clock, faults.

A device is always asked at the address at which it was reached: what it states about itself is wrong behind address
translation. Its clock is read first, since a login (WS-Security UsernameToken) is valid for minutes of its time.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import secrets
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit, urlunsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from facegate.errors import SourceError
from facegate.pipeline.login.digest import UnauthorizedError, authorization, parse_challenges, strongest

DEVICE = "http://www.onvif.org/ver10/device/wsdl"
SECURITY = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
UTILITY = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
TOKEN = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest"
MAX_ANSWER = 2**20
DENIED = ("notauthorized", "failedauthentication", "sender not authorized", "invalidsecurity")

Login = tuple[str, str]
"""User and password."""


class OnvifClient:
    """Asks one device."""

    def __init__(self, url: str, login: Login | None, timeout_s: float, now: Callable[[], datetime]) -> None:
        """Prepare; nothing is sent yet.

        Args:
            url: of the device service, at the address at which the device is reached.
            login: user and password of the device.
            timeout_s: seconds to wait for each answer.
            now: the current time (UTC).
        """
        self.url, self._login, self._timeout_s, self._now = url, login, timeout_s, now
        self._offset = timedelta()

    def read_clock(self) -> float | None:
        """Return the device's time minus this host's, seconds; ``None`` if it does not say."""
        try:
            answer = self.call(self.url, DEVICE, "GetSystemDateAndTime", "", signed=False)
        except UnauthorizedError:  # the specification says that it needs no login, and not all devices know
            if self._login is None:
                raise
            answer = self.call(self.url, DEVICE, "GetSystemDateAndTime", "")
        stated = next(iter(descendants(answer, "UTCDateTime")), None)
        if stated is None:
            return None
        try:
            numbers = [int(text_of(stated, name)) for name in ("Year", "Month", "Day", "Hour", "Minute", "Second")]
            self._offset = datetime(*numbers, tzinfo=UTC) - self._now()  # type: ignore[misc, arg-type]
        except ValueError:
            return None
        return round(self._offset.total_seconds(), 1)

    def here(self, url: str, *, port: bool = True) -> str:
        """Return a URL with the host, and with ``port`` also the port, at which the device was reached."""
        parts, here = urlsplit(url), urlsplit(self.url)
        host = f"[{here.hostname}]" if ":" in (here.hostname or "") else here.hostname or ""
        netloc = here.netloc if port else host + ("" if parts.port is None else f":{parts.port}")
        return urlunsplit((here.scheme if port else parts.scheme, netloc, parts.path, parts.query, ""))

    def call(
        self,
        url: str,
        namespace: str,
        name: str,
        body: str = "",
        *,
        signed: bool = True,
        action: str | None = None,
        header: str = "",
        wait_s: float = 0.0,
    ) -> ElementTree.Element:
        """Send a request; return the answer's envelope.

        Args:
            url: of the service.
            namespace: of the request's element.
            name: of the request's element.
            body: its content, XML.
            signed: send the login.
            action: SOAP action; namespace and name by default.
            header: further header blocks, XML.
            wait_s: seconds that the device may take on purpose.

        Raises:
            UnauthorizedError: the login is wrong, or missing.
            SourceError: it does not answer, refuses, or does not answer as ONVIF says.
        """
        security = "" if self._login is None or not signed else self._token(*self._login)
        content = (
            '<?xml version="1.0" encoding="UTF-8"?><e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope" '
            f'xmlns:q="{namespace}"><e:Header>{security}{header}</e:Header><e:Body><q:{name}>{body}</q:{name}></e:Body>'
            "</e:Envelope>"
        ).encode()
        action = action or f"{namespace}/{name}"
        headers = {"Content-Type": f'application/soap+xml; charset=utf-8; action="{action}"'}
        status, answer, offered = self._post(url, content, headers, wait_s)
        challenge = strongest(parse_challenges(offered)) if status == 401 else None
        if challenge is not None and self._login is not None:  # some devices want the login of HTTP
            parts = urlsplit(url)
            uri = urlunsplit(("", "", parts.path or "/", parts.query, ""))
            told = authorization(challenge, "POST", uri, *self._login, cnonce=secrets.token_hex(8))
            status, answer, _ = self._post(url, content, headers | {"Authorization": told}, wait_s)
        if status in (401, 403) or (status >= 400 and any(word in answer.lower().decode() for word in DENIED)):
            wrong = "needs a login: set user and password" if self._login is None else "rejected the credentials"
            check = "" if self._login is None else ": check user and password"
            raise UnauthorizedError(f"{urlsplit(url).netloc} {wrong}{check}")
        try:
            root = ElementTree.fromstring(answer)
        except ElementTree.ParseError as error:
            raise SourceError(
                f"{urlsplit(url).netloc} does not speak ONVIF: HTTP {status}; enable ONVIF"
            ) from error
        fault = next(iter(descendants(root, "Fault")), None)
        if fault is not None:
            reason = text_of(fault, "Text") or text_of(fault, "faultstring") or f"HTTP {status}"
            raise SourceError(f"{urlsplit(url).netloc} refuses {name}: {reason}")
        return root

    def _post(
        self, url: str, content: bytes, headers: dict[str, str], wait_s: float
    ) -> tuple[int, bytes, list[str]]:
        """Return status, body and challenges; proxies of the environment are not asked for cameras."""
        parts = urlsplit(url)
        timeout_s = self._timeout_s + wait_s
        connection: http.client.HTTPConnection = http.client.HTTPConnection(parts.netloc, timeout=timeout_s)
        if parts.scheme == "https":
            context = ssl._create_unverified_context()
            connection = http.client.HTTPSConnection(parts.netloc, timeout=timeout_s, context=context)
        path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        try:
            connection.request("POST", path, content, headers)
            response = connection.getresponse()
            return response.status, response.read(MAX_ANSWER), response.headers.get_all("WWW-Authenticate", [])
        except (OSError, http.client.HTTPException) as error:
            reason = "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
            raise SourceError(f"{parts.netloc} does not answer ONVIF: {reason}; enable ONVIF") from error
        finally:
            connection.close()

    def _token(self, user: str, password: str) -> str:
        nonce, created = secrets.token_bytes(16), (self._now() + self._offset).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        digest = hashlib.sha1(nonce + created.encode() + password.encode(), usedforsecurity=False).digest()
        return (
            f'<w:Security xmlns:w="{SECURITY}" e:mustUnderstand="true"><w:UsernameToken>'
            f"<w:Username>{escape(user)}</w:Username>"
            f'<w:Password Type="{TOKEN}">{base64.b64encode(digest).decode()}</w:Password>'
            f"<w:Nonce>{base64.b64encode(nonce).decode()}</w:Nonce>"
            f'<u:Created xmlns:u="{UTILITY}">{created}</u:Created></w:UsernameToken></w:Security>'
        )


def descendants(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """Descendants of a local name; devices disagree about namespaces."""
    return [each for each in element.iter() if each.tag.rpartition("}")[2] == name]


def text_of(element: ElementTree.Element, name: str) -> str:
    """Text of the first descendant of a local name; empty without one."""
    found = next(iter(descendants(element, name)), None)
    return "" if found is None else (found.text or "").strip()
