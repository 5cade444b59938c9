"""Pulling from the hub, against a server of our own that speaks its protocol; and every way in which it fails."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from facegate.errors import ModelError
from facegate.scoring.engine import load_scorer

from ..helpers import facegate


class Hub(ThreadingHTTPServer):
    """Serves one repository, ``owner/tiny``; drops the line after ``cut`` bytes of a first download."""

    def __init__(self, files: dict[str, bytes], cut: int | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.cut = cut
        self.ranges: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        del args

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = self.path.split("?")[0]
        if path.startswith("/api/models/owner/tiny/tree/"):
            entries = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in self.server.files.items()
            ]
            self._send(200, json.dumps(entries).encode(), body, {"Content-Type": "application/json"})
        elif path.startswith("/api/models/owner/tiny"):
            about = {"id": "owner/tiny", "sha": "a" * 40, "siblings": [{"rfilename": n} for n in self.server.files]}
            self._send(200, json.dumps(about).encode(), body, {"Content-Type": "application/json"})
        elif path.startswith("/owner/tiny/resolve/") and path.rsplit("/", 1)[1] in self.server.files:
            self._file(self.server.files[path.rsplit("/", 1)[1]], body)
        else:
            self._send(404, b"", body, {"X-Error-Code": "RepoNotFound"})

    def _file(self, content: bytes, body: bool) -> None:
        tag = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Repo-Commit": "a" * 40,
            "Accept-Ranges": "bytes",
        }
        if not body:
            self._send(200, content, body, tag)
            return
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        if start:
            tag["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        rest = content[start:]
        if self.server.cut is not None and not start:
            self.send_response(200)
            for key, value in (tag | {"Content-Length": str(len(rest))}).items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(rest[: self.server.cut])
            self.close_connection = True
            self.server.cut = None
            return
        self._send(206 if start else 200, rest, body, tag)

    def _send(self, status: int, content: bytes, body: bool, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


@pytest.fixture
def hub(tiny_model: Path) -> Iterator[Hub]:
    server = Hub({"README.md": b"hello", "model.safetensors": tiny_model.read_bytes()})
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def environment(hub: Hub | None, cache: Path) -> dict[str, str]:
    address = f"http://127.0.0.1:{hub.server_address[1]}" if hub else "http://127.0.0.1:9"
    return {
        "FACEGATE_CACHE": str(cache),
        "HF_ENDPOINT": address,
        "HF_HOME": str(cache / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def test_a_pulled_model_is_used_by_its_hub_id(
    hub: Hub, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = facegate("models", "pull", "owner/tiny", env=environment(hub, tmp_path))
    assert result.returncode == 0, result.stderr
    assert hashlib.sha256(tiny_model.read_bytes()).hexdigest() in result.stdout
    monkeypatch.setenv("FACEGATE_CACHE", str(tmp_path))
    crops = np.zeros((1, 112, 112, 3), np.uint8)
    found, wanted = (load_scorer(w, device="cpu", dtype="fp32").score(crops) for w in ("owner/tiny", tiny_model))
    np.testing.assert_array_equal(found.raw_score, wanted.raw_score)


def test_an_interrupted_pull_goes_on_where_it_stopped(hub: Hub, tmp_path: Path) -> None:
    # The hub's library writes and resumes in pieces of 10 MB.
    hub.files["large.pt"] = np.random.default_rng(0).bytes(24_000_000)
    hub.cut = 15_000_000
    pull = ("models", "pull", "owner/tiny", "--file", "large.pt")
    facegate(*pull, env=environment(hub, tmp_path))
    result = facegate(*pull, env=environment(hub, tmp_path))
    assert result.returncode == 0, result.stderr
    assert hashlib.sha256(hub.files["large.pt"]).hexdigest() in result.stdout
    assert any(asked and asked.startswith("bytes=") and not asked.startswith("bytes=0-") for asked in hub.ranges)


def test_what_cannot_be_pulled_is_said_in_a_line(hub: Hub, tmp_path: Path) -> None:
    env = environment(hub, tmp_path)
    unknown = facegate("models", "pull", "owner/none", env=env)
    assert unknown.returncode == 1 and "no repository owner/none on the hub" in unknown.stderr
    nameless = facegate("models", "pull", "cvlface", env=env)
    assert nameless.returncode == 1 and "neither a built-in model card nor a hub id" in nameless.stderr
    hub.files["second.safetensors"] = b"x"
    several = facegate("models", "pull", "owner/tiny", env=env)
    assert several.returncode == 1 and "choose one with --file" in several.stderr
    for result in (unknown, nameless, several):
        assert "Traceback" not in result.stderr
    offline = facegate("models", "pull", "owner/tiny", env=environment(None, tmp_path))
    assert offline.returncode == 1 and "cannot pull owner/tiny" in offline.stderr
    assert "Traceback" not in offline.stderr


def test_a_model_that_was_not_pulled_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEGATE_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="facegate models pull owner/tiny"):
        load_scorer("owner/tiny")
