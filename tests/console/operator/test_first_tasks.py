"""The first ten tasks of an operator (docs/guide/console.md), each at most three clicks from the start page."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from facegate.demo.clip import DemoClip

from ...helpers import ROOT, free_port
from ..serving import Served, served
from ..visits.crafted import CraftedVisit, craft, faces
from ..visits.test_visit_journeys import at

CLICKS = 3


class Operator:
    """Clicks, and counts it; a choice in a list is a click, too, typing is none."""

    def __init__(self, page: Page) -> None:
        self.page, self.clicks = page, 0

    def click(self, what: Locator) -> None:
        self.clicks += 1
        what.click()

    def go(self, page: str) -> None:
        self.click(self.page.get_by_role("navigation").get_by_role("link", name=page, exact=True))

    def choose(self, label: str, option: str) -> None:
        self.clicks += 1
        self.page.get_by_label(label).select_option(option)


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory, clip: DemoClip) -> Iterator[Served]:
    """A console with an alarm, cameras and visits."""
    data = tmp_path_factory.mktemp("busy") / "data"
    with served(data, "--min-free-mb", 10**9) as console:
        camera = {"name": "door", "source": f"rtsp://127.0.0.1:{free_port()}/x"}
        assert console.api("POST", "/cameras", camera).status == 201
        pictures = sorted(sorted(clip.gallery.iterdir())[0].iterdir())
        assert console.upload("/people/Ada/pictures", "files", pictures[0].read_bytes()).status == 200
        unknown = [CraftedVisit(number, at(1, 8 + number), person=number - 1) for number in (2, 3)]
        visits = [CraftedVisit(1, at(1, 9), "Ada"), *unknown]
        craft(data / "store.db", visits, faces(clip))
        console.until("/alarms", lambda found: found["open"])
        yield console


def see_what_is_wrong(it: Operator, clip: DemoClip) -> None:
    it.click(it.page.locator("#alarms"))
    expect(it.page.get_by_role("row").filter(has_text="disk")).to_be_visible()


def watch_one_camera(it: Operator, clip: DemoClip) -> None:
    it.click(it.page.get_by_role("button", name="Enlarge door"))
    expect(it.page.locator(".single")).to_be_visible()


def see_who_was_here_yesterday(it: Operator, clip: DemoClip) -> None:
    it.go("Visits")
    it.choose("When", "yesterday")
    expect(it.page.get_by_role("list", name="Visits").locator(".face")).to_have_count(3)


def find_the_visits_of_a_person(it: Operator, clip: DemoClip) -> None:
    it.go("Visits")
    it.page.get_by_label("Name").fill("ada")
    expect(it.page.get_by_role("list", name="Visits").locator(".face")).to_have_count(1)


def name_a_stranger(it: Operator, clip: DemoClip) -> None:
    it.click(it.page.locator(".face", has_text="unknown").first)
    it.page.get_by_role("dialog").get_by_label("Name", exact=True).fill("Bo")
    it.click(it.page.get_by_role("button", name="Enroll", exact=True))
    expect(it.page.get_by_text("Enrolled as Bo.")).to_be_visible()


def say_that_it_was_somebody_else(it: Operator, clip: DemoClip) -> None:
    it.click(it.page.locator(".face", has_text="Ada").first)
    it.click(it.page.get_by_role("button", name="Not Ada"))
    expect(it.page.get_by_text("This visit was not Ada.")).to_be_visible()


def save_a_visit_as_evidence(it: Operator, clip: DemoClip) -> None:
    it.click(it.page.locator(".face").first)
    with it.page.expect_download() as saved:
        it.click(it.page.get_by_role("link", name="Download as evidence"))
    assert saved.value.suggested_filename.endswith(".zip")


def enroll_somebody_from_a_picture(it: Operator, clip: DemoClip) -> None:
    it.go("People")
    it.page.get_by_label("Name", exact=True).first.fill("Cy")
    it.clicks += 1
    picture = sorted(sorted(clip.gallery.iterdir())[3].iterdir())[0]
    it.page.get_by_label("Pictures (JPEG, PNG, WebP)").set_input_files(picture)
    it.click(it.page.get_by_role("button", name="Enroll", exact=True).first)
    expect(it.page.get_by_role("list", name="People").get_by_text("Cy", exact=True)).to_be_visible()


def add_a_camera(it: Operator, clip: DemoClip) -> None:
    it.go("Cameras")
    it.page.get_by_label("Name").fill("yard")
    it.page.get_by_label("Address").fill(f"rtsp://127.0.0.1:{free_port()}/x")
    it.click(it.page.get_by_role("button", name="Add", exact=True))
    expect(it.page.locator("tr[data-camera=yard]")).to_be_visible()


def pause_a_camera(it: Operator, clip: DemoClip) -> None:
    it.go("Cameras")
    it.click(it.page.locator("tr[data-camera=door]").get_by_role("button", name="Pause"))
    expect(it.page.locator("tr[data-camera=door] .state")).to_have_text("paused")


TASKS: tuple[Callable[[Operator, DemoClip], None], ...] = (
    see_what_is_wrong, watch_one_camera, see_who_was_here_yesterday, find_the_visits_of_a_person, name_a_stranger,
    save_a_visit_as_evidence, say_that_it_was_somebody_else, enroll_somebody_from_a_picture, add_a_camera,
    pause_a_camera,
)  # fmt: skip


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)
def test_a_first_task_takes_at_most_three_clicks(
    page: Page, busy: Served, clip: DemoClip, task: Callable[[Operator, DemoClip], None]
) -> None:
    page.goto(busy.url)
    page.locator("#content:not([aria-busy])").wait_for()
    operator = Operator(page)
    task(operator, clip)
    assert operator.clicks <= CLICKS


def test_the_guide_lists_these_tasks() -> None:
    guide = (ROOT / "docs" / "guide" / "console.md").read_text(encoding="utf-8")
    part = guide.partition("## The first ten tasks")[2].partition("\n## ")[0]
    assert part.count("\n1. ") + sum(part.count(f"\n{n}. ") for n in range(2, 11)) == len(TASKS) == 10
