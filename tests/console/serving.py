"""A console as a real process, and a client that sends exactly what it is told."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from ..helpers import PATIENCE_S, free_port


class Answer:
    """Status, headers and body of an answer."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Asks a console."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """JSON by default; bytes go as they are."""
        raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        sent = {} if body is None else {"Content-Type": "application/json"}
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, raw, sent | (headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def api(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Of the API."""
        return self.ask(method, "/api/v1" + path, body, {k.replace("_", "-"): v for k, v in headers.items()})

    def upload(self, path: str, field: str, content: bytes, **headers: str) -> Answer:
        """One file of a form, to the API."""
        head = f'--x\r\nContent-Disposition: form-data; name="{field}"; filename="x.jpg"\r\n'
        body = head.encode() + b"Content-Type: image/jpeg\r\n\r\n" + content + b"\r\n--x--\r\n"
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        return self.ask("POST", "/api/v1" + path, body, kind | headers)

    def get(self, path: str) -> Any:
        """What the API has."""
        answer = self.api("GET", path)
        assert answer.status == 200, answer.body
        return answer.json()

    def until(self, path: str, fine: Callable[[Any], Any], seconds: float = PATIENCE_S) -> Any:
        """Ask again until the answer is fine."""
        deadline, found = monotonic() + seconds, None
        while monotonic() < deadline:
            answer = self.api("GET", path)
            found = answer.json() if answer.status == 200 else answer.body
            if answer.status == 200 and fine(found):
                return found
            sleep(0.2)
        raise AssertionError(f"{path} never was fine: {found!r}")


class Served(Client):
    """A console that runs."""

    def __init__(self, port: int, data: Path, process: subprocess.Popen[bytes], log: Path) -> None:
        super().__init__(port)
        self.data, self.process, self.log = data, process, log


@contextmanager
def served(
    data: Path,
    *arguments: object,
    config: Path | None = None,
    tls: ssl.SSLContext | None = None,
    ready: str = "/login",
) -> Iterator[Served]:
    """``facegate serve`` on a free port until the block ends."""
    port, log = free_port(), data.parent / f"{data.name}.log"
    command = [sys.executable, "-m", "facegate", "serve", *([config] if config else []), "--data", data]
    command += ["--listen", f"127.0.0.1:{port}", *arguments]
    with log.open("ab") as out:
        process = subprocess.Popen(
            [*map(str, command)], stdout=out, stderr=out, env=os.environ, start_new_session=True
        )
    try:
        deadline = monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(OSError):
                url = f"http://127.0.0.1:{port}{ready}" if tls is None else f"https://localhost:{port}{ready}"
                urllib.request.urlopen(url, timeout=PATIENCE_S, context=tls).close()
                break
            assert process.poll() is None and monotonic() < deadline, log.read_text()
            sleep(0.1)
        yield Served(port, data, process, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        print(log.read_text()[-4000:])
