"""Two users confirm a name, the audit log of uses beside that of requests, and the console's own chain."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from facegate.audit.verification import verify

from ..alarms.test_notifications import House
from ..serving import served
from ..test_accounts import PASSWORD, logged_in


def test_a_name_is_confirmed_by_two_different_users_and_the_log_says_who(page: Page, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "recordings").mkdir(parents=True)
    house = House(data)
    house.comes("Ada", camera="door")
    house.close()
    with served(data, "--confirmations", 2, "--audit-uses") as console:
        visit = console.get("/visits")["visits"][0]
        path = f"/visits/{visit['visit']}/confirmation"
        assert console.get(path) == {"name": "Ada", "needed": 2, "by": [], "confirmed": False}
        assert console.api("PUT", path, {"name": "Ada"}).status == 401, "nobody is logged in"
        for name in ("ida", "leo"):
            headers = {} if name == "ida" else logged_in(console, "ida")
            user = {"name": name, "password": PASSWORD, "role": "administrator"}
            assert console.api("POST", "/users", user, **headers).status == 201
        ida, leo = logged_in(console, "ida"), logged_in(console, "leo")
        assert console.api("PUT", path, {"name": "Bob"}, **ida).status == 409
        for _ in range(2):
            answer = console.api("PUT", path, {"name": "Ada"}, **ida).json()
            assert [each["who"] for each in answer["by"]] == ["ida"] and not answer["confirmed"], "one counts once"
        page.context.add_cookies(
            [{"name": "facegate", "value": leo["cookie"].partition("=")[2], "url": console.url}]
        )
        page.goto(f"{console.url}/visits/{visit['visit']}")
        card = page.get_by_role("region", name="Confirmation")
        expect(card).to_contain_text("1 of 2")
        card.get_by_role("button", name="Confirm Ada").click()
        expect(card).to_contain_text("Ada is confirmed")
        assert console.api("GET", path, **ida).json()["confirmed"]
        assert console.api("DELETE", path, **ida).json()["by"][0]["who"] == "leo"
        entries = console.api("GET", "/audit?limit=200", **ida).json()["entries"]
        confirmed = [(each["who"], each["status"]) for each in entries if each["path"].endswith("confirmation")]
        assert ("ida", 200) in confirmed and ("leo", 200) in confirmed
        starts = [each for each in entries if each["method"] == "START"]
        assert len(starts) == 1 and '"recognizer":"facegate-mobile-s"' in starts[0]["details"]
    found = verify(data / "audit.db")
    assert found.faults == () and found.entries >= len(entries)
