"""Journeys over the API and on their page."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from axe_core_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from facegate.demo.clip import DemoClip
from facegate.store.writer import StoreWriter

from ..serving import Served, served
from .crafted import CraftedVisit, craft, faces

pytestmark = pytest.mark.console
NOW = time.time()


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory, clip: DemoClip) -> Iterator[Served]:
    """A console whose store has people who walked from the gate to the hall."""
    data = tmp_path_factory.mktemp("journeys") / "data"
    data.mkdir()
    walks = [
        CraftedVisit(100 * person + after, NOW - 20_000 + 2_000 * person + after, f"Person {person}", camera)
        for person in range(5)
        for camera, after in (("gate", 0), ("hall", 10), ("office", 100))
    ]
    ada = [
        CraftedVisit(901, NOW - 3_000, "Ada", "gate"),
        CraftedVisit(902, NOW - 2_990, None, "hall", 5),
        CraftedVisit(903, NOW - 2_900, "Ada", "office"),
        CraftedVisit(904, NOW - 40, "Bob", "gate"),
    ]
    StoreWriter(data / "store.db", create=True).close()
    craft(data / "store.db", [*walks, *ada], faces(clip))
    with served(data, "--no-templates") as found:
        yield found


def test_the_api_joins_visits_over_cameras_and_says_why(walked: Served) -> None:
    found = walked.get("/journeys")
    ada = next(each for each in found["journeys"] if each["name"] == "Ada")
    assert [piece["visit"]["camera"] for piece in ada["visits"]] == ["gate", "hall", "office"]
    assert [piece["joined_by"] for piece in ada["visits"]] == ["face", "place", "face"]
    assert len(found["journeys"]) == 6 and found["complete"], "Bob was seen by one camera only"
    (way,) = [each for each in found["travel"] if (each["start"], each["end"]) == ("gate", "hall")]
    assert way["walks"] >= 5 and way["least_s"] < 10 < way["most_s"]
    assert [each["name"] for each in walked.get("/journeys?min_cameras=1&limit=1")["journeys"]] == ["Bob"]
    assert walked.get(f"/journeys?until={NOW - 10_000}&name=Ada")["journeys"] == []
    assert walked.api("GET", "/journeys?min_cameras=0").status == 422


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_shows_where_somebody_went(page: Page, walked: Served, width: int, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 860})
    page.goto(f"{walked.url}/journeys")
    journey = page.get_by_role("article").filter(has_text="Ada")
    expect(journey).to_contain_text("gate → hall → office")
    expect(journey.get_by_role("link")).to_have_count(3)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_text("Times between cameras").click()
    expect(page.get_by_role("row").filter(has_text="gate").first).to_contain_text("journeys")
    serious = [each for each in Axe().run(page)["violations"] if each["impact"] in ("serious", "critical")]
    assert not serious, serious
    journey.get_by_role("link").nth(1).click()
    expect(page).to_have_url(f"{walked.url}/visits/run/hall/902")


def test_the_page_says_what_it_cannot_show_and_what_is_not_there(page: Page, walked: Served) -> None:
    page.route("**/api/v1/journeys?*", lambda route: route.abort(), times=1)
    page.goto(f"{walked.url}/journeys")
    expect(page.get_by_role("alert")).to_contain_text("This cannot be shown.")
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("article").first).to_be_visible()
    page.locator("select[name=known]").select_option("unknown")
    expect(page.get_by_text("No journey fits the filter.")).to_be_visible()
