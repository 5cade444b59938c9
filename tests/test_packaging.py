"""The wheel built from the sdist holds the same files as the wheel built from the tree."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
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
        "facegate/scoring/models/facegate-open-s.safetensors",
        "facegate/scoring/models/graph.onnx",
        "facegate/scoring/models/graph.json",
        "facegate/deploy/systemd/facegate-gate.service",
        "facegate/py.typed",
    ):
        assert needed in direct
    assert {Path(name).name for name in direct if "/licenses/" in name} == {"LICENSE", "NOTICE"}
    left_out = ("facegate/training/", "facegate/evaluation/research/")
    assert not [name for name in direct if name.startswith(left_out)]


IMPORT_EVERYTHING = """
import importlib, pkgutil, sys
import facegate
from facegate.errors import ConfigError
from facegate.evaluation.evaluate import make_method
assert facegate.__file__.startswith(sys.argv[1]), facegate.__file__
for found in pkgutil.walk_packages(facegate.__path__, "facegate."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
from facegate.demo.rtsp.player import Playback
assert not Playback.__subclasses__(), "camera faults belong to the tests"
assert make_method("laplacian", None).name
for spec in ("stochastic", "sdd:a.onnx", "attention@2"):
    try:
        make_method(spec, None)
    except ConfigError as error:
        assert "clone of the repository" in str(error), error
    else:
        raise AssertionError(spec)
"""


def test_what_a_wheel_leaves_out_nothing_in_it_needs(tmp_path: Path) -> None:
    with zipfile.ZipFile(build(ROOT, tmp_path / "built", "wheel")) as archive:
        archive.extractall(tmp_path / "site")
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_EVERYTHING, str(tmp_path / "site")],
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_core_asks_for_nothing_that_only_an_extra_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = {name(each) for each in project["dependencies"]}
    heavy = {"torch", "timm", "scipy", "matplotlib", "onnx", "openvino", "insightface", "huggingface-hub"}
    assert not core & (heavy | {"opencv-python", "trackers", "supervision"})
    assert {"opencv-python-headless", "pillow"} <= core


def test_both_packages_of_opencv_are_pinned_to_one_version_and_no_window_is_used() -> None:
    """Both hold the module ``cv2``; only windows tell them apart."""
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    assert pins["opencv-python"] == pins["opencv-python-headless"]
    folders = ("pipeline", "detectors", "recognition", "sinks", "store", "console", "evaluation", "demo", "src")
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        assert not re.search(
            r"cv2\.(imshow|waitKey|namedWindow|destroy|selectROI|createTrackbar)", path.read_text()
        )


def name(requirement: str) -> str:
    return re.split(r"[\[<>=~! ]", requirement, maxsplit=1)[0].lower()
