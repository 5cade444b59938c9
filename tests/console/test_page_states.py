"""What pages say where there is nothing, where a filter fits nothing, and where a request fails."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from ..helpers import free_port, wait_until
from .conftest import PATIENCE_MS
from .serving import Served, served
from .test_journeys import PAGES

GOOD_NEWS = re.compile(
    "No watch|No visits yet|No visit fits|No people|No unknown|No problems|No cameras|None\\.|No alarms"
)
FAILURE = ".failed, .toast.wrong, #alarm:not(:empty)"
FAILURES: dict[str, Callable[[Route], None]] = {
    "refused": lambda route: route.fulfill(status=500, content_type="application/problem+json", body=BROKEN),
    "unreachable": lambda route: route.abort(),
}
BROKEN = '{"title": "Broken", "detail": "the disk is on fire", "remedy": "put it out", "status": 500, "code": "x"}'


def calls(page: Page, url: str) -> list[str]:
    """The paths of the API that a page reads."""
    found: dict[str, None] = {}
    page.on("request", lambda asked: found.setdefault(urlsplit(asked.url).path))
    page.goto(url)
    page.locator("#content:not([aria-busy])").wait_for()
    page.wait_for_timeout(700)
    return [path for path in found if path.startswith("/api/v1/") and not path.endswith((".jpg", "/events"))]


@pytest.mark.parametrize("name", PAGES)
def test_a_call_that_fails_is_no_good_news_and_is_made_good(browser: Browser, console: Served, name: str) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    page = context.new_page()
    paths = calls(page, f"{console.url}/{name}")
    assert paths
    for path, (how, fail) in product(paths, FAILURES.items()):
        page.goto("about:blank")
        page.route(lambda url, path=path: urlsplit(url).path == path, fail)
        page.goto(f"{console.url}/{name}")
        print(name, path, how)
        said = "the disk is on fire" if how == "refused" else "No connection"
        expect(page.locator(FAILURE).filter(has_text=said).first).to_be_visible()
        for part in page.locator(".failed").all():
            assert not GOOD_NEWS.search(part.locator("..").inner_text()), (name, path)
        page.unroute_all()
        wait_until(lambda: is_good(page), f"{name} without {path}")
    context.close()


RETRY = "() => { const retry = document.querySelector('.failed button'); retry?.click(); return Boolean(retry); }"
"""Presses the button, if there is one at this moment: a page may load again on its own."""


def is_good(page: Page) -> bool:
    """Whether a page shows everything again; the button to retry is pressed where there is one."""
    page.wait_for_timeout(20)
    if page.evaluate(RETRY):
        return False
    busy = page.locator("#content[aria-busy]").count() + page.locator(".failed").count()
    return not busy and page.locator("#alarm").inner_text() == ""


def test_a_check_that_fails_does_not_say_that_all_is_well(page: Page, console: Served) -> None:
    page.goto(f"{console.url}/people")
    page.route(
        "**/gallery/faults",
        lambda route: route.fulfill(status=500, content_type="application/problem+json", body=BROKEN),
    )
    page.get_by_role("button", name="Check pictures").click()
    expect(page.get_by_role("alert")).to_contain_text("the disk is on fire: put it out")
    expect(page.get_by_text("No problems found.")).to_have_count(0)
    page.unroute("**/gallery/faults")
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_text("No problems found.")).to_be_visible()
    expect(page.locator(".failed")).to_have_count(0)


def test_a_filter_that_fits_nobody_is_not_an_empty_house(page: Page, console: Served) -> None:
    page.goto(f"{console.url}/visits")
    page.locator(".face").first.wait_for()
    page.get_by_label("Name").fill("Nobody of that name")
    expect(page.get_by_text("No visit fits the filter.")).to_be_visible()
    expect(page.get_by_text("No visits yet")).to_have_count(0)
    expect(page.get_by_role("button", name="Older visits")).to_be_hidden()
    page.get_by_role("button", name="Clear the filter").click()
    page.locator(".face").first.wait_for()


def test_thirty_cameras_all_have_what_the_form_said(page: Page, tmp_path: Path) -> None:
    port = free_port()  # nothing listens there
    with served(tmp_path / "data") as console:
        page.goto(f"{console.url}/cameras")
        for number in range(30):
            page.get_by_label("Name").fill(f"camera-{number}")
            page.get_by_label("Address").fill(f"rtsp://127.0.0.1:{port}/{number}")
            expect(page.get_by_label("Max. processed fps")).to_have_value("5")
            page.get_by_role("button", name="Add", exact=True).click()
            expect(page.get_by_label("Name")).to_have_value("")  # the form is ready for the next one
            expect(page.locator(f"tr[data-camera=camera-{number}]")).to_be_visible()
        found = console.get("/cameras")["cameras"]
        assert len(found) == 30
        assert {(each["settings"]["max_fps"], each["settings"]["transport"]) for each in found} == {(5, "tcp")}


def test_a_success_clears_the_red_notice_of_the_try_before(page: Page, tmp_path: Path) -> None:
    with served(tmp_path / "data") as console:
        page.goto(f"{console.url}/cameras")
        page.get_by_label("Name").fill("door")
        page.get_by_label("Address").fill("the door")
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.locator(".toast.wrong")).to_contain_text("is not a camera URL")
        page.get_by_label("Address").fill(f"rtsp://127.0.0.1:{free_port()}/door")
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.get_by_text("door added.")).to_be_visible()
        expect(page.locator(".toast.wrong")).to_have_count(0)


def test_a_table_fits_a_phone_and_its_heads_stand_above_its_numbers(browser: Browser, console: Served) -> None:
    edges = """table => {
      const side = (cell) => getComputedStyle(cell).textAlign, row = table.querySelector('tbody tr');
      const heads = [...table.querySelectorAll('th')];
      return heads.map((head, i) => [head.textContent, side(head), side(row.children[i])]);
    }"""
    boxes = """() => [...document.querySelectorAll('td, td button')].map((each) =>
      [each.textContent, each.scrollWidth - each.clientWidth, each.getBoundingClientRect().right])"""
    for width in (390, 1280):
        context = browser.new_context(viewport={"width": width, "height": 780})
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(f"{console.url}/cameras")
        page.get_by_role("button", name="Change door").wait_for()
        # At once, as the table is drawn again while one looks.
        for text, beyond, right in page.evaluate(boxes):
            assert beyond <= 0 and right <= width, (width, text, beyond, right)
        if width == 1280:
            for head, above, below in page.locator("table").evaluate(edges):
                assert above == below, head
        context.close()
