"""The pages in other languages: by the browser's preference, and by choice."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from axe_core_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from facegate.console.languages import FOLDER

from ..conftest import PATIENCE_MS
from ..serving import Served
from ..test_journeys import PAGES, SERIOUS

ENGLISH = re.compile(
    r"\b(the|and|of|with|cameras?|pictures?|visits?|people|save|add|remove|change|loading)\b", re.IGNORECASE
)


OWN = """main => {
  const copy = main.cloneNode(true);
  for (const problem of copy.querySelectorAll('.bad, .long, noscript')) problem.remove();
  return copy.innerText;
}"""
"""What a page says, without the problems of cameras and what was typed."""


def opened(browser: Browser, locale: str, **options: Any) -> Page:
    page = browser.new_context(locale=locale, **options).new_page()
    page.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    return page


def test_the_browsers_language_is_used_until_another_is_chosen(browser: Browser, desk: Served) -> None:
    page = opened(browser, "de-CH")
    page.goto(f"{desk.url}/visits")
    expect(page.locator("html")).to_have_attribute("lang", "de")
    expect(page.get_by_role("heading", level=1)).to_have_text("Besuche")
    expect(page).to_have_title("Besuche · facegate")
    expect(page.get_by_role("link", name="Kameras")).to_be_visible()
    page.get_by_label("Sprache").select_option("es")
    expect(page.get_by_role("heading", level=1)).to_have_text("Visitas")
    page.get_by_role("link", name="Personas").click()
    expect(page.get_by_role("heading", name="Registrar a una persona")).to_be_visible()
    expect(page.get_by_role("button", name="Ada Lovelace")).to_contain_text("2 visitas")
    page.get_by_label("Idioma").select_option("en")
    expect(page.get_by_role("heading", name="Enroll a person")).to_be_visible()
    page.get_by_label("Language").select_option("")
    expect(page.get_by_role("heading", name="Person erfassen")).to_be_visible()
    page.context.close()


TIMES = {
    "en-US": r"\d{1,2}:\d\d:\d\d.[AP]M",
    "de-DE": r"\d\d:\d\d:\d\d(?!.[AP]M)",
    "es-ES": r"\d{1,2}:\d\d:\d\d(?!.[AP]M)",
}


@pytest.mark.parametrize("locale", TIMES)
def test_dates_and_numbers_are_written_as_in_the_language(browser: Browser, desk: Served, locale: str) -> None:
    page = opened(browser, locale, timezone_id="Europe/Berlin")
    page.goto(f"{desk.url}/visits/run/yard/4")
    page.locator("#content:not([aria-busy])").wait_for()
    said = page.locator("#content").inner_text()
    assert re.search(TIMES[locale], said), said
    comma = "0.700" if locale == "en-US" else "0,700"
    assert comma in said
    page.context.close()


@pytest.mark.parametrize(("locale", "scheme"), [("de-DE", "light"), ("es-ES", "dark")])
def test_every_page_fits_in_every_language(browser: Browser, desk: Served, locale: str, scheme: Any) -> None:
    """Longer words fit, too, and nothing of the console's own words is left in English."""
    names = ("Ada Lovelace", "José Müller")
    for width, height in ((390, 780), (1280, 860)):
        page = opened(browser, locale, viewport={"width": width, "height": height}, color_scheme=scheme)
        for name in (*PAGES, "visits/run/door/1"):
            page.goto(f"{desk.url}/{name}")
            page.locator("#content:not([aria-busy])").wait_for()
            expect(page.get_by_text(re.compile("Lädt …|Cargando …"))).to_have_count(0)
            wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            if folder := os.environ.get("FACEGATE_SCREENSHOTS"):
                shown = f"{name.replace('/', '-')}-{locale}-{width}-{scheme}.png"
                page.screenshot(path=Path(folder) / shown, full_page=True)
            assert wide <= 0, (name, width, wide)
            violations = Axe().run(page)["violations"] if width == 390 else []
            found = [each for each in violations if each["impact"] in SERIOUS]
            assert not found, (name, width, [(each["id"], each["nodes"][0]["html"]) for each in found])
            if name in ("alarms", "health"):
                continue  # problems and log lines are in English
            text = page.locator("main").evaluate(OWN)
            for own in names:
                text = text.replace(own, "")
            assert not ENGLISH.findall(text), (name, ENGLISH.findall(text), text)
        page.context.close()


def test_a_catalog_that_cannot_be_loaded_leaves_english(browser: Browser, desk: Served) -> None:
    page = opened(browser, "de-DE")
    page.route("**/languages/de.json", lambda route: route.abort())
    page.goto(f"{desk.url}/people")
    expect(page.get_by_role("heading", name="Enroll a person")).to_be_visible()
    page.context.close()
    assert json.loads((FOLDER / "de.json").read_text())["Enroll a person"] == "Person erfassen"
