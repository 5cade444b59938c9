"""A worker follows a gallery that others change, whoever is killed; 'make endurance' does it for minutes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from facegate.maintenance.files import GALLERY, DataFile
from facegate.maintenance.recovery import heal

from ..helpers import ROOT, facegate


def test_every_change_is_known_and_no_kill_harms_a_file() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.endurance", "--quick"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert not found["gallery"]["damaged"] and not found["store"]["damaged"] and not found["store"]["lost"], found
    assert found["gallery"]["people"] == found["gallery"]["worker_knows"], found


@pytest.mark.parametrize("backed_up", [False, True])
def test_a_worker_replaces_a_damaged_gallery(tmp_path: Path, backed_up: bool) -> None:
    from facegate.maintenance.backups import FOLDER, back_up
    from facegate.recognition.enrollment.gallery_store import GalleryStore

    path = tmp_path / "people.db"
    with GalleryStore(path, create=True):
        pass
    if backed_up:
        assert back_up(tmp_path / FOLDER, [DataFile("people.db", path, GALLERY)], 1_900_000_000.0)
    path.write_bytes(bytes(path.stat().st_size))
    done = facegate("recognize", "--gallery", str(path), "--embedder", str(tmp_path / "none.onnx"))
    assert "damaged file replaced" in done.stderr
    assert heal(DataFile("people.db", path, GALLERY), []) is None, "once is enough"
    assert path.is_file() == backed_up
