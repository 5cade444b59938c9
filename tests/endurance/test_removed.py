"""Who is renamed or removed while in view does not come back: consoles, brokers and JetStream."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from time import monotonic, sleep, time
from typing import Any

import pytest

from ..console.serving import Served, served
from ..helpers import facegate, free_port, process, wait_until
from ..sinks.test_jetstream import Server
from ..sinks.test_mqtt import Broker, listening
from .scenes import write_clip
from .test_visits import names_in, whole_lines

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
            done = facegate("gallery", "rename", data / "people.db", BILL, "William", "--data", data)
            assert done.returncode == 0, done.stderr
            done = facegate("gallery", "remove", data / "people.db", ANGELINA, "--everywhere", "--data", data)
            assert done.returncode == 0, done.stderr
        console.until("/visits", lambda page: [visit["name"] for visit in page["visits"]] == ["William"], 10.0)
        found = until_both_are_gone(console, left)
        assert [(visit["camera"], visit["name"]) for visit in found] == [("a", "William")]
        assert {shot["name"] for shot in console.get("/shots")["shots"]} == {"William"}
        assert console.get("/unknowns") == []
    left_over = b"".join(path.read_bytes() for path in (*data.glob("store.*"), *data.rglob("*.rec")))
    assert ANGELINA.encode() not in left_over
    assert BILL.encode() not in left_over


def test_who_is_renamed_or_removed_in_view_is_not_published_again(data: Path) -> None:
    """MQTT's retained messages and JetStream's later ones hold the new names only."""
    broker, server, port = Broker(data), Server(data / "js"), free_port()
    config = two_cameras(data)
    config.write_text(config.read_text() + f"delivery:\n  bind: tcp://127.0.0.1:{port}\n")
    names, spools, gallery = data / "names.jsonl", data / "waiting", data / "people.db"
    try:
        with (
            process("run", config),
            process(
                "recognize", "--gallery", gallery, "--connect", f"tcp://127.0.0.1:{port}", "--output", names,
                "--spool-dir", spools, "--publish", broker.url, "--publish", server.url,
                "--presence", BILL, "--presence", ANGELINA,
            ),
        ):  # fmt: skip
            wait_until(lambda: names.is_file() and named_in(names) == {BILL, ANGELINA})
            left = monotonic() + 30.0
            wait_until(lambda: len(asyncio.run(names_in(server.url))) >= 2)
            assert any(BILL in f"{topic} {payload!r}" for topic, payload in retained(broker))
            assert facegate("gallery", "rename", gallery, BILL, "William").returncode == 0
            own = [word for spool in spools.glob("*.spool") for word in ("--spool", spool)]
            removed = facegate("gallery", "remove", gallery, ANGELINA, "--everywhere", *own)
            assert removed.returncode == 0, removed.stderr
            sleep(5.0)  # within which the worker knows every change
            before = len(asyncio.run(names_in(server.url)))
            sleep(max(0.0, left + LEFT_S - monotonic()))
            kept = retained(broker)
            later = asyncio.run(names_in(server.url))[before:]
        told = [f"{topic} {payload.decode(errors='replace')}" for topic, payload in kept]
        assert any("William" in each for each in told)
        assert not [each for each in told if BILL in each or ANGELINA in each]
        assert {event["event"] for event in later} >= {"ended"}
        assert {event["name"] for event in later} - {None} == {"William"}, "whoever was removed is unknown now"
        assert not [event for event in later if BILL in json.dumps(event) or ANGELINA in json.dumps(event)]
    finally:
        broker.end()
        server.process.kill()
        server.process.wait()


def named_in(path: Path) -> set[str]:
    return {line["name"] for line in whole_lines(path) if line["event"] != "shot" and line["name"]}


def retained(broker: Broker) -> list[tuple[str, bytes]]:
    """Topics and payloads that a broker keeps, as a new subscriber receives them."""
    with listening(broker, "#") as queue:
        sleep(2.0)
        messages = [queue.get_nowait() for _ in range(queue.qsize())]
    return [(message.topic, message.payload) for message in messages if message.retain]


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
