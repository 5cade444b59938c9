"""Accounts: users on a page, viewers who see their cameras only, and a log of who saw and changed what."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from facegate.audit.log import chained
from facegate.console.security.permissions import LISTS

from ..helpers import free_port
from .alarms.test_notifications import House
from .serving import Client, served

PASSWORD, OTHER = "correct horse battery", "staple horse battery"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    (tmp_path / "data" / "recordings").mkdir(parents=True)
    found = House(tmp_path / "data")
    yield found
    found.close()


def logged_in(console: Client, name: str, password: str = PASSWORD) -> dict[str, str]:
    """Headers of a session."""
    answer = console.api("POST", "/session", {"name": name, "password": password})
    assert answer.status == 200, answer.body
    return {"cookie": answer.headers["set-cookie"].partition(";")[0]}


def test_users_are_added_restricted_and_removed_on_the_page(page: Page, tmp_path: Path) -> None:
    with served(tmp_path / "data") as console:
        for name in ("door", "yard"):
            camera = {"name": name, "source": f"rtsp://127.0.0.1:{free_port()}/x"}
            assert console.api("POST", "/cameras", camera).status == 201
        page.goto(f"{console.url}/accounts")
        expect(page.get_by_text("No users: everybody on this host may do everything")).to_be_visible()

        def add_user(name: str, role: str) -> None:
            form = page.get_by_role("form", name="Add a user")
            form.get_by_label("Name").fill(name)
            form.get_by_label("Password").fill(PASSWORD)
            form.get_by_label("Role").select_option(role)
            form.get_by_role("button", name="Add user").click()

        add_user("eve", "viewer")
        expect(page.locator(".toast.wrong")).to_contain_text("the first user has to be an administrator")
        add_user("ada", "administrator")
        expect(page).to_have_url(f"{console.url}/login")
        page.get_by_label("Name").fill("ada")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("link", name="Accounts").click()
        page.get_by_role("form", name="Add a user").get_by_label("door").check()
        add_user("eve", "viewer")
        expect(page.locator("tr[data-user=eve]")).to_contain_text("door")
        page.get_by_role("button", name="Remove ada").click()
        page.get_by_role("button", name="Remove", exact=True).click()
        expect(page.locator(".toast.wrong")).to_contain_text("ada is the only administrator")
        own = page.get_by_role("form", name="Own password")
        own.get_by_label("Current password").fill(PASSWORD)
        own.get_by_label("New password").fill(OTHER)
        own.get_by_role("button", name="Change password").click()
        expect(page.get_by_text("Password changed; other sessions have ended.")).to_be_visible()
        page.get_by_role("form", name="Create a token").get_by_label("Name").fill("script")
        page.get_by_role("button", name="Create token").click()
        expect(page.locator("dialog code")).to_contain_text("fgt_")
        page.get_by_role("button", name="Close").click()
        assert console.api("POST", "/session", {"name": "ada", "password": PASSWORD}).status == 401
        page.reload()
        log = page.get_by_role("region", name="Audit log")
        expect(log.get_by_role("row").filter(has_text="PUT /api/v1/session/password")).to_be_visible()
        expect(log.get_by_role("row").filter(has_text='name="eve"').first).to_contain_text("ada")
        assert PASSWORD not in log.inner_text() and OTHER not in log.inner_text()
        page.get_by_role("button", name="Remove eve").click()
        page.get_by_role("button", name="Remove", exact=True).click()
        expect(page.locator("tr[data-user=eve]")).to_have_count(0)


def test_a_viewer_sees_the_own_cameras_only(page: Page, tmp_path: Path, house: House) -> None:
    house.comes("Ada", camera="door")
    house.comes("Bob", camera="yard")
    with served(tmp_path / "data") as console:
        for name in ("door", "yard"):
            camera = {"name": name, "source": f"rtsp://127.0.0.1:{free_port()}/x"}
            assert console.api("POST", "/cameras", camera).status == 201
        shots = {shot["camera"]: shot["shot_id"] for shot in console.get("/shots")["shots"]}
        visits = {visit["camera"]: visit["visit"] for visit in console.get("/visits")["visits"]}
        for name, role, cameras in (("ada", "administrator", None), ("eve", "viewer", ["door"])):
            user = {"name": name, "password": PASSWORD, "role": role, "cameras": cameras}
            headers = {} if name == "ada" else logged_in(console, "ada")
            assert console.api("POST", "/users", user, **headers).status == 201
        eve = logged_in(console, "eve")
        for path, key in (("/cameras", "cameras"), ("/visits", "visits"), ("/shots", "shots")):
            found = console.api("GET", path, **eve).json()[key]
            assert {each.get("camera", each.get("name")) for each in found} == {"door"}, path
        for camera, status in (("door", 200), ("yard", 404)):
            assert console.api("GET", f"/shots/{shots[camera]}", **eve).status == status
            assert console.api("GET", f"/shots/{shots[camera]}/crop.jpg", **eve).status == status
        assert console.api("GET", f"/visits/{visits['door']}", **eve).status == 200
        schema = json.loads(console.ask("GET", "/api/v1/openapi.json", headers=logged_in(console, "ada")).body)
        for path, routes in schema["paths"].items():
            own = path.removeprefix("/api/v1")
            if "get" not in routes or own in LISTS or "shot_id" in path:
                continue
            filled = own.replace("{camera}", "yard").replace("{name}", "yard")
            for part in ("run_id", "track_id", "row", "cluster", "unknown", "user", "person"):
                filled = filled.replace(f"{{{part}}}", "1")
            assert console.api("GET", filled, **eve).status == 403, path
        page.context.add_cookies(
            [{"name": "facegate", "value": eve["cookie"].partition("=")[2], "url": console.url}]
        )
        page.goto(f"{console.url}/visits")
        expect(page.locator(".face")).to_have_count(1)
        expect(page.get_by_role("navigation").get_by_role("link")).to_have_text(
            ["Live", "Visits", "Journeys", "Alarms", "Accounts"]
        )
        page.goto(f"{console.url}/people")
        expect(page.get_by_text("may see some cameras only")).to_be_visible()


def test_the_audit_log_is_append_only_chained_and_exported(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with served(data) as console:
        assert console.api("PATCH", "/people/Ada", {"name": "Ada L."}).status == 404
        console.get("/people")
        console.get("/people")
        found = [each for each in console.get("/audit")["entries"] if each["path"].startswith("/api/v1/people")]
        assert [(each["method"], each["path"]) for each in found[::-1]] == [
            ("PATCH", "/api/v1/people/Ada"), ("GET", "/api/v1/people"),
        ]  # fmt: skip
        assert found[-1]["details"] == 'name="Ada L."' and found[-1]["status"] == 404
        assert found[-1]["who"] == "this host"
        rows = list(csv.DictReader(io.StringIO(console.ask("GET", "/api/v1/audit.csv").body.decode())))
        entries = console.get("/audit")["entries"][::-1]
        assert [row["path"] for row in rows] == [each["path"] for each in entries][: len(rows)]
    before = ""
    for each in entries:
        values = [each[key] for key in ("at", "who", "address", "method", "path", "details", "status")]
        before = chained(before, *values)
        assert each["digest"] == before, "anybody can check it"
    with sqlite3.connect(data / "audit.db") as db:
        for statement in ("DELETE FROM audit", "UPDATE audit SET who = 'eve'"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                db.execute(statement)
