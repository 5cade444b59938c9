"""The page of a fleet: a gate and its cameras, drained and paused from there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from axe_core_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from facegate.demo.clip import DemoClip
from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.server import RtspServer

from ..fleet.processes import GateProcess, NatsServer
from ..helpers import facegate
from .serving import served


def test_a_fleet_is_seen_drained_and_paused(page: Page, tmp_path: Path, clip: DemoClip) -> None:
    with RtspServer(Movie(clip.path), loop=True) as cameras, NatsServer(tmp_path / "js") as nats:
        site = tmp_path / "site.yaml"
        site.write_text(f"cameras:\n  - {{name: door, source: '{cameras.url}', max_fps: 2}}\n")
        assert facegate("fleet", "apply", site, "--fleet", nats.url).returncode == 0
        with (
            GateProcess("left", nats.url, tmp_path),
            served(tmp_path / "data", "--fleet", nats.url) as console,
        ):
            page.goto(f"{console.url}/fleet")
            row = page.get_by_role("row").filter(has_text="door")
            expect(row).to_contain_text("live")
            expect(row).to_contain_text("left")
            assert console.get("/fleet")["gates"]["left"]["cameras"] == 1
            page.get_by_role("button", name="Pause door").click()
            expect(row).to_contain_text("paused")
            page.get_by_role("button", name="Resume door").click()
            expect(row).to_contain_text("live")
            page.get_by_role("button", name="Drain left").click()
            page.get_by_role("button", name="Drain", exact=True).click()
            expect(row).to_contain_text("waiting")
            assert console.api("PUT", "/fleet/gates/right", {"drained": True}).status == 404
            page.get_by_role("button", name="Undrain left").click()
            expect(row).to_contain_text("live")
            folder = os.environ.get("FACEGATE_SCREENSHOTS")
            if folder:
                page.screenshot(path=Path(folder) / "fleet.png")
                page.set_viewport_size({"width": 390, "height": 780})
                page.screenshot(path=Path(folder) / "fleet-phone.png")
            for width in (390, 1280):
                page.set_viewport_size({"width": width, "height": 780})
                wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                serious = [
                    each for each in Axe().run(page)["violations"] if each["impact"] in ("serious", "critical")
                ]
                assert wide <= 0 and not serious, (width, wide, [each["id"] for each in serious])
            nats.kill()
            expect(page.get_by_text("no NATS server answers")).to_be_visible()


def test_without_a_fleet_there_is_no_page(console: Any) -> None:
    assert console.ask("GET", "/fleet").status == 404
    assert console.api("GET", "/fleet").status == 404
