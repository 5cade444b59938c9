"""One console with the demo's camera for the tests that only look."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from facegate.demo.clip import DemoClip
from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.server import RtspServer

from ..helpers import PATIENCE_S
from .serving import Served, served

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE_MS = 1000 * PATIENCE_S


@pytest.fixture(scope="session")
def camera_url(clip: DemoClip) -> Iterator[str]:
    """The demo's clip on a loop."""
    with RtspServer(Movie(clip.path), loop=True) as server:
        yield server.url


@pytest.fixture(scope="session")
def console(tmp_path_factory: pytest.TempPathFactory, camera_url: str) -> Iterator[Served]:
    """A console that has seen visits."""
    data: Path = tmp_path_factory.mktemp("console") / "data"
    with served(data) as found:
        added = found.api("POST", "/cameras", {"name": "door", "source": camera_url, "max_fps": 5})
        assert added.status == 201, added.body
        found.until("/visits", lambda page: sum(visit["answered"] for visit in page["visits"]) >= 3)
        yield found


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page on which nothing may go wrong unsaid; where a test fails, its picture is in FACEGATE_SCREENSHOTS."""
    context = browser.new_context(viewport={"width": 1280, "height": 860}, color_scheme="light")
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on(
        "request",
        lambda asked: (
            wrong.append(asked.url)
            if "127.0.0.1" not in asked.url.split("?")[0] and not asked.url.startswith("blob:")
            else None
        ),
    )
    yield opened
    folder = os.environ.get("FACEGATE_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        opened.screenshot(path=Path(folder) / f"{request.node.name}.png")
    context.close()
    assert not wrong
