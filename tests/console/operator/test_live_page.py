"""The live page: layouts, one camera enlarged, and what it costs."""

from __future__ import annotations

import re
from time import monotonic

import pytest
from playwright.sync_api import Page, expect

from ..serving import Served


def test_a_layout_is_chosen_and_remembered(page: Page, desk: Served) -> None:
    page.goto(f"{desk.url}/live")
    grid = page.get_by_role("region", name="Cameras")
    for tiles, columns in (("1", 1), ("4", 2), ("9", 3), ("16", 4)):
        page.get_by_label("Layout").select_option(tiles)
        page.reload()
        expect(page.get_by_label("Layout")).to_have_value(tiles)
        found = grid.evaluate("grid => getComputedStyle(grid).gridTemplateColumns.split(' ').length")
        assert found == columns
    page.get_by_label("Layout").select_option("")
    expect(grid).to_have_class("grid")


def test_a_tile_is_enlarged_and_put_back(page: Page, desk: Served) -> None:
    page.goto(f"{desk.url}/live")
    tiles = page.locator(".tile:visible")
    expect(tiles).to_have_count(2)
    page.get_by_role("button", name="Enlarge yard").click()
    expect(tiles).to_have_count(1)
    expect(tiles).to_contain_text("yard")
    expect(page).to_have_url(f"{desk.url}/live?camera=yard")
    page.reload()  # as a colleague opens it
    expect(tiles).to_have_count(1)
    page.get_by_role("button", name="All cameras").click()
    expect(tiles).to_have_count(2)
    page.locator("canvas").first.click()
    expect(tiles).to_have_count(1)
    page.keyboard.press("Escape")
    expect(tiles).to_have_count(2)


@pytest.mark.parametrize("single", [True, False])
def test_one_camera_is_smooth_and_nothing_is_fetched_that_nobody_watches(
    page: Page, console: Served, single: bool
) -> None:
    """Up to ten pictures a second of an enlarged camera, two of each in the grid; none while the page is hidden."""
    times: list[float] = []
    page.on("response", lambda got: times.append(monotonic()) if "/api/v1/live?" in got.url else None)
    page.goto(f"{console.url}/live{'?camera=door' if single else ''}")
    expect(page.locator("canvas")).to_have_attribute("aria-label", re.compile("door: "))
    times.clear()
    page.wait_for_timeout(2000)
    assert 1 <= len(times) <= 21  # never more than one request at a time, and at most ten a second
    page.evaluate("Object.defineProperty(document, 'hidden', { value: true })")
    page.wait_for_timeout(600)
    times.clear()
    page.wait_for_timeout(1200)
    assert not times
