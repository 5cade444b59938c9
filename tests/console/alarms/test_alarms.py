"""Alarms: what is wrong is counted on every page, since when, and a restart forgets nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import time
from pathlib import Path
from urllib.request import urlopen

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Page, expect

from facegate.console.alarms.clock import LEAP_S, SHOWN_S, ClockCheck
from facegate.console.alarms.conditions import END_S, RAISE_S, AlarmKey, Condition, Debouncer
from facegate.demo.clip import DemoClip
from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.server import RtspServer

from ...exposition import check_exposition, exposition
from ...fleet.processes import GateProcess, NatsServer
from ...helpers import facegate, free_port
from ..serving import Client, served


def opened(client: Client, *kinds: str) -> dict[str, dict[str, object]]:
    """The open alarms by kind, once there is one of each of these kinds."""
    found = client.until("/alarms", lambda page: set(kinds) <= {alarm["kind"] for alarm in page["open"]})
    return {alarm["kind"]: alarm for alarm in found["open"]}


def test_what_is_wrong_is_counted_on_every_page_and_kept_over_a_restart(page: Page, tmp_path: Path) -> None:
    data, port = tmp_path / "data", free_port()
    options = ("--min-free-mb", 10**9, "--metrics", f":{port}")
    with served(data, *options) as console:
        camera = {"name": "door", "source": f"rtsp://127.0.0.1:{free_port()}/door"}
        assert console.api("POST", "/cameras", camera).status == 201
        before = opened(console, "disk", "camera")
        assert before["camera"]["subject"] == "door" and "free, less than" in str(before["disk"]["problem"])
        page.goto(f"{console.url}/people")
        expect(page.locator("#alarms")).to_have_text("2 alarms")
        (data / "people.db").write_bytes(b"not a database" * 1000)
        expect(page.locator("#alarms")).to_have_text("3 alarms")
        page.locator("#alarms").click()
        row = page.get_by_role("row").filter(has_text="camera door")
        expect(row).to_contain_text(re.compile(r"\d:\d\d:\d\d"))
        expect(page.get_by_role("row").filter(has_text="gallery")).to_contain_text("cannot use")
        (data / "people.db").unlink()
        for suffix in ("-wal", "-shm"):
            (data / f"people.db{suffix}").unlink(missing_ok=True)
    with served(data, *options) as console:
        after = opened(console, "disk", "camera")
        assert after == before | {kind: after[kind] for kind in after if kind not in before}
        with urlopen(f"{console.url}/healthz", timeout=5) as answer:
            body = json.load(answer)
        assert body["ok"] and body["alarms"]["camera"] == 1 and body["open"][0]["subject"] in ("door", "")
        text = exposition(port)
        check_exposition(text)
        assert 'facegate_console_alarms{kind="camera"} 1.0' in text
        with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            assert {"kind", "subject", "since"} == set(json.load(answer)["alarms"][0])
        page.goto(f"{console.url}/alarms")
        page.get_by_role("row").filter(has_text="camera door").wait_for()
        assert console.api("DELETE", "/cameras/door").status == 200
        expect(page.locator(".past").get_by_role("row").filter(has_text="camera door")).to_be_visible()
        alarm = console.get("/alarms")["open"][0]["id"]
        assert console.api("DELETE", f"/alarms/{alarm}").status == 204
        assert console.api("DELETE", f"/alarms/{alarm}").status == 404


def test_a_worker_that_is_gone_and_a_clock_that_was_set_back_are_alarms(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with served(data) as console:
        assert console.get("/alarms") == {"open": [], "alarms": [], "next": None}
        (data / "people.db").write_bytes(b"not a database" * 1000)  # the worker cannot start any more
        pid = console.until("/health", lambda found: found["worker"]["running"])["worker"]["pid"]
        os.kill(pid, signal.SIGKILL)
        found = opened(console, "process", "gallery")
        assert found["process"]["subject"] == "worker" and "is not running" in str(found["process"]["problem"])
    with sqlite3.connect(data / "alarms.db") as db:
        db.execute("UPDATE clock SET seen = ?", (time.time() + 3600,))
    with served(data) as console:
        assert "the clock was set back by 3" in str(opened(console, "clock")["clock"]["problem"])
        assert "file" in opened(console, "file"), "the damaged gallery was replaced"


@pytest.mark.fleet
def test_a_node_that_is_missing_is_an_alarm_until_it_is_dismissed(tmp_path: Path, clip: DemoClip) -> None:
    with RtspServer(Movie(clip.path), loop=True) as cameras, NatsServer(tmp_path / "js") as nats:
        site = tmp_path / "site.yaml"
        site.write_text(f"cameras:\n  - {{name: door, source: '{cameras.url}', max_fps: 2}}\n")
        assert facegate("fleet", "apply", site, "--fleet", nats.url).returncode == 0
        with served(tmp_path / "data", "--fleet", nats.url) as console:
            with GateProcess("left", nats.url, tmp_path):
                console.until("/fleet", lambda found: "left" in found["gates"])
                time.sleep(6)  # the check has seen it
            alarms = console.until(
                "/alarms", lambda page: any(alarm["subject"] == "left" for alarm in page["open"])
            )
            (alarm,) = [each for each in alarms["open"] if each["subject"] == "left"]
            assert alarm["problem"] == "the node is missing"
            assert console.api("DELETE", f"/alarms/{alarm['id']}").status == 204
            time.sleep(11)
            assert "left" not in {each["subject"] for each in console.get("/alarms")["open"]}


STEPS = st.lists(st.tuples(st.sampled_from(["bad", "good", "unknown"]), st.floats(0.1, 8)), max_size=60)


@given(STEPS)
def test_an_alarm_begins_and_ends_once_each_and_only_after_a_condition_has_lasted(
    steps: list[tuple[str, float]],
) -> None:
    debouncer, now, is_open, same_s, last = Debouncer(), 100.0, False, 0.0, ""
    for state, pause in steps:
        now += pause
        same_s = same_s + pause if state == last else 0.0
        last = state
        finding = Condition("camera", "door", "down" if state == "bad" else None, is_known=state != "unknown")
        keys: set[AlarmKey] = {("camera", "door")} if is_open else set()
        changes = debouncer.step({"camera": [finding]}, keys, now)
        if changes.raised:
            ((raised, began),) = changes.raised
            assert state == "bad" and not is_open and same_s >= RAISE_S["camera"] - 1e-6
            assert raised == finding and began == pytest.approx(now - same_s)
            is_open = True
        elif changes.ended:
            assert state == "good" and is_open and same_s >= END_S["camera"] - 1e-6
            is_open = False
        elif state == "bad" and not is_open:
            assert same_s < RAISE_S["camera"] + 1e-6
    assert debouncer.step({}, {("camera", "door")}, now + 99) == type(changes)([], []) if steps else True


def test_only_a_leap_of_the_clock_is_an_alarm_and_it_ends_when_the_clock_is_back() -> None:
    clock, elapsed = ClockCheck(None), 0.0
    for wall in (1000.0, 1001.0, 1001.0 + LEAP_S / 2):
        elapsed += 1.0
        assert clock.check(wall, elapsed, None).problem is None
    wall, elapsed = 1000.0 + 3600, elapsed + 1
    leap = clock.check(wall, elapsed, None)
    assert leap.problem is not None and leap.problem.startswith("the clock was set forward by 35")
    assert not clock.check(wall + 1, elapsed + 1, wall).is_known, "it stays"
    back = clock.check(wall + 2 - 3600, elapsed + 2, wall)
    assert back.is_known and back.problem is None
    assert clock.check(wall, elapsed + 3602, wall).problem is None
    assert ClockCheck(None).check(wall + SHOWN_S + 1, 0.0, wall).is_known, "it ends after a day"
    late = ClockCheck(wall + 600).check(wall, 0.0, None)
    assert late.problem == "the clock was set back by 600 s"
    assert ClockCheck(wall - 600).check(wall, 0.0, None).problem is None, "the host was off"
