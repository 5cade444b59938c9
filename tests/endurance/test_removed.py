"""Who is renamed or removed while in view does not come back: a real console, by its pages and by the command."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from time import monotonic, sleep, time
from typing import Any

import pytest

from ..console.serving import Served, served
from ..helpers import facegate
from .scenes import write_clip

BILL, ANGELINA = "Bill_Gates", "Angelina_Jolie"
LEFT_S = 15.0
"""No visit is open this long after the person has left."""


@pytest.fixture
def data(data: Path, tmp_path: Path) -> Path:
    """A console's folder with a gallery, and two clips of somebody who leaves after 30 s beside it."""
    folder = tmp_path / "console"
    folder.mkdir()
    for clip, name, number in (("a", BILL, 1), ("b", ANGELINA, 7)):
        pictures = sorted((data / "photos" / name).glob("*000[2-6].jpg"))
        facegate("gallery", "add", folder / "people.db", *pictures, "--name", name, "--accept", pictures[0])
        photo = data / "photos" / name / f"{name}_{number:04}.jpg"
        write_clip(photo, tmp_path / f"{clip}.mp4", [(0.0, 30.0)], 70.0)
    return folder


def two_cameras(folder: Path) -> Path:
    path = folder.parent / "cameras.yaml"
    cameras = [f"  - {{name: {name}, source: {folder.parent / name}.mp4, realtime: true}}\n" for name in "ab"]
    path.write_text("cameras:\n" + "".join(cameras))
    return path


def both_named(console: Served) -> float:
    """Wait until both are named; return when they leave at the latest (monotonic)."""
    console.until("/visits", lambda page: {visit["name"] for visit in page["visits"]} == {BILL, ANGELINA})
    first = min(visit["first"] for visit in console.get("/visits")["visits"])
    return monotonic() - (time() - first) + 30.0


def until_both_are_gone(console: Served, left: float) -> list[dict[str, Any]]:
    sleep(max(0.0, left + LEFT_S - monotonic()))
    found: list[dict[str, Any]] = console.get("/visits")["visits"]
    assert all(visit["ended"] for visit in found), found
    return found


@pytest.mark.parametrize("by", ["page", "command"])
def test_who_is_renamed_or_removed_in_view_does_not_come_back(by: str, data: Path) -> None:
    with served(data, config=two_cameras(data)) as console:
        left = both_named(console)
        if by == "page":
            assert console.api("PATCH", f"/people/{BILL}", {"name": "William"}).status == 204
            assert console.api("DELETE", f"/people/{ANGELINA}").status == 200
        else:
            assert facegate("gallery", "rename", data / "people.db", BILL, "William").returncode == 0
            done = facegate("gallery", "remove", data / "people.db", ANGELINA, "--everywhere", "--data", data)
            assert done.returncode == 0, done.stderr
        console.until("/visits", lambda page: [visit["name"] for visit in page["visits"]] == ["William"], 10.0)
        found = until_both_are_gone(console, left)
        assert [(visit["camera"], visit["name"]) for visit in found] == [("a", "William")]
        assert {shot["name"] for shot in console.get("/shots")["shots"]} == {"William"}
        assert console.get("/unknowns") == []
    left_over = b"".join(path.read_bytes() for path in (*data.glob("store.*"), *data.rglob("*.rec")))
    assert ANGELINA.encode() not in left_over
    assert by == "command" or BILL.encode() not in left_over


def test_a_console_whose_worker_is_killed_ends_its_visits(data: Path) -> None:
    with served(data, config=two_cameras(data)) as console:
        left = both_named(console)
        os.kill(console.get("/health")["worker"]["pid"], signal.SIGKILL)
        found = until_both_are_gone(console, left)
        assert sorted(visit["name"] for visit in found) == [ANGELINA, BILL]


def test_a_console_that_was_killed_ends_the_visits_of_before(data: Path) -> None:
    config = two_cameras(data)
    with served(data, config=config) as console:
        both_named(console)
        os.killpg(console.process.pid, signal.SIGKILL)
        console.process.wait()
    config.write_text("cameras:\n  - {name: a, source: /dev/null, enabled: false}\n")
    with served(data, config=config) as again:
        again.until("/visits", lambda page: page["visits"] and all(v["ended"] for v in page["visits"]), 40.0)
