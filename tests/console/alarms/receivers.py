"""Receivers of notifications: a mail server, a server like ntfy's, and a push service."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from time import monotonic, sleep, time
from typing import Any, Self

import http_ece
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ...helpers import PATIENCE_S


class LocalReceiver:
    """What has arrived, with the Unix time of each."""

    def __init__(self, server: Callable[[], Any]) -> None:
        self.arrived: list[tuple[float, dict[str, Any]]] = []
        self._server = server()
        self._server.receiver = self
        self.port = self._server.server_address[1]

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, **message: Any) -> None:
        self.arrived.append((time(), message))

    @property
    def titles(self) -> list[str]:
        return [message["title"] for _, message in self.arrived]

    def until(self, count: int) -> list[tuple[float, dict[str, Any]]]:
        deadline = monotonic() + PATIENCE_S
        while len(self.arrived) < count:
            assert monotonic() < deadline, self.arrived
            sleep(0.02)
        return self.arrived


class _Mail(StreamRequestHandler):
    """SMTP as far as a mail needs it (RFC 5321)."""

    def handle(self) -> None:
        self.wfile.write(b"220 test\r\n")
        while line := self.rfile.readline():
            verb = line.strip().upper()[:4]
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                lines = []
                while (text := self.rfile.readline()) != b".\r\n":
                    lines.append(text.removeprefix(b".") if text.startswith(b"..") else text)
                mail: Any = message_from_bytes(b"".join(lines), policy=policy.default)
                body = mail.get_body(("plain", "html"))
                pictures = [part.get_content() for part in mail.iter_attachments()]
                self.server.receiver.add(title=mail["subject"], body=body.get_content(), pictures=pictures)  # type: ignore[attr-defined]
            self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")
            if verb == b"QUIT":
                return


class MailServer(LocalReceiver):
    def __init__(self, port: int = 0) -> None:
        ThreadingTCPServer.allow_reuse_address = True
        super().__init__(lambda: ThreadingTCPServer(("127.0.0.1", port), _Mail))

    @property
    def address(self) -> str:
        return f"mailto://127.0.0.1:{self.port}/?from=gate@example.org&to=ada@example.org"


class _Ntfy(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server: Any = self.server
        server.requests += 1
        if server.requests <= server.failures:
            self.send_response(503)
        elif self.path == "/":
            message = json.loads(body)
            server.receiver.add(title=message["title"], body=message["message"], pictures=[])
            self.send_response(200)
        else:
            from urllib.parse import parse_qs, urlsplit

            given = parse_qs(urlsplit(self.path).query)
            title = given.get("title", [self.headers.get("Title", "")])[0]
            server.receiver.add(title=title, body=given.get("message", [""])[0], pictures=[body])
            self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None: ...


class NtfyServer(LocalReceiver):
    """As https://docs.ntfy.sh/publish describes it: JSON to the root, or a file to a topic."""

    def __init__(self, port: int = 0, failures: int = 0) -> None:
        super().__init__(lambda: ThreadingHTTPServer(("127.0.0.1", port), _Ntfy))
        self._server.requests, self._server.failures = 0, failures

    @property
    def address(self) -> str:
        return f"ntfy://127.0.0.1:{self.port}/door"


class _Push(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        receiver: Any = self.server.receiver  # type: ignore[attr-defined]
        if receiver.is_gone:
            self.send_response(410)
        else:
            told = http_ece.decrypt(
                body, private_key=receiver.key, auth_secret=receiver.secret, version="aes128gcm"
            )
            receiver.add(**json.loads(told), ttl=int(self.headers["TTL"]), vapid=self.headers["Authorization"])
            self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


class PushService(LocalReceiver):
    """A push service, and the browser behind it (RFC 8030, 8291)."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(lambda: ThreadingHTTPServer(("127.0.0.1", port), _Push))
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.secret = os.urandom(16)
        self.is_gone = False

    @property
    def subscription(self) -> dict[str, Any]:
        point = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        keys = {"p256dh": _text(point), "auth": _text(self.secret)}
        return {"endpoint": f"http://127.0.0.1:{self.port}/push/1", "expirationTime": None, "keys": keys}


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
