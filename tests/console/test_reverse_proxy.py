"""The console below a prefix, behind proxies that strip it and proxies that leave it on, in a real browser."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from .serving import Client, served

PREFIX = "/apps/facegate"
PAGES = ("live", "visits", "people", "tune", "cameras", "health")


@contextmanager
def reverse_proxy(console: int, *, strip: bool, source: str = "127.0.0.1") -> Iterator[Client]:
    """Shows a console at ``PREFIX`` and nothing else; answers are passed on as they come."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if not self.path.startswith(PREFIX + "/"):
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            upstream = HTTPConnection("127.0.0.1", console, timeout=60, source_address=(source, 0))
            path = self.path[len(PREFIX) :] if strip else self.path
            upstream.request(self.command, path, body, dict(self.headers.items()))
            answer = upstream.getresponse()
            self.send_response_only(answer.status)
            for key, value in answer.headers.items():
                if key.lower() not in ("transfer-encoding", "connection"):
                    self.send_header(key, value)
            self.send_header("connection", "close")
            self.end_headers()
            while piece := answer.read1(65536):
                self.wfile.write(piece)
            self.close_connection = True
            upstream.close()

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the names of http.server

        def log_message(self, *args: object) -> None:
            """Say nothing."""

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:  # either side has gone
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Client(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("strip", [True, False])
def test_pages_login_and_live_updates_work_below_a_prefix(
    page: Page, tmp_path: Path, camera_url: str, strip: bool
) -> None:
    data = tmp_path / "data"
    subprocess.run(
        [sys.executable, "-m", "facegate", "serve", "--data", data, "--set-password", "ada"],
        input=b"correct horse\n",
        check=True,
        capture_output=True,
    )
    outside: list[str] = []
    failed: list[str] = []
    page.on("request", lambda asked: None if f"{PREFIX}/" in asked.url else outside.append(asked.url))
    page.on("response", lambda got: failed.append(got.url) if got.status >= 400 else None)
    options = () if strip else ("--base-path", PREFIX)
    with served(data, *options) as console, reverse_proxy(console.port, strip=strip) as proxy:
        start = f"{proxy.url}{PREFIX}/"
        page.goto(start)
        expect(page).to_have_url(f"{start}login")
        page.get_by_label("Name").fill("ada")
        page.get_by_label("Password").fill("correct horse")
        page.get_by_role("button", name="Log in").click()
        expect(page).to_have_url(f"{start}cameras")
        page.get_by_label("Name").fill("door")
        page.get_by_label("Address").fill(camera_url)
        page.get_by_role("button", name="Add", exact=True).click()
        # The state comes by the event stream.
        expect(page.locator("tr[data-camera=door] .state")).to_have_text("live")
        for name in PAGES:
            page.get_by_role("navigation").get_by_role("link", name=name.capitalize()).click()
            expect(page).to_have_url(f"{start}{name}")
            expect(page.locator("main")).not_to_be_empty()
        page.goto(f"{start}live")
        expect(page.locator("canvas")).to_have_attribute("aria-label", re.compile("door: "))
        page.goto(f"{start}visits")
        face = page.locator(".face img").first
        expect(face).to_be_visible()
        assert face.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
        page.goto(f"{start}api/docs")
        expect(page.get_by_role("heading", name="API", exact=True)).to_be_visible()
        page.get_by_role("link", name="Live").click()
        expect(page).to_have_url(f"{start}live")
        page.get_by_role("button", name="Log out").click()
        expect(page).to_have_url(f"{start}login")
    assert not outside
    assert not failed


def test_a_proxy_that_logs_users_in_is_let_in_and_nobody_else(tmp_path: Path) -> None:
    own = "127.0.0.2"
    with served(tmp_path / "data", "--proxy", own, ready="/healthz") as console:
        refused = console.ask("GET", "/live")
        assert refused.status == 403 and b"only the reverse proxy" in refused.body
        spoofed = console.ask("GET", "/live", headers={"X-Forwarded-For": own})
        assert spoofed.status == 403
        assert console.ask("GET", "/healthz").status == 200
        with reverse_proxy(console.port, strip=True, source=own) as proxy:
            found = proxy.ask("GET", f"{PREFIX}/live", headers={"Host": "home.example"})
            assert found.status == 200 and b"Cameras" in found.body
            assert found.headers["x-frame-options"] == "SAMEORIGIN"
            assert "frame-ancestors 'self'" in found.headers["content-security-policy"]
            added = proxy.ask(
                "POST", f"{PREFIX}/api/v1/cameras", {"name": "door", "source": "rtsp://127.0.0.1:9/x"}
            )
            assert added.status == 201, added.body


@pytest.mark.parametrize(("option", "value"), [("--base-path", "facegate"), ("--proxy", "hass.lan")])
def test_wrong_options_are_refused(tmp_path: Path, option: str, value: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "facegate", "serve", "--data", tmp_path / "data", option, value],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"facegate: invalid {option} {value}: give ")
