"""The few requests of ONVIF (device and media service 1.0) that say which streams a camera offers.

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
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit, urlunsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import msgspec

from facegate.errors import SourceError
from facegate.pipeline.discovery.records import FoundCamera, StreamProfile, choose_streams
from facegate.pipeline.login.digest import UnauthorizedError, authorization, parse_challenges, strongest

DEVICE = "http://www.onvif.org/ver10/device/wsdl"
MEDIA = "http://www.onvif.org/ver10/media/wsdl"
SCHEMA = "http://www.onvif.org/ver10/schema"
SECURITY = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
UTILITY = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
TOKEN = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest"
MAX_ANSWER = 2**20
DENIED = ("notauthorized", "failedauthentication", "sender not authorized", "invalidsecurity")

Login = tuple[str, str]
"""User and password."""


class OnvifDevice:
    """One device's ONVIF services."""

    def __init__(self, url: str, login: Login | None, timeout_s: float, now: Callable[[], datetime]) -> None:
        """Prepare; nothing is sent yet.

        Args:
            url: of the device service, at the address at which the device is reached.
            login: user and password of the device.
            timeout_s: seconds to wait for each answer.
            now: the current time (UTC).
        """
        self._url, self._login, self._timeout_s, self._now = url, login, timeout_s, now
        self._offset = timedelta()

    def describe(self, known: FoundCamera) -> FoundCamera:
        """Ask for everything; return what is known of the device, with what was learned.

        Raises:
            UnauthorizedError: the login is wrong, or missing.
            SourceError: it does not answer, or not as ONVIF says.
        """
        offset_s = self._read_clock()
        with ThreadPoolExecutor(4) as pool:
            about, services = pool.map(
                lambda request: self._call(self._url, DEVICE, *request),
                [("GetDeviceInformation", ""), ("GetCapabilities", "<q:Category>Media</q:Category>")],
            )
            found = msgspec.structs.replace(
                known,
                vendor=_text(about, "Manufacturer"),
                model=_text(about, "Model") or known.model,
                serial=_text(about, "SerialNumber"),
                clock_offset_s=offset_s,
            )
            media = self._here(next((_text(each, "XAddr") for each in _all(services, "Media")), "") or self._url)
            main, sub = choose_streams(_profiles(self._call(media, MEDIA, "GetProfiles", "")))
            if main is None:
                return msgspec.structs.replace(
                    found, problem="it offers no video profile; set one up in the camera"
                )
            urls = pool.map(lambda each: None if each is None else self._stream(media, each), (main, sub))
            snapshot = pool.submit(self._snapshot, media, main)
            main, sub = urls
            return msgspec.structs.replace(found, main=main, sub=sub, snapshot=snapshot.result())

    def _read_clock(self) -> float | None:
        """Return the device's time minus this host's, seconds; ``None`` if it does not say."""
        try:
            answer = self._call(self._url, DEVICE, "GetSystemDateAndTime", "", signed=False)
        except UnauthorizedError:  # the specification says that it needs no login, and not all devices know
            if self._login is None:
                raise
            answer = self._call(self._url, DEVICE, "GetSystemDateAndTime", "")
        stated = next(iter(_all(answer, "UTCDateTime")), None)
        if stated is None:
            return None
        try:
            numbers = [int(_text(stated, name)) for name in ("Year", "Month", "Day", "Hour", "Minute", "Second")]
            self._offset = datetime(*numbers, tzinfo=UTC) - self._now()  # type: ignore[misc, arg-type]
        except ValueError:
            return None
        return round(self._offset.total_seconds(), 1)

    def _stream(self, media: str, profile: StreamProfile) -> StreamProfile:
        setup = (
            f'<q:StreamSetup><s:Stream xmlns:s="{SCHEMA}">RTP-Unicast</s:Stream><s:Transport xmlns:s="{SCHEMA}">'
            f"<s:Protocol>RTSP</s:Protocol></s:Transport></q:StreamSetup>"
            f"<q:ProfileToken>{escape(profile.token)}</q:ProfileToken>"
        )
        answer = self._call(media, MEDIA, "GetStreamUri", setup)
        return msgspec.structs.replace(profile, url=self._here(_text(answer, "Uri"), port=False))

    def _snapshot(self, media: str, profile: StreamProfile) -> str | None:
        token = f"<q:ProfileToken>{escape(profile.token)}</q:ProfileToken>"
        try:
            url = _text(self._call(media, MEDIA, "GetSnapshotUri", token), "Uri")
        except SourceError:  # many have none
            return None
        return self._here(url, port=False) if url else None

    def _here(self, url: str, *, port: bool = True) -> str:
        """Return a URL with the host, and with ``port`` also the port, at which the device was reached."""
        parts, here = urlsplit(url), urlsplit(self._url)
        host = f"[{here.hostname}]" if ":" in (here.hostname or "") else here.hostname or ""
        netloc = here.netloc if port else host + ("" if parts.port is None else f":{parts.port}")
        return urlunsplit((here.scheme if port else parts.scheme, netloc, parts.path, parts.query, ""))

    def _call(self, url: str, namespace: str, name: str, body: str, *, signed: bool = True) -> ElementTree.Element:
        security = "" if self._login is None or not signed else self._token(*self._login)
        content = (
            '<?xml version="1.0" encoding="UTF-8"?><e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope" '
            f'xmlns:q="{namespace}"><e:Header>{security}</e:Header><e:Body><q:{name}>{body}</q:{name}></e:Body>'
            "</e:Envelope>"
        ).encode()
        headers = {"Content-Type": f'application/soap+xml; charset=utf-8; action="{namespace}/{name}"'}
        status, answer, offered = self._post(url, content, headers)
        challenge = strongest(parse_challenges(offered)) if status == 401 else None
        if challenge is not None and self._login is not None:  # some devices want the login of HTTP
            parts = urlsplit(url)
            uri = urlunsplit(("", "", parts.path or "/", parts.query, ""))
            told = authorization(challenge, "POST", uri, *self._login, cnonce=secrets.token_hex(8))
            status, answer, _ = self._post(url, content, headers | {"Authorization": told})
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
        fault = next(iter(_all(root, "Fault")), None)
        if fault is not None:
            reason = _text(fault, "Text") or _text(fault, "faultstring") or f"HTTP {status}"
            raise SourceError(f"{urlsplit(url).netloc} refuses {name}: {reason}")
        return root

    def _post(self, url: str, content: bytes, headers: dict[str, str]) -> tuple[int, bytes, list[str]]:
        """Return status, body and challenges; proxies of the environment are not asked for cameras."""
        parts = urlsplit(url)
        connection: http.client.HTTPConnection = http.client.HTTPConnection(parts.netloc, timeout=self._timeout_s)
        if parts.scheme == "https":
            context = ssl._create_unverified_context()
            connection = http.client.HTTPSConnection(parts.netloc, timeout=self._timeout_s, context=context)
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


def _profiles(answer: ElementTree.Element) -> list[StreamProfile]:
    found = []
    for profile in _all(answer, "Profiles"):
        video = next(iter(_all(profile, "VideoEncoderConfiguration")), None)
        if video is None:
            continue
        numbers = [_text(video, name) for name in ("Width", "Height", "FrameRateLimit")]
        width, height, fps = (float(number) if number.replace(".", "").isdecimal() else 0.0 for number in numbers)
        found.append(
            StreamProfile(profile.get("token", ""), _text(video, "Encoding"), int(width), int(height), fps or None)
        )
    return found


def _all(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """Descendants of a local name; devices disagree about namespaces."""
    return [each for each in element.iter() if each.tag.rpartition("}")[2] == name]


def _text(element: ElementTree.Element, name: str) -> str:
    found = next(iter(_all(element, name)), None)
    return "" if found is None else (found.text or "").strip()
