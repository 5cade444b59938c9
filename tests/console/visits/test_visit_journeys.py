"""What an operator does with visits, in a real browser."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from axe_core_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from facegate.demo.clip import DemoClip

from ...helpers import ROOT, wait_until
from ..conftest import PATIENCE_MS
from ..serving import Served, served
from ..test_journeys import SERIOUS
from .crafted import CraftedVisit, craft, faces

SHOWN = """video => {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [64, 36];
  const pen = canvas.getContext('2d');
  pen.drawImage(video, 0, 0, 64, 36);
  const pixels = pen.getImageData(0, 0, 64, 36).data;
  return Math.max(...pixels.filter((_, i) => i % 4 !== 3)) - Math.min(...pixels.filter((_, i) => i % 4 !== 3));
}"""
"""Contrast of what a video shows."""
NOON = datetime.now().replace(hour=12, minute=0, second=0, microsecond=0)


def at(days_ago: int, hour: int = 12) -> float:
    return (NOON - timedelta(days=days_ago)).replace(hour=hour).timestamp()


PAGES = (
    ("list", "visits?when=range"), ("visit", "visits/run/yard/5"), ("people", "people"), ("storage", "storage"),
)  # fmt: skip
VISITS = [
    CraftedVisit(1, at(9), "Ada Lovelace", person=0),
    CraftedVisit(2, at(1, 9), "Ada Lovelace", person=0),
    CraftedVisit(3, at(1, 10), "José Müller", person=1),
    CraftedVisit(4, at(1, 11), None, "yard", quality=5, person=2),
    CraftedVisit(5, at(1, 17), "Ada Lovelace", "yard", person=0),
]


@pytest.fixture(scope="module")
def crafted(tmp_path_factory: pytest.TempPathFactory, clip: DemoClip) -> Iterator[Served]:
    """A console with visits of several days."""
    data = tmp_path_factory.mktemp("crafted") / "data"
    with served(data, "--poor-days", "30") as found:
        craft(data / "store.db", VISITS, faces(clip))
        yield found


def test_visits_are_found_by_day_camera_and_a_name_as_it_is_spelled(page: Page, crafted: Served) -> None:
    page.goto(f"{crafted.url}/visits")
    cards = page.locator(".face")
    expect(cards).to_have_count(4)
    page.get_by_label("Unknown faces below quality 20").check()
    expect(cards).to_have_count(5)
    page.get_by_label("When").select_option("yesterday")
    expect(cards).to_have_count(4)
    expect(cards.first).to_contain_text("yesterday")
    page.get_by_label("Name").fill("jose mueller")
    expect(cards).to_have_count(1)
    expect(page.get_by_text("Visits of José Müller.")).to_be_visible()
    page.get_by_label("Name").fill("xavier")
    expect(page.get_by_text("Nobody is called “xavier”.")).to_be_visible()
    page.get_by_role("button", name="Clear the filter").click()
    page.get_by_label("When").select_option("range")
    page.locator("[name=from]").fill((NOON - timedelta(days=10)).strftime("%Y-%m-%dT00:00"))
    page.locator("[name=to]").fill((NOON - timedelta(days=8)).strftime("%Y-%m-%dT00:00"))
    expect(cards).to_have_count(1)
    address = page.url
    page.get_by_label("Min. quality").fill("99")
    expect(page.get_by_text("No visit fits the filter.")).to_be_visible()
    page.goto(address)  # as a colleague opens it
    expect(cards).to_have_count(1)
    expect(cards.first).to_contain_text("Ada Lovelace")


def test_a_visit_has_a_page_and_a_name_leads_to_the_visits_of_that_person(page: Page, crafted: Served) -> None:
    page.goto(f"{crafted.url}/visits?when=yesterday&camera=yard&poor=on")
    expect(page.locator(".face")).to_have_count(2)
    page.locator(".face", has_text="Ada Lovelace").click()
    page.get_by_role("link", name="Page of this visit").click()
    expect(page).to_have_url(f"{crafted.url}/visits/run/yard/5")
    expect(page.get_by_role("heading", name="Ada Lovelace · yard, track 5")).to_be_visible()
    expect(page.get_by_role("img", name="Whole picture of yard")).to_be_visible()
    assert page.locator(".scene img").evaluate("image => [image.naturalWidth, image.naturalHeight]") == [640, 360]
    picture, box = (page.locator(f".scene {each}").bounding_box() for each in ("img", "rect"))
    assert picture is not None and box is not None
    assert abs((box["x"] - picture["x"]) / picture["width"] - 250 / 640) < 0.01
    assert abs((box["y"] + box["height"] - picture["y"]) / picture["height"] - 240 / 360) < 0.02
    page.get_by_role("link", name="All visits of Ada Lovelace").click()
    expect(page.locator(".face")).to_have_count(3)
    page.goto(f"{crafted.url}/visits/run/yard/77")
    expect(page.get_by_text("This visit could not be loaded.")).to_be_visible()


def test_a_colleague_who_logs_in_sees_what_the_address_is_of(page: Page, tmp_path: Path, clip: DemoClip) -> None:
    data = tmp_path / "data"
    subprocess.run(
        [sys.executable, "-m", "facegate", "serve", "--data", data, "--set-password", "eve", "--viewer"],
        input="correct horse battery\n", text=True, capture_output=True, check=True,
    )  # fmt: skip
    with served(data) as console:
        craft(data / "store.db", VISITS, faces(clip))
        for address in ("visits/run/yard/5", "visits?name=Ada+Lovelace"):
            page.context.clear_cookies()
            page.goto(f"{console.url}/{address}")
            page.get_by_label("Name").fill("eve")
            page.get_by_label("Password").fill("correct horse battery")
            page.get_by_role("button", name="Log in").click()
            expect(page).to_have_url(f"{console.url}/{address}")
        assert page.get_by_role("region", name="Who it was").count() == 0  # a viewer changes nothing
        page.context.clear_cookies()
        page.goto(f"{console.url}/login?next=//example.org/x")
        page.get_by_label("Name").fill("eve")
        page.get_by_label("Password").fill("correct horse battery")
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(lambda url: "/login" not in url)
        assert page.url.startswith(f"{console.url}/")


def test_a_list_that_cannot_be_loaded_says_so(page: Page, crafted: Served) -> None:
    page.route(
        "**/api/v1/visits?*", lambda route: route.fulfill(status=503, json={"detail": "no store", "remedy": "wait"})
    )
    page.goto(f"{crafted.url}/visits")
    expect(page.get_by_role("alert")).to_contain_text("no store: wait")


def test_a_visit_is_corrected_where_it_is_seen_and_taken_back(page: Page, tmp_path: Path, clip: DemoClip) -> None:
    with served(tmp_path / "data") as console:
        visits = [CraftedVisit(1, at(0, 1)), CraftedVisit(2, at(0, 2), person=1)]
        craft(console.data / "store.db", visits, faces(clip))
        page.goto(f"{console.url}/visits/run/door/1")
        who = page.get_by_role("region", name="Who it was")
        who.get_by_label("Name", exact=True).fill("Ada")
        who.get_by_role("button", name="Enroll").click()
        expect(page.get_by_role("heading", name="Ada · door, track 1")).to_be_visible()
        assert [(p["name"], p["pictures"]) for p in console.get("/people")] == [("Ada", 1)]
        page.get_by_role("button", name="Undo the correction").click()
        expect(page.get_by_role("heading", name="Unknown · door, track 1")).to_be_visible()
        assert console.get("/people") == []
        for track, name in ((1, "Ada"), (2, "Ben")):
            body = {"name": name, "accept": True}
            assert console.api("POST", f"/visits/run/door/{track}/correction", body).json()["visit"]["name"] == name
        page.goto(f"{console.url}/visits/run/door/2")
        page.get_by_role("button", name="Not Ben").click()
        expect(page.get_by_role("heading", name="Unknown · door, track 2")).to_be_visible()
        assert [(p["name"], p["negatives"]) for p in console.get("/people")] == [("Ada", 0), ("Ben", 1)]
        who.get_by_label("Name", exact=True).fill("ADA")
        who.get_by_role("button", name="Enroll").click()
        expect(page.get_by_role("heading", name="Ada · door, track 2")).to_be_visible()
        console.until("/visits?name=Ada", lambda found: len(found["visits"]) == 2)
        for name in ("Unknown", "Ben"):
            page.get_by_role("button", name="Undo the correction").click()
            expect(page.get_by_role("heading", name=f"{name} · door, track 2")).to_be_visible()
        assert [(p["name"], p["negatives"]) for p in console.get("/people")] == [("Ada", 0), ("Ben", 0)]


def test_people_are_faces_with_what_is_known_of_them(page: Page, tmp_path: Path, clip: DemoClip) -> None:
    folder = tmp_path / "import"
    for name, source in zip(("Zoe", "Adam"), sorted(clip.gallery.iterdir()), strict=False):
        shutil.copytree(source, folder / name)
    (folder / "Adam" / "notes.txt").write_text("not a picture")
    with served(tmp_path / "data") as console:
        page.goto(f"{console.url}/people")
        expect(page.get_by_text("No people enrolled yet.")).to_be_visible()
        page.get_by_label("Folder with a folder of pictures per person").set_input_files(folder)
        page.get_by_role("button", name="Import").click()
        expect(page.get_by_text("2 of 2 pictures of 2 people enrolled.")).to_be_visible()
        visits = [CraftedVisit(1, at(1, 9), "Zoe"), CraftedVisit(2, at(3, 9), "Zoe")]
        craft(console.data / "store.db", visits, faces(clip))
        page.reload()
        wall = page.get_by_role("list", name="People").locator(".face")
        expect(wall).to_have_count(2)
        expect(wall.first).to_contain_text("Adam")
        expect(wall.first).to_contain_text("not seen yet")
        expect(wall.last).to_contain_text("seen yesterday")
        expect(wall.last).to_contain_text("2 visits")
        expect(wall.last).to_contain_text("missing: left, right")
        assert wall.last.locator("img").evaluate("image => image.naturalWidth") == 112
        page.get_by_label("Order").select_option("last seen")
        expect(wall.first).to_contain_text("Zoe")
        page.get_by_label("Search").fill("zo\u00e9")
        expect(wall).to_have_count(1)
        page.get_by_label("Search").fill("nobody")
        expect(page.get_by_text("Nobody is called “nobody”.")).to_be_visible()
        page.get_by_label("Search").fill("")
        wall.first.click()
        page.get_by_role("link", name="All visits of Zoe").click()
        expect(page.locator(".face")).to_have_count(2)


def test_a_poor_face_is_warned_of_before_it_is_enrolled(page: Page, crafted: Served) -> None:
    page.goto(f"{crafted.url}/visits/run/yard/4")
    expect(page.get_by_text("Quality 5: recognition from this face alone will be unreliable.")).to_be_visible()
    who = page.get_by_role("region", name="Who it was")
    who.get_by_label("Name", exact=True).fill("Poor")
    who.get_by_role("button", name="Enroll").click()
    expect(page.get_by_text("poor: quality 5; the minimum is 20")).to_be_visible()
    expect(page.get_by_role("button", name="Enroll anyway")).to_be_visible()
    assert crafted.get("/people") == []


def test_a_spreadsheet_gets_who_came_first_and_left_last(page: Page, crafted: Served) -> None:
    page.goto(f"{crafted.url}/storage")
    with page.expect_download() as saved:
        page.get_by_role("button", name="First in, last out (CSV)").click()
    rows = list(csv.DictReader(saved.value.path().read_text(encoding="utf-8-sig").splitlines()))
    yesterday = (NOON - timedelta(days=1)).date().isoformat()
    assert [(row["day"], row["name"], row["visits"]) for row in rows[-2:]] == [
        (yesterday, "Ada Lovelace", "2"), (yesterday, "José Müller", "1"),
    ]  # fmt: skip
    first, last = (datetime.fromisoformat(rows[-2][key]).timestamp() for key in ("first_in", "last_out"))
    assert (first, last) == (at(1, 9), at(1, 17))
    page.goto(f"{crafted.url}/visits?camera=yard&poor=on")
    with page.expect_download() as saved:
        page.get_by_role("link", name="CSV").click()
    rows = list(csv.DictReader(saved.value.path().read_text(encoding="utf-8-sig").splitlines()))
    assert [(row["visit"], row["name"]) for row in rows] == [("run/yard/5", "Ada Lovelace"), ("run/yard/4", "")]


def test_what_is_kept_is_set_on_a_page(page: Page, tmp_path: Path, clip: DemoClip) -> None:
    config = tmp_path / "cameras.yaml"
    config.write_text("cameras:\n  - {name: door, source: rtsp://127.0.0.1:9/x, enabled: false}  # ours\n")
    with served(tmp_path / "data", config=config) as console:
        visits = [CraftedVisit(1, at(5), "Ada"), CraftedVisit(2, at(5)), CraftedVisit(3, at(5), camera="yard")]
        craft(console.data / "store.db", visits, faces(clip))
        page.goto(f"{console.url}/storage")
        page.get_by_label("All cameras: days of unknown people").fill("20")
        page.get_by_label("door: days of unknown people").fill("3")
        page.get_by_label("door: keep whole pictures").uncheck()
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Saved.")).to_be_visible()
        expect(page.get_by_label("door: days of unknown people")).to_have_value("3")
        expect(page.get_by_label("door: keep whole pictures")).not_to_be_checked()
        text = config.read_text()
        assert "# ours" in text and "unknown_days: 3" in text and "scene_px: null" in text
        found = console.until("/visits", lambda found: len(found["visits"]) == 2, seconds=90)
        assert [visit["visit"] for visit in found["visits"]] == ["run/yard/3", "run/door/1"]


def test_video_of_a_visit_plays_and_its_evidence_is_verified(page: Page, tmp_path: Path, camera_url: str) -> None:
    config = tmp_path / "cameras.yaml"
    config.write_text(f"cameras:\n  - {{name: door, source: {camera_url}, max_fps: 5}}\nstore: {{clip_s: 2}}\n")
    with served(tmp_path / "data", config=config) as console:

        def with_video(found: Any) -> Any:
            for visit in found["visits"]:
                timeline = console.get(f"/visits/{visit['visit']}")
                if timeline["clip"] and timeline["clip"]["offset_s"] and visit["answered"]:
                    return timeline
            return None

        console.until("/visits", with_video)
        timeline = with_video(console.get("/visits"))
        visit, clip = timeline["visit"]["visit"], timeline["clip"]
        asked = timeline["shots"][0]["received_at"] - 2
        assert abs(clip["began"] + clip["offset_s"] - asked) < 1
        page.goto(f"{console.url}/visits/{visit}")
        video = page.locator("video")
        wait_until(lambda: video.evaluate("video => video.readyState") >= 2)
        assert abs(video.evaluate("video => video.currentTime") - clip["offset_s"]) < 1
        video.evaluate("video => video.play()")
        wait_until(lambda: video.evaluate("video => video.currentTime") > clip["offset_s"] + 0.5)
        assert video.evaluate(SHOWN) > 20
        page.locator(".scene img").scroll_into_view_if_needed()
        with page.expect_download() as saved:
            page.get_by_role("link", name="Download as evidence").click()
        path = tmp_path / saved.value.suggested_filename
        saved.value.save_as(path)
    assert verify(path) == (0, "verified: nothing was changed\n")
    with zipfile.ZipFile(path) as packed:
        names, document = packed.namelist(), json.loads(packed.read("evidence.json"))
    assert {"clip.mp4", "evidence.json"} < set(names) and document["visit"] == visit
    assert document["software"].startswith("facegate ") and document["shots"][0]["quality"]["model"]
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as packed:
        spots = [info.header_offset + 30 + len(info.filename) + info.file_size // 2 for info in packed.infolist()]
    for spot in spots:  # a byte of every file
        changed = bytearray(whole)
        changed[spot] ^= 1
        path.write_bytes(changed)
        assert verify(path)[0] == 1, spot


def verify(path: Path) -> tuple[int, str]:
    script = ROOT / "examples" / "verify_evidence.py"
    done = subprocess.run([sys.executable, script, path], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_about_visits_are_for_everybody(browser: Browser, crafted: Served, scheme: Any) -> None:
    """See test_every_page_is_for_everybody."""
    for width, height in ((390, 780), (1280, 860)):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        opened = context.new_page()
        opened.set_default_timeout(PATIENCE_MS)
        for name, path in PAGES:
            opened.goto(f"{crafted.url}/{path}")
            opened.locator("#content:not([aria-busy])").wait_for()
            expect(opened.get_by_text("Loading …")).to_have_count(0)
            wide = opened.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            if folder := os.environ.get("FACEGATE_SCREENSHOTS"):
                opened.screenshot(path=Path(folder) / f"{name}-{width}-{scheme}.png", full_page=True)
            assert wide <= 0, (name, width, wide)
            found = [each for each in Axe().run(opened)["violations"] if each["impact"] in SERIOUS]
            assert not found, (name, width, [(each["id"], each["nodes"][0]["html"]) for each in found])
        context.close()
