"""A full disk is one line and exit code 1, and what could not be written whole is not left behind."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from facegate.cli.files import draw_whole
from facegate.cli.output.best_shots import ShotOverview
from facegate.console.web.errors import add_problems
from facegate.errors import ConfigError, FacegateError
from facegate.pipeline.config import CameraConfig, RunConfig
from facegate.pipeline.images import write_png
from facegate.pipeline.recording.record import Recorder, RunInfo
from facegate.pipeline.records import QualityInfo
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.enrollment.records import FaceSample
from facegate.sinks.keys import new_worker

from ..helpers import facegate

RECORDING = Path(__file__).parents[1] / "fixtures" / "recording-4.rec"
NOISE = np.random.default_rng(1).integers(0, 255, (112, 112, 3), np.uint8)
"""Its PNG has 38 KB."""


def limited(size: int) -> Callable[[], None]:
    """Files of a child process cannot exceed ``size`` bytes, like on a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@contextmanager
def full_disk() -> Iterator[None]:
    """Files of this process cannot grow."""
    before, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def refused(done: subprocess.CompletedProcess[str], name: object) -> None:
    assert done.returncode == 1, done
    (line,) = done.stderr.splitlines()
    assert line.startswith("facegate: cannot write") and str(name) in line and line.endswith("and retry")


def test_a_key_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    arguments = ("keys", "new", "w1", "--keys", tmp_path / "keys", "--to", tmp_path / "w1.json")
    refused(facegate(*arguments, preexec_fn=limited(10)), tmp_path / "keys" / "gate.json")
    assert [path.name for path in tmp_path.rglob("*.json")] == []
    new_worker(tmp_path / "keys", "w1", tmp_path / "w1.json")
    (tmp_path / "keys" / "gate.json").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"the key of the gate is damaged .*: restore .* from a backup"):
        new_worker(tmp_path / "keys", "w2", tmp_path / "w2.json")


def test_crops_are_exported_all_or_none(tmp_path: Path) -> None:
    gallery, to = tmp_path / "people.db", tmp_path / "out"
    with GalleryStore(gallery, create=True) as people:
        people.add("Ann", [FaceSample("a.png", "a" * 64, NOISE, 80, 90.0, 0.1, 1)])
    refused(facegate("gallery", "export", gallery, to, preexec_fn=limited(33_000)), to)
    assert not to.exists()
    done = facegate("gallery", "export", gallery, to)
    assert done.stdout == f"1 crop written to {to}\n" and len(list(to.rglob("*.png"))) == 1
    for wrong in (gallery, gallery / "x", Path("/proc/x")):
        done = facegate("gallery", "export", gallery, wrong)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "give a new folder" in done.stderr


def test_what_is_printed_is_written_or_refused() -> None:
    command = [sys.executable, "-m", "facegate", "models", "list"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    refused(done, "the output")
    closed = subprocess.run(command, stderr=subprocess.PIPE, check=False, preexec_fn=lambda: os.close(1))
    assert closed.returncode == 0 and closed.stderr == b""


def test_files_of_commands_are_whole_or_absent(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    refused(facegate("replay", RECORDING, "--log", log, preexec_fn=limited(10)), log)
    assert list(tmp_path.iterdir()) == []


def _record(path: Path) -> object:
    config = RunConfig(cameras=(CameraConfig(name="door", source="x.mp4"),))
    return Recorder(path, config, RunInfo("run", QualityInfo("a", "m", "c"), None), {})


WRITERS: dict[str, Callable[[Path], object]] = {
    "recording": _record,
    "plot": lambda path: draw_whole(path, lambda part: write_png(part, NOISE)),
    "best shots": lambda path: ShotOverview("clip.mp4").write(path.parent),
}


@pytest.mark.parametrize("what", WRITERS)
def test_writers_leave_nothing_behind(what: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    with (
        full_disk(),
        pytest.raises(FacegateError, match=r"^cannot write .*; free some disk space, and retry$") as caught,
    ):
        WRITERS[what](folder / "file.png")
    assert caught.value.exit_code == 1 and list(folder.iterdir()) == []


def test_a_request_that_meets_a_full_disk_says_so(tmp_path: Path) -> None:
    app = FastAPI()
    add_problems(app)

    @app.post("/save")
    def save() -> None:
        draw_whole(tmp_path / "x.yaml", lambda part: part.write_bytes(bytes(1000)))

    with full_disk():
        answer = TestClient(app).post("/save")
    found = answer.json()
    assert answer.status_code == 507 and found["code"] == "disk_full"
    assert found["remedy"] == "free some disk space, and retry"
