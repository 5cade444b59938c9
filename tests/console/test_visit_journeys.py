"""What an operator does with visits, in a real browser."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from axe_core_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from facegate.demo.clip import DemoClip

from .conftest import PATIENCE_MS
from .crafted import CraftedVisit, craft, faces
from .serving import Served, served
from .test_journeys import SERIOUS

NOON = datetime.now().replace(hour=12, minute=0, second=0, microsecond=0)


def at(days_ago: int, hour: int = 12) -> float:
    return (NOON - timedelta(days=days_ago)).replace(hour=hour).timestamp()


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
    with served(data) as found:
        craft(data / "store.db", VISITS, faces(clip))
        yield found


def test_visits_are_found_by_day_camera_and_a_name_as_it_is_spelled(page: Page, crafted: Served) -> None:
    page.goto(f"{crafted.url}/visits")
    cards = page.locator(".face")
    expect(cards).to_have_count(5)
    page.get_by_label("When").select_option("yesterday")
    expect(cards).to_have_count(4)
    expect(cards.first).to_contain_text("yesterday")
    page.get_by_label("Name").fill("jose mueller")
    expect(cards).to_have_count(1)
    expect(page.get_by_text("Visits of José Müller.")).to_be_visible()
    page.get_by_label("Name").fill("xavier")
    expect(page.get_by_text("Nobody is called “xavier”.")).to_be_visible()
    page.get_by_role("button", name="Reset").click()
    page.get_by_label("When").select_option("range")
    page.get_by_label("From").fill((NOON - timedelta(days=10)).strftime("%Y-%m-%dT00:00"))
    page.get_by_label("To", exact=True).fill((NOON - timedelta(days=8)).strftime("%Y-%m-%dT00:00"))
    expect(cards).to_have_count(1)
    address = page.url
    page.get_by_label("Min. quality").fill("99")
    expect(page.get_by_text("No visit matches the filter.")).to_be_visible()
    page.goto(address)  # as a colleague opens it
    expect(cards).to_have_count(1)
    expect(cards.first).to_contain_text("Ada Lovelace")


def test_a_visit_has_a_page_and_a_name_leads_to_the_visits_of_that_person(page: Page, crafted: Served) -> None:
    page.goto(f"{crafted.url}/visits?when=yesterday&camera=yard")
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


def test_a_list_that_cannot_be_loaded_says_so(page: Page, crafted: Served) -> None:
    page.route(
        "**/api/v1/visits?*", lambda route: route.fulfill(status=503, json={"detail": "no store", "remedy": "wait"})
    )
    page.goto(f"{crafted.url}/visits")
    expect(page.get_by_text("Visits could not be loaded. no store: wait")).to_be_visible()


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_about_visits_are_for_everybody(browser: Browser, crafted: Served, scheme: Any) -> None:
    """See test_every_page_is_for_everybody."""
    for width, height in ((390, 780), (1280, 860)):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        opened = context.new_page()
        opened.set_default_timeout(PATIENCE_MS)
        for name, path in (("list", "visits?when=range"), ("visit", "visits/run/yard/5")):
            opened.goto(f"{crafted.url}/{path}")
            opened.locator("#content:not([aria-busy])").wait_for()
            opened.wait_for_timeout(400)
            wide = opened.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            if folder := os.environ.get("FACEGATE_SCREENSHOTS"):
                opened.screenshot(path=Path(folder) / f"{name}-{width}-{scheme}.png", full_page=True)
            assert wide <= 0, (name, width, wide)
            found = [each for each in Axe().run(opened)["violations"] if each["impact"] in SERIOUS]
            assert not found, (name, width, [(each["id"], each["nodes"][0]["html"]) for each in found])
        context.close()
