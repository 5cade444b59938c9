"""Whatever dies, the console says so and goes on, and nothing that was stored is lost."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep, time

import numpy as np
import pytest

from facegate.demo.clip import DemoClip
from facegate.demo.rtsp.movie import Movie
from facegate.demo.rtsp.server import RtspServer
from facegate.maintenance.backups import FOLDER, back_up
from facegate.maintenance.files import data_files
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.enrollment.records import FaceSample

from ..helpers import PATIENCE_S, facegate, free_port, wait_until
from .serving import Served, served

KILLS = {"worker": 6, "gate": 3}
"""More of them: make endurance."""


def stored(console: Served) -> set[str]:
    found: set[str] = set()
    page = console.get("/shots?limit=200")
    while True:
        found |= {shot["shot_id"] for shot in page["shots"]}
        if page["next"] is None:
            return found
        page = console.get(f"/shots?limit=200&before={page['next']}")


def test_a_killed_worker_and_a_killed_gate_lose_nothing(tmp_path: Path, camera_url: str) -> None:
    with served(tmp_path / "data") as console:
        console.api("POST", "/cameras", {"name": "door", "source": camera_url, "max_fps": 5})
        console.until("/visits", lambda page: page["visits"])
        before: set[str] = set()
        for name, kills in KILLS.items():
            for _ in range(kills):
                process = console.until("/health", lambda found, name=name: found[name]["running"])[name]
                before |= stored(console)
                os.kill(process["pid"], signal.SIGKILL)
                console.until(
                    "/health",
                    lambda found, name=name, pid=process["pid"]: found[name]["pid"] not in (None, pid),
                )
        health = console.get("/health")
        assert all(health[name]["starts"] > kills for name, kills in KILLS.items())
        seen = stored(console)
        assert before <= seen
        console.until("/visits", lambda page: page["visits"] and page["visits"][0]["answered"])
        # What the last gate sent is all there, and all was recognized: nothing waits anywhere.
        console.api("PATCH", "/cameras/door", {"enabled": False})
        console.until("/health", lambda found: not found["gate"]["running"])
        console.until("/visits?limit=200", lambda page: all(visit["answered"] for visit in page["visits"]))


def test_a_full_disk_is_said_and_survived(tmp_path: Path, camera_url: str) -> None:
    """No file of the gate can grow for half a minute: nothing that was stored is lost, and it goes on by itself."""
    with served(tmp_path / "data") as console:
        console.api("POST", "/cameras", {"name": "door", "source": camera_url, "max_fps": 5})
        console.until("/visits", lambda page: page["visits"])
        pid = console.get("/health")["gate"]["pid"]
        before, kept = resource.prlimit(pid, resource.RLIMIT_FSIZE), stored(console)
        # Of this process only: one that is started in its place has room again.
        full = time()
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, before[1]))
        console.until(
            "/health",
            lambda found: any(line["process"] == "gate" and line["at"] > full for line in found["lines"]),
        )
        sleep(15)  # the clip is twelve seconds long: there were shots
        if console.get("/health")["gate"]["pid"] == pid:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        now = time()
        console.until("/shots", lambda page: page["shots"][0]["received_at"] > now)
        assert kept <= stored(console)
        console.until("/visits", lambda page: page["visits"][0]["answered"])


def test_a_console_that_is_killed_takes_its_processes_along_and_comes_back(tmp_path: Path, camera_url: str) -> None:
    data = tmp_path / "data"
    with served(data) as console:
        console.api("POST", "/cameras", {"name": "door", "source": camera_url, "max_fps": 5})
        console.until("/visits", lambda page: page["visits"])
        before = stored(console)
        health = console.get("/health")
        console.process.send_signal(signal.SIGKILL)
        console.process.wait()
        deadline = monotonic() + PATIENCE_S
        for pid in (health["gate"]["pid"], health["worker"]["pid"]):
            while Path(f"/proc/{pid}").exists() and "zombie" not in Path(f"/proc/{pid}/status").read_text():
                assert monotonic() < deadline, f"{pid} goes on without its console"
                sleep(0.1)
    with served(data) as again:
        assert [camera["name"] for camera in again.get("/cameras")["cameras"]] == ["door"]
        assert before <= stored(again)
        again.until("/cameras", lambda found: found["cameras"][0]["state"] == "live")


def test_who_still_waits_when_the_console_ends_is_told(tmp_path: Path) -> None:
    """A camera that accepts and says nothing keeps a request waiting for longer than the end takes."""
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        ThreadPoolExecutor(1) as others,
        served(tmp_path / "data") as console,
    ):
        source = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/door"
        waiting = others.submit(console.api, "POST", "/cameras/probe", {"source": source})
        with silent.accept()[0]:
            console.process.send_signal(signal.SIGTERM)
            answer = waiting.result(PATIENCE_S)
        assert answer.status == 503 and answer.json()["code"] == "shutting_down"
        assert console.process.wait(PATIENCE_S) == 128 + signal.SIGTERM
        assert "Traceback" not in console.log.read_text()


def test_a_damaged_gallery_is_replaced_at_start_and_every_page_says_so(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    with GalleryStore(data / "people.db", create=True) as people:
        people.add("Ann", [FaceSample("1.png", "d", np.zeros((112, 112, 3), np.uint8), 80, 112.0, 0.0, 1)])
    made = back_up(data / FOLDER, data_files(data), time())
    assert made is not None
    (data / "people.db").write_bytes(bytes((data / "people.db").stat().st_size))
    with served(data) as console:
        [notice] = console.get("/health")["notices"]
        assert "people.db was damaged (file is not a database)" in notice and "the backup of" in notice
        assert [person["name"] for person in console.get("/people")] == ["Ann"]
    assert "damaged file replaced" in (tmp_path / "data.log").read_text()


def set_password(data: Path) -> None:
    command = [sys.executable, "-m", "facegate", "serve", "--data", data, "--set-password", "ada"]
    subprocess.run(command, input=b"a long password\n", check=True)


@pytest.mark.parametrize("harm", ["random", "repaired", "empty", "gone"])
def test_a_console_stays_locked_after_its_accounts_are_lost(tmp_path: Path, harm: str) -> None:
    data = tmp_path / "data"
    set_password(data)
    file = data / "accounts.db"
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes(b"" if harm == "empty" else np.random.default_rng(1).bytes(file.stat().st_size))
    if harm == "repaired":
        assert facegate("doctor", "--data", data, "--repair").returncode == 0
    with served(data) as console:
        assert console.api("GET", "/people").status == 401
        assert console.get("/session")["needed"]
        assert "nobody can log in" in console.log.read_text()
        set_password(data)
        login = console.api("POST", "/session", {"name": "ada", "password": "a long password"})
        assert login.status == 200, login.body


def test_a_store_that_cannot_be_read_and_a_full_disk_are_said(tmp_path: Path) -> None:
    """Health is still shown, and each answer has a remedy that helps."""
    with served(tmp_path / "data") as console:
        pid = console.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4, before[1]))
        full = console.api("POST", "/cameras", {"name": "door", "source": "rtsp://127.0.0.1:9/x"})
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        assert full.status == 507 and full.json()["code"] == "disk_full"
        assert full.json()["remedy"] == "free some disk space, and retry"
        assert console.get("/cameras")["cameras"] == []
        store = tmp_path / "data" / "store.db"
        for file in (store, store.with_name("store.db-wal")):
            with file.open("r+b") as opened:
                opened.write(os.urandom(max(file.stat().st_size, 4096)))
        found = console.until("/health", lambda health: health["notices"])
        assert "restart the console" in found["notices"][0] and found["stored"] == {}
        broken = console.api("GET", "/visits")
        assert broken.status == 503 and "restart the console" in broken.json()["remedy"]


def test_the_log_says_when_a_camera_is_lost_and_back(tmp_path: Path, clip: DemoClip) -> None:
    movie, port = Movie(clip.path), free_port()
    with served(tmp_path / "data") as console:

        def logged(words: str, times: int) -> None:
            wait_until(lambda: console.log.read_text().count(words) >= times, words)

        with RtspServer(movie, loop=True, port=port) as camera:
            console.api("POST", "/cameras", {"name": "door", "source": camera.url, "max_fps": 5})
            logged("camera live", 1)
        logged("camera lost, reconnecting", 1)
        with RtspServer(movie, loop=True, port=port):
            logged("camera live", 2)
