"""The console as an app: a browser finds nothing in its manifest that keeps it from being installed."""

from __future__ import annotations

import json

from playwright.sync_api import Page

from ..serving import Served


def test_a_browser_can_install_the_console(page: Page, desk: Served) -> None:
    page.goto(f"{desk.url}/live")
    devtools = page.context.new_cdp_session(page)
    found = devtools.send("Page.getAppManifest")
    manifest = json.loads(found["data"])
    assert found["errors"] == [] and found["url"] == f"{desk.url}/static/manifest.webmanifest"
    assert manifest["display"] == "standalone"
    for key, path in (("start_url", "live"), ("scope", "")):
        assert page.evaluate("([path, base]) => new URL(path, base).href", [manifest[key], found["url"]]) == (
            f"{desk.url}/{path}"
        )
    errors = devtools.send("Page.getInstallabilityErrors")["installabilityErrors"]
    assert [each["errorId"] for each in errors if each["errorId"] != "in-incognito"] == []


def test_every_page_leads_to_the_api(page: Page, desk: Served) -> None:
    page.goto(f"{desk.url}/people")
    page.get_by_role("contentinfo").get_by_role("link", name="API").click()
    page.get_by_role("heading", name="API", exact=True).wait_for()
