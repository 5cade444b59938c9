"""A relay on loopback that logs in at a camera in FFmpeg's place.

FFmpeg 8.1 answers Digest with MD5 alone, and of several challenges the last. Where a camera offers SHA-256, FFmpeg
connects to the relay, which passes everything on and puts the login into each request. Nobody else on this host
can use it: it accepts one connection, whose first request must name the relay's secret path.
"""

from __future__ import annotations

import contextlib
import secrets
import select
import socket
import ssl
from collections.abc import Iterator
from threading import Lock, Thread
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit, urlunsplit

from facegate.pipeline.login.digest import (
    Challenge,
    UnauthorizedError,
    authorization,
    parse_challenges,
    strongest,
)

CHUNK = 65_536
MAX_HEAD = 64 * 1024
SILENT_S = 3600.0
"""Seconds without a word from the camera after which the relay ends; FFmpeg gives up long before."""
PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}


class SharedSocket:
    """A socket that one thread reads and another writes, also where it is one of TLS, whose state both change."""

    def __init__(self, sock: socket.socket, silent_s: float = SILENT_S) -> None:
        """Take over a socket; reading ends after ``silent_s`` without a word."""
        self._sock = sock
        self.silent_s = silent_s
        self._lock = Lock()

    def recv(self, size: int) -> bytes:
        """Return what came; empty at the end.

        Raises:
            OSError: the connection broke, or nothing came in time.
        """
        while True:
            pending = isinstance(self._sock, ssl.SSLSocket) and self._sock.pending()
            if not pending and not select.select([self._sock], [], [], self.silent_s)[0]:
                raise TimeoutError("nothing was received")
            with self._lock:
                self._sock.setblocking(False)
                try:
                    return self._sock.recv(size)
                except (ssl.SSLWantReadError, BlockingIOError):
                    continue
                finally:
                    self._sock.settimeout(self.silent_s)

    def sendall(self, data: bytes) -> None:
        """Send all of it."""
        with self._lock:
            self._sock.sendall(data)

    def end(self) -> None:
        """End the connection, and wake its reader; its descriptor stays open, or another might get its number."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close, when no other thread uses it."""
        self.end()
        self._sock.close()


def offered_challenge(url: str, tls: ssl.SSLContext, timeout_s: float) -> Challenge | None:
    """Ask a server, without a login, for its strongest challenge; ``None`` if FFmpeg knows it too.

    Args:
        url: with a login, which is not sent.
        tls: for ``rtsps`` and ``https``.
        timeout_s: seconds to wait for it.
    """
    parts = urlsplit(url)
    asked = urlunsplit((parts.scheme, _host(url), parts.path, parts.query, ""))
    head = f"DESCRIBE {asked} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"
    if parts.scheme.startswith("http"):
        target = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        head = f"GET {target} HTTP/1.1\r\nHost: {_host(url)}\r\nConnection: close\r\n\r\n"
    try:
        server = _connected(url, tls, timeout_s)
        with contextlib.closing(server):
            server.sendall(head.encode())
            answer = next(_messages(server), b"")
    except (OSError, ValueError):
        return None
    challenge = strongest(_challenges(answer))
    return challenge if challenge is not None and challenge.strength > 1 else None


def rtsp_status(url: str, tls: ssl.SSLContext, timeout_s: float) -> int:
    """Return the status with which an RTSP server answers DESCRIBE, after a login if the URL has one.

    Raises:
        OSError: there is no answer.
        UnauthorizedError: the login is missing or wrong.
    """
    parts = urlsplit(url)
    asked = urlunsplit((parts.scheme, _host(url), parts.path, parts.query, ""))
    login, status = "", 0
    server = _connected(url, tls, timeout_s)
    with contextlib.closing(server):
        messages = _messages(server)
        for number in (1, 2):
            head = f"DESCRIBE {asked} RTSP/1.0\r\nCSeq: {number}\r\n{login}Accept: application/sdp\r\n\r\n"
            server.sendall(head.encode())
            try:
                answer = next(messages, b"")
                status = int(answer.split(b" ", 2)[1])
            except (ValueError, IndexError) as error:
                raise OSError("no RTSP server") from error
            challenge = strongest(_challenges(answer))
            if status != 401 or challenge is None or parts.username is None:
                break
            user, password = unquote(parts.username), unquote(parts.password or "")
            told = authorization(challenge, "DESCRIBE", asked, user, password, cnonce=secrets.token_hex(8))
            login = f"Authorization: {told}\r\n"
    if status in (401, 403):
        raise UnauthorizedError(f"{parts.hostname} rejected the credentials: check user and password")
    return status


def certificate_problem(url: str, tls: ssl.SSLContext, timeout_s: float) -> str | None:
    """Return what is wrong with a server's certificate; ``None`` if nothing is, or it does not answer."""
    try:
        _connected(url, tls, timeout_s).close()
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except (OSError, ValueError):
        pass
    return None


