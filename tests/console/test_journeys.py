"""What an operator does, in a real browser: Debian's Chromium, where it is installed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from axe_core_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from facegate.demo.clip import DemoClip
from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.server import RtspServer

from ..helpers import facegate
from .conftest import PATIENCE_MS
from .serving import Served, served

PAGES = (
    "live", "visits", "search", "people", "lists", "tune", "cameras", "storage", "alarms", "notifications",
    "accounts", "health",
)  # fmt: skip
SERIOUS = ("serious", "critical")
ELSEWHERE = re.compile(r"(?!http://127\.0\.0\.1:|blob:|about:)")
LIT = """canvas => {
  const pixels = canvas.getContext('2d').getImageData(20, 20, canvas.width - 40, canvas.height - 40).data;
  return pixels.reduce((most, value, i) => (i % 4 === 3 ? most : Math.max(most, value)), 0);
}"""
"""The brightest of a canvas' pixels."""


def add_camera(page: Page, console: Served, name: str, url: str) -> None:
    page.goto(console.url)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Address").fill(url)
    page.get_by_role("button", name="Test", exact=True).click()
    expect(page.get_by_text("640x360, ")).to_be_visible()
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator(f"tr[data-camera={name}] .state")).to_have_text("live")


def test_from_nothing_to_a_name(page: Page, tmp_path: Path, camera_url: str) -> None:
    with served(tmp_path / "data") as console:
        add_camera(page, console, "door", camera_url)
        page.get_by_role("link", name="Live").click()
        canvas = page.locator("canvas")
        expect(canvas).to_have_attribute("aria-label", re.compile("door: .*unknown person"))
        assert canvas.evaluate(LIT) > 100
        page.get_by_role("link", name="Visits").click()
        good = page.locator(".face", has_text=re.compile(r"quality [4-9]\d")).first
        good.click()
        expect(page.locator("dialog svg.chart circle").first).to_be_visible()
        page.get_by_label("Name", exact=True).last.fill("Ada")
        page.get_by_role("button", name="Enroll", exact=True).click()
        expect(page.get_by_text("Enrolled as Ada.")).to_be_visible()
        page.get_by_role("button", name="Close").click()
        named = page.locator(".face", has_text=re.compile(r"Ada.*· (0\.[5-9]|1\.0)")).first  # by recognition
        expect(named).to_be_visible()
        named.click()
        expect(page.get_by_text(re.compile(r"Similarity 0\.[5-9]|Similarity 1\.0"))).to_be_visible()
        page.get_by_role("button", name="Close").click()
        page.get_by_role("link", name="Live").click()
        expect(canvas).to_have_attribute("aria-label", re.compile("door: .*Ada"))
        page.get_by_role("link", name="People").click()
        expect(page.get_by_role("button", name="Ada", exact=True)).to_be_visible()
        picture = os.environ.get("FACEGATE_PICTURE")
        if picture:
            page.get_by_role("link", name="Visits").click()
            page.locator(".face").nth(9).wait_for()
            # The photographs are not ours to show.
            page.evaluate("document.querySelectorAll('img').forEach((img) => { img.style.filter = 'blur(14px)'; })")
            page.screenshot(path=picture, clip={"x": 0, "y": 0, "width": 1280, "height": 640})


def passed(camera: dict[str, Any]) -> int:
    """Frames of a camera that have come, decoded or not."""
    return int(camera["frames_received"] + camera["packets_idle"] + camera["packets_skipped"])


def test_nobody_is_seen_behind_a_mask(page: Page, tmp_path: Path, short_clip: Path) -> None:
    with RtspServer(Movie(short_clip), loop=True) as camera, served(tmp_path / "data") as console:
        add_camera(page, console, "door", camera.url)
        console.until("/cameras", lambda found: found["cameras"][0]["observed"])
        page.get_by_role("button", name="Change door").click()
        canvas = page.locator("dialog canvas")
        box = canvas.bounding_box()
        assert box is not None
        for x, y in ((0.012, 0.015), (0.988, 0.015), (0.988, 0.985), (0.012, 0.985)):
            canvas.click(position={"x": x * box["width"], "y": y * box["height"]})
        page.get_by_role("button", name="Close polygon").click()
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Saved.")).to_be_visible()
        console.until("/cameras", lambda found: found["cameras"][0]["settings"].get("mask"))
        page.get_by_role("link", name="Live").click()
        live = page.locator("canvas")
        expect(live).to_have_attribute("aria-label", "door: nobody")
        (before,) = console.get("/cameras")["cameras"]
        whole = passed(before) + 2 * 50  # the clip of fifty frames, twice
        found = console.until("/cameras", lambda now: passed(now["cameras"][0]) >= whole)
        assert found["cameras"][0]["observed"] == before["observed"]
        assert live.evaluate(LIT) < 40


