"""Watch lists on their page, and rules of notifications for them."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from playwright.sync_api import Page, expect

from ..alarms.receivers import NtfyServer
from ..alarms.test_notifications import House
from ..serving import Served, served


def test_a_list_has_color_rate_reason_and_end(page: Page, desk: Served) -> None:
    page.goto(f"{desk.url}/lists")
    expect(page.get_by_text("No watch lists yet.")).to_be_visible()
    new = page.get_by_role("form", name="New list")
    new.get_by_label("Name").fill("Banned")
    new.get_by_label("Color").fill("#1144aa")
    new.get_by_label("at most").select_option("0.001")
    new.get_by_role("button", name="Create list").click()
    card = page.get_by_role("region", name="Banned")
    expect(card).to_contain_text("Nobody is in this list.")
    expect(card.locator("circle")).to_have_attribute("fill", "#1144aa")
    form = card.get_by_role("form", name="Add to Banned")
    form.get_by_label("Person").select_option("Ada Lovelace")
    form.get_by_label("Reason").fill("theft, 3 May")
    form.get_by_label("Until").fill((datetime.now() + timedelta(days=30)).strftime("%Y-%m-%dT12:00"))
    form.get_by_role("button", name="Add person").click()
    row = card.get_by_role("row").filter(has_text="Ada Lovelace")
    expect(row).to_contain_text("theft, 3 May")
    expect(card).to_contain_text("1 person")
    (found,) = desk.get("/lists")
    assert (found["name"], found["color"], found["fpir"]) == ("Banned", "#1144aa", 0.001)
    assert found["people"][0]["expires"] > datetime.now().timestamp()
    past = {"reason": "old", "expires": 1000.0}
    assert desk.api("PUT", "/lists/Banned/people/Jos%C3%A9%20M%C3%BCller", past).status == 204
    page.reload()
    expect(card.get_by_role("row").filter(has_text="José Müller")).to_contain_text("expired")
    card.get_by_text("Settings", exact=True).click()
    card.get_by_role("form", name="Settings of Banned").get_by_label("at most").select_option("")
    card.get_by_role("form", name="Settings of Banned").get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    assert desk.get("/lists")[0]["fpir"] is None
    card.get_by_role("button", name="Remove Ada Lovelace").click()
    expect(row).to_have_count(0)
    card.get_by_text("Settings", exact=True).click()
    card.get_by_role("button", name="Delete Banned").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("No watch lists yet.")).to_be_visible()


def test_a_rule_tells_of_a_list_and_of_nobody_else(page: Page, tmp_path: Path, desk: Served) -> None:
    """Whoever is in the list at the time of the visit; somebody whose entry has expired is not."""
    (tmp_path / "data" / "recordings").mkdir(parents=True)
    house = House(tmp_path / "data")
    with NtfyServer() as ntfy, served(tmp_path / "data") as console:
        picture = desk.ask("GET", f"/api/v1/people/pictures/{desk.get('/people')[0]['portrait']}.jpg").body
        assert console.upload("/people/Ada/pictures", "files", picture).json()["added"] == 1
        assert console.api("PUT", "/lists/Banned", {}).status == 204
        assert console.api("PUT", "/lists/Banned/people/Ada", {}).status == 204
        receiver = {"name": "phone", "address": ntfy.address}
        assert console.api("POST", "/notifications/receivers", receiver).status == 201
        page.goto(f"{console.url}/notifications")
        form = page.get_by_role("form", name="Rule")
        form.get_by_label("Name", exact=True).fill("Banned people")
        form.get_by_label("list Banned").check()
        form.get_by_label("phone").check()
        form.get_by_role("button", name="Save").click()
        expect(page.get_by_role("row").filter(has_text="Banned people")).to_contain_text("list Banned")
        house.comes("Bob")
        house.comes("Ada")
        ntfy.until(1)
        assert console.api("PUT", "/lists/Banned/people/Ada", {"expires": 1000.0}).status == 204
        house.comes("Ada", camera="yard")
        assert console.api("DELETE", "/lists/Banned/people/Ada").status == 204
        marker = {"name": "marker", "people": ["Bob"], "receivers": [1]}
        assert console.api("POST", "/notifications/rules", marker).status == 201
        house.comes("Bob")
        ntfy.until(2)
        assert ntfy.titles == ["Ada at door", "Bob at door"]
    house.close()
