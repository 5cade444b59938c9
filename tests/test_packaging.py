"""The wheel built from the sdist holds the same files as the wheel built from the tree."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def build(source: Path, target: Path, kind: str) -> Path:
    # The isolated build environment would need the network; hatchling is a development dependency instead.
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", str(target), str(source)],
        check=True,
        capture_output=True,
    )
    return next(target.glob("*.whl" if kind == "wheel" else "*.tar.gz"))


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_both_ways_to_a_wheel_give_the_same_files(tmp_path: Path) -> None:
    direct = contents(build(ROOT, tmp_path / "direct", "wheel"))
    sdist = build(ROOT, tmp_path / "sdist", "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    unpacked = next((tmp_path / "unpacked").iterdir())
    assert contents(build(unpacked, tmp_path / "indirect", "wheel")) == direct
    for needed in (
        "facegate/pipeline/records.py",
        "facegate/scoring/models/facegate-mobile-s.safetensors",
        "facegate/py.typed",
    ):
        assert needed in direct