class LoginRelay:
    """Accepts one connection for a camera and logs in there."""

    def __init__(self, url: str, challenge: Challenge, tls: ssl.SSLContext, timeout_s: float) -> None:
        """Bind; nothing is connected before FFmpeg does.

        Args:
            url: of the camera, with the login.
            challenge: from :func:`offered_challenge`; a newer one of the connection replaces it.
            tls: for ``rtsps`` and ``https``.
            timeout_s: seconds to wait for the camera's connection.
        """
        parts = urlsplit(url)
        self._camera, self._tls, self._timeout_s = url, tls, timeout_s
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        self._secret = secrets.token_hex(16)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._own = f"127.0.0.1:{self._listener.getsockname()[1]}"
        scheme = parts.scheme.removesuffix("s")
        self.url = urlunsplit((scheme, self._own, f"/{self._secret}{parts.path}", parts.query, ""))
        """What FFmpeg opens instead."""
        self._challenge = challenge
        self._count = 0
        self._last = b""
        """The newest request, as FFmpeg sent it, until it was answered."""
        self._lock = Lock()
        self._sockets = [SharedSocket(self._listener)]
        self._threads = [Thread(target=self._serve, name="facegate-login-relay", daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for sock in sockets:
            sock.end()
        for thread in self._threads:
            thread.join()
        for sock in sockets:
            sock.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while True:  # until a client knows the secret
                client = SharedSocket(self._listener.accept()[0])
                self._keep(client)
                requests = _messages(client)
                first = next(requests, b"")
                if self._secret.encode() in first.split(b"\r\n", 1)[0]:
                    break
                client.end()
            server = _connected(self._camera, self._tls, self._timeout_s)
            server.silent_s = SILENT_S
            self._keep(server)
            back = Thread(target=self._return, args=(server, client), daemon=True)
            self._threads.append(back)
            back.start()
            try:
                self._request(server, first)
                for message in requests:
                    self._request(server, message)
            finally:
                server.end()

    def _keep(self, sock: SharedSocket) -> None:
        with self._lock:
            if not self._sockets:
                sock.close()
                raise OSError("the relay was closed")
            self._sockets.append(sock)

    def _request(self, server: SharedSocket, message: bytes) -> None:
        """Pass on what FFmpeg sent: a request, with the login once it is known, or RTCP as it is."""
        if message[:1] != b"$":
            self._last = message
            message = self._signed(message)
        server.sendall(message)

    def _return(self, server: SharedSocket, client: SharedSocket) -> None:
        """Pass on what the camera sends, except a challenge, which is answered once per request."""
        with contextlib.suppress(OSError, ValueError):
            for message in _messages(server):
                status = message[:40].split(b" ", 2)
                refused = message[:1] != b"$" and len(status) > 1 and status[1] == b"401"
                challenge = strongest(_challenges(message)) if refused and self._last else None
                if challenge is None:
                    client.sendall(message)
                    continue
                self._challenge, self._count = challenge, 0
                request, self._last = self._signed(self._last), b""
                server.sendall(request)
        client.end()

    def _signed(self, request: bytes) -> bytes:
        head = request.replace(f"/{self._secret}".encode(), b"").replace(
            self._own.encode(), _host(self._camera).encode()
        )
        self._count += 1
        method, uri = head.split(b" ", 2)[:2]
        login = authorization(
            self._challenge,
            method.decode(),
            uri.decode(),
            self._user,
            self._password,
            cnonce=secrets.token_hex(8),
            count=self._count,
        )
        line, rest = head.split(b"\r\n", 1)
        return line + b"\r\nAuthorization: " + login.encode() + b"\r\n" + rest


def _host(url: str) -> str:
    """Address of a URL, without its login."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _connected(url: str, tls: ssl.SSLContext, timeout_s: float) -> SharedSocket:
    parts = urlsplit(url)
    server = socket.create_connection((parts.hostname or "", parts.port or PORTS[parts.scheme]), timeout=timeout_s)
    if parts.scheme in ("rtsps", "https"):
        server = tls.wrap_socket(server, server_hostname=parts.hostname)
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return SharedSocket(server, timeout_s)


def _challenges(answer: bytes) -> list[Challenge]:
    lines = answer.split(b"\r\n\r\n", 1)[0].decode("utf-8", "replace").split("\r\n")[1:]
    headers = [line.partition(":") for line in lines]
    return parse_challenges(value for name, _, value in headers if name.strip().lower() == "www-authenticate")


def _messages(sock: SharedSocket) -> Iterator[bytes]:
    """Yield RTP frames of RTSP, and requests and responses with their bodies; an HTTP response's body in pieces."""
    buffer = b""
    while chunk := sock.recv(CHUNK):
        buffer += chunk
        while buffer:
            if buffer[:1] == b"$":
                length = 4 + int.from_bytes(buffer[2:4], "big") if len(buffer) >= 4 else len(buffer) + 1
            else:
                end = buffer.find(b"\r\n\r\n")
                length = end + 4 + _body_length(buffer[:end]) if end >= 0 else len(buffer) + 1
                if end < 0 and len(buffer) > MAX_HEAD:
                    raise ValueError("no message of RTSP or HTTP")
                if end >= 0 and buffer.startswith(b"HTTP/") and buffer.split(b" ", 2)[1] != b"401":
                    yield buffer
                    while chunk := sock.recv(CHUNK):
                        yield chunk
                    return
            if len(buffer) < length:
                break
            yield buffer[:length]
            buffer = buffer[length:]


def _body_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0
