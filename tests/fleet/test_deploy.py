"""What ``deploy/`` holds: units that systemd takes, and options that exist."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..helpers import ROOT, facegate
from .processes import plain

DEPLOY = ROOT / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
PROGRAM = Path(sys.executable).parent / "facegate"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_the_units(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here: apt-get install systemd")
    here = tmp_path / unit.name
    here.write_text(unit.read_text().replace("/opt/facegate/bin/facegate", str(PROGRAM)))
    done = subprocess.run(["systemd-analyze", "verify", here], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr


def commands() -> list[list[str]]:
    starts = [re.search(r"^ExecStart=\S+ (.+)$", unit.read_text(), re.M) for unit in UNITS]
    compose: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    found = [shlex.split(start[1]) for start in starts if start is not None]
    return found + [each["command"] for each in compose["services"].values() if each["image"] == "facegate"]


@pytest.mark.parametrize("command", commands(), ids=lambda command: " ".join(command[:3]))
def test_options_in_deploy_exist(command: list[str]) -> None:
    verb = command[:2] if command[0] == "fleet" else command[:1]
    shown = plain(facegate(*verb, "--help", env={"COLUMNS": "200"}).stdout)
    for option in (word for word in command if word.startswith("--")):
        assert re.search(rf"{option}\b", shown), option


def test_what_could_not_be_run_here_is_said_first() -> None:
    for name in ("Containerfile", "compose.yaml"):
        assert (DEPLOY / name).read_text().startswith("# Never ")
