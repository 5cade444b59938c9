"""Search by face, over the API and on its page."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from facegate.store.templates import TemplateReader

from ..serving import Answer, Served, served

pytestmark = pytest.mark.console


def search(console: Served, **fields: str) -> Answer:
    return console.ask(
        "POST",
        "/api/v1/search",
        urlencode(fields).encode(),
        {"Content-Type": "application/x-www-form-urlencoded"},
    )


def test_a_face_is_found_in_other_visits_by_visit_picture_and_person(console: Served) -> None:
    def has_good(page: dict[str, list[dict[str, object]]]) -> bool:
        return any(visit["ended"] and visit["quality"] >= 30 for visit in page["visits"])  # type: ignore[operator]

    page = console.until("/visits", has_good)
    visit = next(each for each in page["visits"] if each["ended"] and each["quality"] >= 30)
    found = search(console, visit=visit["visit"], fpir="0.5", order="best")
    assert found.status == 200, found.body
    result = found.json()
    assert result["searched"] >= 1 and result["fpir"] == pytest.approx(0.5)
    assert all(hit["visit"]["visit"] != visit["visit"] for hit in result["hits"])
    similarities = [hit["similarity"] for hit in result["hits"]]
    assert similarities == sorted(similarities, reverse=True)
    assert all(similarity >= result["min_similarity"] for similarity in similarities)
    crop = console.ask("GET", f"/api/v1/shots/{visit['best']}/crop.jpg").body
    again = console.upload("/search", "picture", crop).json()
    assert visit["visit"] in [hit["visit"]["visit"] for hit in again["hits"]]
    assert console.get("/search")["enabled"]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 422),
        ({"visit": "a/b/1", "person": "x"}, 422),
        ({"visit": "no/such/1"}, 404),
        ({"person": "nobody"}, 422),
    ],
)
def test_a_search_without_a_face_is_refused(console: Served, fields: dict[str, str], status: int) -> None:
    refused = search(console, **fields)
    assert refused.status == status and refused.json()["remedy"], refused.body


def test_a_console_that_keeps_no_templates_deletes_them(tmp_path: Path, camera_url: str) -> None:
    data = tmp_path / "data"
    with served(data) as console:
        assert console.api("POST", "/cameras", {"name": "door", "source": camera_url, "max_fps": 5}).status == 201
        console.until("/visits", lambda page: any(visit["answered"] for visit in page["visits"]))
        with TemplateReader(data / "store.db") as store:
            assert store.newest_recognizer() is not None
    with served(data, "--no-templates") as console:
        assert search(console, visit="a/b/1").status == 422
        assert not console.get("/search")["enabled"]
    with TemplateReader(data / "store.db") as store:
        assert store.newest_recognizer() is None


def test_the_page_shows_hits_and_the_rate(page: Page, console: Served) -> None:
    shown = console.until("/visits", lambda found: any(visit["quality"] >= 30 for visit in found["visits"]))
    visit = next(each for each in shown["visits"] if each["quality"] >= 30)
    crop = console.ask("GET", f"/api/v1/shots/{visit['best']}/crop.jpg").body
    page.goto(f"{console.url}/search")
    page.get_by_label("Picture (JPEG, PNG, WebP)").set_input_files(
        {"name": "face.jpg", "mimeType": "image/jpeg", "buffer": crop}
    )
    page.get_by_role("button", name="Search").click()
    hits = page.get_by_role("status", name="Hits")
    expect(hits).to_contain_text(re.compile(r"\d+ of \d+ visits fit"))
    expect(hits).to_contain_text("1 % of such searches")
    expect(hits.get_by_role("listitem").first).to_be_visible()
