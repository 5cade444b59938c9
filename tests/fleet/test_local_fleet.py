"""``facegate fleet up``: a whole fleet as one command, which heals and ends whole.

make fleet
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from time import sleep

import psutil
import pytest

from facegate.demo.clip import DemoClip
from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.server import RtspServer
from facegate.fleet.local_fleet import share

from ..helpers import PATIENCE_S, facegate, free_port
from .processes import status, until


def family(process: subprocess.Popen[bytes]) -> dict[str, psutil.Process]:
    """What it has started, by what it is."""
    found = {}
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            line = child.cmdline()
        except psutil.Error:
            continue  # it has just ended
        for name in ("nats-server", "gate-1", "gate-2", "recognize"):
            if any(name in word for word in line):
                found[name] = child
    return found


@pytest.mark.fleet
def test_one_command_runs_heals_and_ends_everything(tmp_path: Path, clip: DemoClip) -> None:
    port, site, names = free_port(), tmp_path / "site.yaml", tmp_path / "names.jsonl"
    with RtspServer(Movie(clip.path), loop=True) as cameras:
        base = cameras.url.removesuffix("/live")
        text = "cameras:\n" + "".join(f"  - {{name: c{i}, source: '{base}/c{i}', max_fps: 2}}\n" for i in range(4))
        site.write_text(text)
        command = [
            sys.executable, "-m", "facegate", "fleet", "up", site, "--gates", "2", "--gallery", clip.gallery,
            "--embedder", "builtin", "--data", tmp_path / "data", "--port", str(port),
        ]  # fmt: skip

        def start() -> subprocess.Popen[bytes]:
            with names.open("ab") as out, (tmp_path / "log").open("ab") as log:
                return subprocess.Popen([*map(str, command)], stdout=out, stderr=log)

        fleet, url = start(), f"nats://127.0.0.1:{port}"
        try:

            def live() -> bool:
                cameras = status(url)["cameras"].values()
                return bool(cameras) and all(camera["state"] == "live" for camera in cameras)

            until(live, "all cameras live")
            until(lambda: len({c["gate"] for c in status(url)["cameras"].values()}) == 2, "both gates have some")
            assert family(fleet).keys() == {"nats-server", "gate-1", "gate-2", "recognize"}
            until(lambda: b'"name"' in names.read_bytes(), "a name on stdout")
            (own, *_) = status(url)["gates"]
            twin = facegate("run", "--fleet", url, "--gate", own, "--data", tmp_path / "twin")
            assert twin.returncode == 1 and f"the name {own} is used by another node" in twin.stderr
            second = facegate("fleet", "up", site, "--data", tmp_path / "data", "--port", free_port())
            assert second.returncode == 2 and "another fleet uses" in second.stderr
            taken = facegate("fleet", "up", site, "--data", tmp_path / "other", "--port", port)
            assert taken.returncode == 2 and "choose another --port" in taken.stderr
            for name in ("gate-1", "recognize", "nats-server"):
                old = family(fleet)[name]
                old.kill()
                until(lambda name=name, old=old: family(fleet).get(name, old) != old, f"{name} again")
            until(
                lambda: len({c["gate"] for c in status(url)["cameras"].values()} - {None}) == 2,
                "all well again",
            )
            site.write_text(text.replace("name: c3", "name: new"))
            fleet.send_signal(signal.SIGHUP)
            until(lambda: "new" in status(url)["cameras"], "the new configuration")
            children = family(fleet)
            fleet.send_signal(signal.SIGINT)
            assert fleet.wait(PATIENCE_S) == 130
            assert not any(child.is_running() for child in children.values())
            fleet = start()
            until(lambda: family(fleet).keys() >= {"nats-server", "gate-1", "gate-2"}, "started again")
            children = family(fleet)
            fleet.kill()
            until(lambda: not any(child.is_running() for child in children.values()), "they end with it")
        finally:
            fleet.kill()
            fleet.wait()
            sleep(0.1)
        assert all(json.loads(line)["event"] for line in names.read_text().splitlines())


def test_cores_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {2, 3, 4, 5, 8})
    assert share(1) == ["2,3,4,5,8"]
    assert share(2) == ["2,3", "4,5,8"]
    assert share(5) == ["2", "3", "4", "5", "8"]
    assert share(7) == ["2", "3", "4", "5", "8", "2", "3"]


def test_what_cannot_be_is_said_before_anything_starts(tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text("cameras:\n  - {name: a, source: 'rtsp://u:secret@h/s'}\n")
    done = facegate("fleet", "up", site, "--data", tmp_path / "data", "--port", free_port())
    assert done.returncode == 2 and "literal" in done.stderr and not (tmp_path / "data").exists()