def test_the_slider_says_what_replay_says(page: Page, tmp_path: Path, clip: DemoClip) -> None:
    path = tmp_path / "cameras.yaml"
    path.write_text(f"# ours\ncameras:\n  - name: door\n    source: {clip.path}\n")
    with served(tmp_path / "data", config=path) as console:
        console.until("/health", lambda found: found["gate_finished"])
        (run,) = (console.data / "recordings").iterdir()
        page.goto(f"{console.url}/tune")
        slider = page.get_by_role("slider")
        slider.fill("35")
        printed = facegate("replay", run, "--min-quality", 35, env={"COLUMNS": "200"}).stdout
        forwarded = re.search(r"forwarded +│ +(\d+) │ +(\d+) │", printed)
        assert forwarded is not None and forwarded[1] != forwarded[2]
        expect(page.locator("[data-now=shots]")).to_have_text(forwarded[2])
        page.get_by_role("button", name="Apply").click()
        expect(page.get_by_text("Settings applied")).to_be_visible()
        assert "min_quality: 35" in path.read_text() and "# ours" in path.read_text()
        page.get_by_role("button", name="Undo").click()
        expect(page.get_by_text("Undone.")).to_be_visible()
        assert "min_quality" not in path.read_text()


def test_one_logs_in_is_refused_and_logs_out(page: Page, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name, options in (("ada", []), ("eve", ["--viewer"])):
        subprocess.run(
            [sys.executable, "-m", "facegate", "serve", "--data", data, "--set-password", name, *options],
            input="correct horse battery\n", text=True, capture_output=True, check=True,
        )  # fmt: skip
    with served(data) as console:
        page.goto(f"{console.url}/visits")
        expect(page).to_have_url(f"{console.url}/login")
        page.get_by_label("Name").fill("ada")
        page.get_by_label("Password").fill("wrong horse battery")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_contain_text("name or password is wrong")
        page.get_by_label("Password").fill("correct horse battery")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("heading", name="Add a camera")).to_be_visible()
        page.get_by_role("button", name="Log out ada").click()
        expect(page).to_have_url(f"{console.url}/login")
        page.goto(f"{console.url}/live")
        expect(page).to_have_url(f"{console.url}/login")
        page.get_by_label("Name").fill("eve")
        page.get_by_label("Password").fill("correct horse battery")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_text("No cameras yet")).to_be_visible()
        assert page.get_by_role("heading", name="Add a camera").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_for_everybody(browser: Browser, console: Served, scheme: Any) -> None:
    """No serious finding of axe-core, on a phone and on a screen, and nothing that has to be scrolled sideways."""
    for width, height in ((390, 780), (1280, 860)):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        opened = context.new_page()
        opened.set_default_timeout(PATIENCE_MS)
        for name in (*PAGES, "api/docs"):
            opened.goto(f"{console.url}/{name}")
            if name in PAGES:
                opened.locator("#content:not([aria-busy])").wait_for()
            expect(opened.get_by_text("Loading …")).to_have_count(0)
            wide = opened.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, (name, width, wide)
            if folder := os.environ.get("FACEGATE_SCREENSHOTS"):
                opened.screenshot(path=Path(folder) / f"{name.replace('/', '-')}-{width}-{scheme}.png")
            found = [each for each in Axe().run(opened)["violations"] if each["impact"] in SERIOUS]
            assert not found, (name, width, [(each["id"], each["nodes"][0]["html"]) for each in found])
        context.close()


def test_a_page_goes_on_after_the_gate_was_killed(page: Page, tmp_path: Path, camera_url: str) -> None:
    with served(tmp_path / "data") as console:
        console.api("POST", "/cameras", {"name": "door", "source": camera_url, "max_fps": 5})
        console.until("/cameras", lambda found: found["cameras"][0]["state"] == "live")
        page.goto(f"{console.url}/live")
        expect(page.locator("canvas")).to_have_attribute("aria-label", re.compile("unknown person"))
        os.kill(console.get("/health")["gate"]["pid"], signal.SIGKILL)
        expect(page.locator("#alarm")).to_have_text("the gate is restarting")
        expect(page.locator("#alarm")).to_have_text("")
        expect(page.locator(".state").first).to_have_text("live")
        seen = page.locator("canvas").get_attribute("aria-label")
        expect(page.locator("canvas")).not_to_have_attribute("aria-label", seen or "")


def test_the_keyboard_is_enough(page: Page, console: Served) -> None:
    page.goto(f"{console.url}/visits")
    page.locator(".face").first.wait_for()
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to content")).to_be_focused()
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('face')"):
            break
    page.keyboard.press("Enter")
    expect(page.locator("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
