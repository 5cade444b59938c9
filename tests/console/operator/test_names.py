"""Names for people: of cameras with any letters, and of people as they are written."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from facegate.console.alarms.journal import Alarm
from facegate.console.notifications.rules import alarm_event, visit_event
from facegate.demo.clip import DemoClip
from facegate.store.reader import StoreReader

from ...helpers import facegate, free_port
from ..serving import Served, served
from .conftest import LABEL


def test_a_camera_has_a_name_of_any_letters_and_one_for_records(page: Page, tmp_path: Path) -> None:
    with served(tmp_path / "data") as console:
        page.goto(f"{console.url}/cameras")
        for label in ("Tür Süd", "Tür Süd!", "玄関", "hall"):
            page.get_by_label("Name").fill(label)
            page.get_by_label("Address").fill(f"rtsp://127.0.0.1:{free_port()}/x")
            page.get_by_role("button", name="Add", exact=True).click()
            expect(page.get_by_text(f"{label} added.")).to_be_visible()
        found = {each["name"]: each["display_name"] for each in console.get("/cameras")["cameras"]}
        assert found == {"Tur-Sud": "Tür Süd", "Tur-Sud-2": "Tür Süd!", "camera": "玄関", "hall": "hall"}
        assert "display_name: 玄関" in (console.data / "facegate.yaml").read_text(encoding="utf-8")
        page.get_by_label("Name").fill("hall")
        page.get_by_label("Address").fill("rtsp://127.0.0.1:9/x")
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.locator(".toast.wrong")).to_contain_text("camera hall already exists")
        page.get_by_role("button", name="Change Tür Süd", exact=True).click()
        page.get_by_role("dialog").get_by_label("Name").fill("Front door")
        page.get_by_role("button", name="Save").click()
        expect(page.locator("tr[data-camera=Tur-Sud]")).to_contain_text("Front door")
        page.get_by_role("button", name="Change Front door").click()
        page.get_by_role("dialog").get_by_label("Name").fill("")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("button", name="Change Tur-Sud", exact=True)).to_be_visible()
        assert console.api("PATCH", "/cameras/hall", {"display_name": "a\nb"}).status == 422


def test_every_page_shows_the_name_for_people(page: Page, desk: Served) -> None:
    """Where a page shows a camera, it is shown by this name."""
    shown = {
        "live": page.get_by_role("region", name="Cameras"),
        "visits": page.get_by_role("list", name="Visits"),
        "visits/run/door/1": page.get_by_role("heading", level=1),
        "search": page.get_by_label("Camera"),
        "tune": page.get_by_label("Camera"),
        "cameras": page.get_by_role("table"),
        "storage": page.get_by_role("table"),
        "alarms": page.get_by_role("table").first,
        "notifications": page.get_by_role("form", name="Rule"),
    }
    console_alarm = desk.until("/alarms", lambda found: "door" in {each["subject"] for each in found["open"]})
    assert console_alarm
    for path, part in shown.items():
        page.goto(f"{desk.url}/{path}")
        expect(part).to_contain_text(LABEL)
    page.goto(f"{desk.url}/visits?camera=door")
    expect(page.get_by_label("Camera")).to_have_value("door")
    expect(page.get_by_role("list", name="Visits").locator(".face")).to_have_count(3)


def test_notifications_name_the_camera_for_people(desk: Served) -> None:
    with StoreReader(desk.data / "store.db") as store:
        visit = store.visit("run/door/1")
    assert visit is not None
    event = visit_event(visit, {"door": LABEL})
    assert event is not None and event.title == f"Ada Lovelace at {LABEL}" and event.camera == "door"
    alarm = Alarm(1, "camera", "door", "connecting", "check it", 1.0, None)
    assert alarm_event(alarm, {"door": LABEL}).title == f"Alarm: camera {LABEL}"
    tried = desk.api("POST", "/notifications/try", {"name": "x", "known": True}).json()
    assert {each["title"] for each in tried["told"]} == {f"José Müller at {LABEL}"}


@pytest.fixture
def underscored(tmp_path: Path, clip: DemoClip) -> Path:
    folder = tmp_path / "people"
    for name, source in zip(("Bill_Gates", "Ada_de_la_Cruz"), sorted(clip.gallery.iterdir()), strict=False):
        shutil.copytree(source, folder / name)
    return folder


def test_folders_with_underscores_are_people_with_spaces(tmp_path: Path, underscored: Path) -> None:
    gallery = tmp_path / "people.db"
    assert facegate("gallery", "add", gallery, underscored).returncode in (0, 1)
    listed = facegate("gallery", "list", gallery).stdout.splitlines()
    assert listed == ["Ada de la Cruz: 1 picture", "Bill Gates: 1 picture"]
    # Whoever types the name of the folder means that person.
    assert facegate("gallery", "show", gallery, "Bill_Gates").returncode == 0
    assert facegate("gallery", "rename", gallery, "bill_gates", "Bo").returncode == 0
    assert facegate("gallery", "remove", gallery, "Ada_de_la_Cruz").returncode == 0
    assert facegate("gallery", "list", gallery).stdout.splitlines() == ["Bo: 1 picture"]


def test_a_folder_imported_on_the_page_is_people_with_spaces(page: Page, tmp_path: Path, underscored: Path) -> None:
    with served(tmp_path / "data") as console:
        page.goto(f"{console.url}/people")
        page.get_by_label("Folder with a folder of pictures per person").set_input_files(underscored)
        page.get_by_role("button", name="Import").click()
        expect(page.get_by_text("2 of 2 pictures of 2 people enrolled.")).to_be_visible()
        assert {each["name"] for each in console.get("/people")} == {"Bill Gates", "Ada de la Cruz"}


def test_the_page_of_try_says_names_as_people_write_them(tmp_path: Path, underscored: Path, clip: DemoClip) -> None:
    out = tmp_path / "shots"
    done = facegate("try", clip.path, "--gallery", underscored, "--save", out, "--no-open", env={"COLUMNS": "200"})
    assert done.returncode == 0, done.stderr
    said = "".join(page.read_text(encoding="utf-8") for page in out.glob("*.html")) + done.stdout
    assert "Bill Gates" in said and "Bill_Gates" not in said


def test_the_command_line_finds_people_in_rules_of_notifications(tmp_path: Path, clip: DemoClip) -> None:
    """A rule that names somebody follows a new name, and forgets who is removed."""
    data = tmp_path / "data"
    with served(data) as console:
        for name, folder in zip(("Ada", "Bo"), sorted(clip.gallery.iterdir()), strict=False):
            picture = sorted(folder.iterdir())[0].read_bytes()
            assert console.upload(f"/people/{name}/pictures", "files", picture).json()["added"] == 1
        rule = {"name": "r", "people": ["Ada", "Bo"]}
        assert console.api("POST", "/notifications/rules", rule).status == 201
    gallery, rest = data / "people.db", ("--data", data)

    def told() -> str:
        with sqlite3.connect(data / "notifications.db") as db:
            return bytes(db.execute("SELECT rule FROM rules").fetchone()[0]).decode()

    assert facegate("gallery", "rename", gallery, "Ada", "Grace", *rest).returncode == 0
    assert '"Grace"' in told() and '"Ada"' not in told()
    assert facegate("gallery", "remove", gallery, "Bo", "--everywhere", *rest).returncode == 0
    assert '"Bo"' not in told() and '"Grace"' in told()
