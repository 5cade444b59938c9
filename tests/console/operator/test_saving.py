"""Every action that saves something fails once, is told why in words, and succeeds when it is repeated."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec
import pytest
from playwright.sync_api import Page, Route, expect

from facegate.demo.clip import DemoClip

from ..serving import Served
from ..test_page_states import FAILURES
from ..visits.crafted import CraftedVisit, craft, faces
from ..visits.test_visit_journeys import at

SAID = {"refused": "the disk is on fire: put it out", "unreachable": "No connection to the console"}


class Action(msgspec.Struct, frozen=True):
    """Something that is saved on a page."""

    page: str
    method: str
    path: str
    """The request that fails."""
    prepare: Callable[[Page], None]
    """Everything up to the click that saves."""
    save: Callable[[Page], None]
    done: Callable[[Page], None]
    """Expects what the page shows after it was saved."""


def button(name: str, *, within: str | None = None) -> Callable[[Page], None]:
    def click(page: Page) -> None:
        part = page if within is None else page.get_by_role("form", name=within)
        part.get_by_role("button", name=name, exact=True).first.click()

    return click


def confirmed(first: str, then: str) -> Callable[[Page], None]:
    def click(page: Page) -> None:
        page.get_by_role("button", name=first, exact=True).first.click()
        page.get_by_role("dialog").last.get_by_role("button", name=then, exact=True).click()

    return click


def text(said: str) -> Callable[[Page], None]:
    return lambda page: expect(page.get_by_text(said).first).to_be_visible()


def fill(**fields: str) -> Callable[[Page], None]:
    def type_in(page: Page) -> None:
        for label, value in fields.items():
            page.get_by_label(label.replace("_", " "), exact=True).first.fill(value)

    return type_in


def nothing(page: Page) -> None:
    """Nothing has to be prepared."""


def open_person(page: Page) -> None:
    page.get_by_role("button", name="Ada Lovelace", exact=True).click()
    page.get_by_role("dialog").get_by_label("Name", exact=True).fill("Ada L.")


def open_person_again(page: Page) -> None:
    page.get_by_role("button", name="Ada L.", exact=True).click()
    page.get_by_role("dialog").get_by_label("Name", exact=True).fill("Ada Lovelace")


def choose_picture(page: Page) -> None:
    base = page.url.removesuffix("/people")
    shots = page.request.get(f"{base}/api/v1/shots").json()["shots"]
    stranger = next(shot["shot_id"] for shot in shots if shot["track_id"] == 3)
    crop = page.request.get(f"{base}/api/v1/shots/{stranger}/crop.jpg").body()
    page.get_by_label("Name", exact=True).first.fill("Cy")
    picture = {"name": "cy.jpg", "mimeType": "image/jpeg", "buffer": crop}
    page.get_by_label("Pictures (JPEG, PNG, WebP)").first.set_input_files(picture)  # type: ignore[arg-type]


def erase(page: Page) -> None:
    page.get_by_role("button", name="Remove everywhere", exact=True).click()
    page.get_by_role("dialog").last.get_by_role("button", name="Remove everywhere", exact=True).click()


def new_rule(page: Page) -> None:
    page.get_by_role("form", name="Rule").get_by_label("Name", exact=True).fill("Strangers")
    page.get_by_role("form", name="Rule").get_by_label("Unknown people").check()


def change_camera(page: Page) -> None:
    page.get_by_role("button", name="Change yard").click()
    page.get_by_role("dialog").get_by_label("Max. processed fps").fill("3")


def new_member(page: Page) -> None:
    page.get_by_role("form", name="Add to Staff").get_by_label("Person").select_option("José Müller")


ACTIONS = {
    "add a camera": Action(
        "cameras", "POST", "/cameras", fill(Name="roof", Address="rtsp://127.0.0.1:9/x"), button("Add"),
        text("roof added."),
    ),
    "change a camera": Action(
        "cameras", "PATCH", "/cameras/yard", change_camera, button("Save"), text("Saved."),
    ),
    "pause a camera": Action(
        "cameras", "PATCH", "/cameras/yard", nothing,
        lambda page: page.locator("tr[data-camera=yard]").get_by_role("button", name="Pause").click(),
        lambda page: expect(page.locator("tr[data-camera=yard] .state")).to_have_text("paused"),
    ),
    "remove a camera": Action(
        "cameras", "DELETE", "/cameras/roof", lambda page: page.get_by_role("button", name="Change roof").click(),
        confirmed("Remove", "Remove"), text("Removed."),
    ),
    "correct a visit": Action(
        "visits/run/door/11", "POST", "/visits/run/door/11/correction", fill(Name="José Müller"), button("Enroll"),
        lambda page: expect(page.get_by_role("heading", level=1)).to_contain_text("José Müller"),
    ),
    "undo a correction": Action(
        "visits/run/door/11", "DELETE", "/visits/run/door/11/correction", nothing, button("Undo the correction"),
        lambda page: expect(page.get_by_role("heading", level=1)).to_contain_text("Unknown"),
    ),
    "rename a person": Action(
        "people", "PATCH", "/people/Ada%20Lovelace", open_person, button("Rename"), text("Renamed."),
    ),
    "rename a person back": Action(
        "people", "PATCH", "/people/Ada%20L.", open_person_again, button("Rename"), text("Renamed."),
    ),
    "enroll a person": Action(
        "people", "POST", "/people/Cy/pictures", choose_picture, button("Enroll"), text("1 of 1 enrolled."),
    ),
    "remove a person everywhere": Action(
        "people", "DELETE", "/people/Cy",
        lambda page: page.get_by_role("button", name="Cy", exact=True).click(),
        erase, text("1 pictures"),
    ),
    "keep visits shorter": Action(
        "storage", "PUT", "/retention", fill(**{"All cameras: days of unknown people": "20"}), button("Save"),
        text("Saved."),
    ),
    "create a watch list": Action(
        "lists", "PUT", "/lists/Staff", fill(Name="Staff"), button("Create list"),
        lambda page: expect(page.get_by_role("region", name="Staff")).to_be_visible(),
    ),
    "add to a watch list": Action(
        "lists", "PUT", "/lists/Staff/people/Jos%C3%A9%20M%C3%BCller", new_member, button("Add person"),
        text("José Müller added."),
    ),
    "remove from a watch list": Action(
        "lists", "DELETE", "/lists/Staff/people/Jos%C3%A9%20M%C3%BCller", nothing, button("Remove José Müller"),
        text("Removed."),
    ),
    "delete a watch list": Action(
        "lists", "DELETE", "/lists/Staff", lambda page: page.get_by_text("Settings", exact=True).click(),
        confirmed("Delete Staff", "Delete"), text("Deleted."),
    ),
    "add a receiver": Action(
        "notifications", "POST", "/notifications/receivers", fill(Name="phone", Address="ntfy://127.0.0.1:9/x"),
        button("Add receiver"), text("Receiver added."),
    ),
    "add a rule": Action(
        "notifications", "POST", "/notifications/rules", new_rule, button("Save", within="Rule"), text("Saved."),
    ),
    "remove a rule": Action(
        "notifications", "DELETE", "/notifications/rules/*", nothing, button("Remove Strangers"), text("Removed."),
    ),
    "remove a receiver": Action(
        "notifications", "DELETE", "/notifications/receivers/*", nothing, confirmed("Remove phone", "Remove"),
        text("Removed."),
    ),
    "dismiss an alarm": Action(
        "alarms", "DELETE", "/alarms/*", nothing,
        lambda page: page.get_by_role("button", name="Dismiss").first.click(), text("Dismissed."),
    ),
    "create a token": Action(
        "accounts", "POST", "/tokens",
        lambda page: page.get_by_role("form", name="Create a token").get_by_label("Name").fill("script"),
        button("Create token"), text("Copy it now"),
    ),
    "revoke a token": Action(
        "accounts", "DELETE", "/tokens/*", nothing, button("Revoke script"), text("Revoked."),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIONS)
def test_a_change_that_fails_says_why_and_can_be_repeated(
    page: Page, desk: Served, clip: DemoClip, name: str
) -> None:
    action = ACTIONS[name]
    if name == "correct a visit":
        craft(desk.data / "store.db", [CraftedVisit(11, at(0, 1), person=1)], faces(clip))
    before = desk.get("/cameras"), desk.get("/lists"), desk.get("/notifications"), desk.get("/people")
    for how, fail in FAILURES.items():
        failed: list[str] = []
        page.route(lambda url: matches(urlsplit(url).path, action.path), failing_once(action.method, fail, failed))
        page.goto(f"{desk.url}/{action.page}")
        page.locator("#content:not([aria-busy])").wait_for()
        action.prepare(page)
        action.save(page)
        expect(page.locator(".toast.wrong, [role=alert]").filter(has_text=SAID[how]).first).to_be_visible()
        assert failed
        for good in ("Saved.", "Removed.", "added.", "Renamed.", "Deleted.", "Undone.", "Enrolled"):
            assert page.locator(".toast:not(.wrong)").filter(has_text=good).count() == 0
        page.unroute_all()
        now = desk.get("/cameras"), desk.get("/lists"), desk.get("/notifications"), desk.get("/people")
        for one, other in zip(before, now, strict=True):
            assert settled(one) == settled(other), "nothing was changed"
    page.goto(f"{desk.url}/{action.page}")
    page.locator("#content:not([aria-busy])").wait_for()
    action.prepare(page)
    action.save(page)
    action.done(page)
    expect(page.locator(".toast.wrong")).to_have_count(0)


def failing_once(method: str, fail: Callable[[Route], None], failed: list[str]) -> Callable[[Route], None]:
    """A handler that lets the first request of a method fail, and notes its address."""

    def handle(route: Route) -> None:
        if route.request.method != method or failed:
            route.fallback()
        else:
            failed.append(route.request.url)
            fail(route)

    return handle


def settled(found: object) -> object:
    """What was saved, without what changes on its own."""
    if isinstance(found, dict) and "cameras" in found:
        return [(each["name"], each["enabled"], each["settings"]) for each in found["cameras"]]
    return found


def matches(path: str, pattern: str) -> bool:
    start = f"/api/v1{pattern.removesuffix('*')}"
    return path.startswith(start) if pattern.endswith("*") else path == start


def posted(route: Route) -> bool:
    return route.request.method == "POST"


def test_a_form_keeps_what_was_typed_when_saving_fails(page: Page, desk: Served) -> None:
    page.route("**/api/v1/cameras", lambda route: route.abort() if posted(route) else route.fallback())
    page.goto(f"{desk.url}/cameras")
    page.get_by_label("Name").fill("Hinterhof")
    page.get_by_label("Address").fill("rtsp://127.0.0.1:9/x")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator(".toast.wrong")).to_contain_text("No connection")
    expect(page.get_by_label("Name")).to_have_value("Hinterhof")
