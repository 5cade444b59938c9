"""One visit for as long as somebody is there, whatever dies: real gates, workers and brokers.

FACEGATE_KILLS=30 pytest -n 0 -s tests/endurance/test_visits.py
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from time import monotonic, sleep
from typing import Any

import nats
import pytest

from ..helpers import facegate, free_port, json_lines, process
from ..sinks.test_jetstream import Server
from ..sinks.test_mqtt import Broker
from .scenes import Heard, heard, write_clip

KILLS = int(os.environ.get("FACEGATE_KILLS", "3"))
SEED = int(os.environ.get("FACEGATE_SEED", "7"))
DROPOUTS = [(0.0, 12.0), (14.0, 28.0), (30.0, 41.0), (43.0, 55.0)]
"""55 s of somebody sitting still, with dropouts of 2 s."""
OFF_S = 10.0
"""Presence is off this long after the person has left."""


@pytest.fixture(scope="session")
def photos(data: Path) -> Path:
    return data / "photos"


@pytest.fixture(scope="session")
def gallery(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gallery") / "people.db"
    for name in ("Bill_Gates", "Angelina_Jolie"):
        pictures = sorted((photos / name).glob("*000[2-6].jpg"))
        facegate("gallery", "add", path, *pictures, "--name", name, "--accept", pictures[0])
    return path


def gate_config(folder: Path, clip: Path, delivery: str) -> Path:
    path = folder / "gate.yaml"
    path.write_text(f"cameras:\n  - {{name: hall, source: {clip}, realtime: true}}\ndelivery:\n{delivery}")
    return path


@contextmanager
def presence_of(gallery: Path, broker: Broker, folder: Path, connect: str, *to: str) -> Iterator[Any]:
    """A worker that tells the broker who is there."""
    with process(
        "recognize", "--gallery", gallery, "--connect", connect, "--output", folder / "names.jsonl",
        "--publish", broker.url, "--presence", "Bill_Gates", "--spool-dir", folder / "waiting",
        *(word for url in to for word in ("--publish", url)),
    ) as worker:  # fmt: skip
        yield worker


def check_one_visit(lines: list[dict[str, Any]], told: Heard, left: float) -> None:
    """One visit, told once; presence on while somebody was there, and off soon after."""
    kinds = Counter(line["event"] for line in lines)
    assert (kinds["seen"], kinds["ended"]) == (1, 1), kinds
    assert lines[-1]["name"] == "Bill_Gates"
    for topic in ("hall/presence", "people/Bill_Gates/presence"):
        states = told.of(topic)
        on = next(at for at, state in states if state == b"ON")
        off = [at for at, state in states if state == b"OFF" and at > on]
        print(f"{topic}: off {off[0] - left:.1f} s after the person left")
        assert len(off) == 1 and 0 < off[0] - left < OFF_S


@pytest.mark.parametrize("kind", ["zeromq", "jetstream"])
def test_somebody_who_sits_still_is_one_visit(kind: str, gallery: Path, photos: Path, tmp_path: Path) -> None:
    clip = write_clip(photos / "Bill_Gates" / "Bill_Gates_0001.jpg", tmp_path / "clip.mp4", DROPOUTS, 75.0)
    broker, server = Broker(tmp_path), Server(tmp_path / "js") if kind == "jetstream" else None
    port = free_port()
    if server is None:
        connect, delivery = f"tcp://127.0.0.1:{port}", f"  bind: tcp://127.0.0.1:{port}\n"
    else:
        connect = server.url
        output = f"{{kind: jetstream, url: '{server.url}', spool: {tmp_path}/gate.spool}}"
        delivery = f"  bind: null\n  outputs:\n    - {output}\n"
    config = gate_config(tmp_path, clip, delivery)
    to = () if server is None else (server.url,)
    try:
        with heard(broker) as told, presence_of(gallery, broker, tmp_path, connect, *to):
            with process("run", config) as gate:
                while not told.of("hall/presence"):
                    sleep(0.05)
                began = told.of("hall/presence")[0][0]  # within a second of the first frame
                left = began + DROPOUTS[-1][1]
                sleep(max(0.0, left + OFF_S + 2 - monotonic()))
                assert gate.poll() is None
            lines = [line for line in json_lines(tmp_path / "names.jsonl") if line["event"] != "shot"]
            check_one_visit(lines, told, left - 1.0)
        if server is not None:
            names = asyncio.run(names_in(server.url))
            assert [event["event"] for event in names] == [line["event"] for line in lines]
    finally:
        broker.end()
        if server is not None:
            server.process.kill()
            server.process.wait()


async def names_in(url: str) -> list[dict[str, Any]]:
    """The events in the stream of names."""
    client = await nats.connect(url)
    found = []
    with suppress(nats.errors.TimeoutError, nats.js.errors.NotFoundError):  # no event yet, no stream
        subscription = await client.jetstream().subscribe("facegate.names.>", ordered_consumer=True)
        while True:
            found.append(json.loads((await subscription.next_msg(timeout=1)).data))
    await client.close()
    return found


def start_worker(gallery: Path, broker: Broker, folder: Path, port: int) -> subprocess.Popen[bytes]:
    command = [
        sys.executable, "-m", "facegate", "recognize", "--gallery", gallery, "--connect", f"tcp://127.0.0.1:{port}",
        "--output", folder / "names.jsonl", "--publish", broker.url, "--presence", "Bill_Gates",
        "--spool-dir", folder / "waiting",
    ]  # fmt: skip
    return subprocess.Popen([*map(str, command)], stderr=subprocess.DEVNULL, start_new_session=True)


def test_a_worker_killed_at_any_moment_leaves_nobody_present(gallery: Path, photos: Path, tmp_path: Path) -> None:
    """Killed at random while somebody comes and goes: nothing stays on, nothing is told twice."""
    random = Random(SEED)
    photo = photos / "Bill_Gates" / "Bill_Gates_0001.jpg"
    seconds = 20.0 + 13.0 * KILLS
    in_view = [(start, start + 9.0) for start in np_range(2.0, seconds - 20.0, 13.0)]
    clip = write_clip(photo, tmp_path / "clip.mp4", in_view, seconds)
    broker, port = Broker(tmp_path), free_port()
    config = gate_config(
        tmp_path, clip, f"  bind: tcp://127.0.0.1:{port}\n  spool: {{path: {tmp_path}/gate.spool}}\n"
    )
    try:
        with heard(broker) as told:
            worker = start_worker(gallery, broker, tmp_path, port)
            with process("run", config):
                while not told.of("hall/presence"):
                    sleep(0.05)
                end = told.of("hall/presence")[0][0] + in_view[-1][1] - in_view[0][0]
                for _ in range(KILLS):
                    sleep(random.uniform(1.0, 2 * 13.0 - 1.0) / 2)
                    worker.kill()
                    worker.wait()
                    worker = start_worker(gallery, broker, tmp_path, port)
                sleep(max(0.0, end + 15.0 - monotonic()))
            worker.send_signal(signal.SIGTERM)
            worker.wait(20)
            for topic in ("hall/presence", "people/Bill_Gates/presence"):
                assert told.last(topic) == b"OFF"
                off = told.of(topic)[-1][0]
                print(f"{topic}: off {off - end:.1f} s after the last person left")
        lines = [line for line in whole_lines(tmp_path / "names.jsonl") if line["event"] != "shot"]
        visits = {line["visit"] for line in lines}
        kinds = Counter((line["visit"], line["event"]) for line in lines)
        print(f"{KILLS} kills, {len(visits)} visits")
        assert all(kinds[visit, "seen"] == kinds[visit, "ended"] == 1 for visit in visits), kinds
        assert len({line["id"] for line in lines}) == len(lines)
    finally:
        broker.end()


def np_range(start: float, end: float, step: float) -> list[float]:
    return [start + step * number for number in range(max(1, int((end - start) / step)))]


def whole_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a file whose writers were killed: one of them may be torn."""
    found = []
    for line in path.read_text().splitlines():
        with suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return found
