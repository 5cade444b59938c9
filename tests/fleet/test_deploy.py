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
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
MAX_EXPOSURE = 4.0
PROGRAM = Path(sys.executable).parent / "facegate"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_the_units(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here: apt-get install systemd")
    here = tmp_path / unit.name
    here.write_text(unit.read_text().replace("/opt/facegate/bin/facegate", str(PROGRAM)))
    done = subprocess.run(["systemd-analyze", "verify", here], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_are_hardened(unit: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here: apt-get install systemd")
    command = ["systemd-analyze", "security", "--offline=yes", "--no-pager", f"--threshold={10 * MAX_EXPOSURE:.0f}"]
    done = subprocess.run([*command, unit], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


def test_service_install_writes_units_of_this_installation(tmp_path: Path) -> None:
    done = facegate("service", "install", "gate", "console", "fleet-gate", "--to", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "systemctl enable --now facegate-gate facegate-console facegate-fleet-gate@1" in done.stderr
    gate = tmp_path / "facegate-gate.service"
    assert f"ExecStart={PROGRAM} run" in gate.read_text()
    assert facegate("service", "install", "gate", "--to", tmp_path).returncode == 0, "unchanged"
    gate.write_text(gate.read_text() + "# mine\n")
    refused = facegate("service", "install", "gate", "--to", tmp_path)
    assert refused.returncode == 2 and "was changed" in refused.stderr
    assert facegate("service", "install", "gate", "--to", tmp_path, "--force").returncode == 0
    assert "# mine" not in gate.read_text()
    lost = facegate("service", "install", "worker", "--to", tmp_path / "nowhere")
    assert lost.returncode == 2 and "--to" in lost.stderr


def commands() -> list[list[str]]:
    starts = [re.search(r"^ExecStart=\S+ (.+)$", unit.read_text(), re.M) for unit in UNITS]
    compose: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    found = [shlex.split(start[1]) for start in starts if start is not None]
    return (
        found
        + [each["command"] for each in compose["services"].values() if each["image"] == "localhost/facegate"]
        + [addon_command()]
    )


def addon_command() -> list[str]:
    """Command of the add-on's container, without the program."""
    lines = (DEPLOY / "home-assistant" / "Dockerfile").read_text().splitlines()
    found: list[str] = yaml.safe_load(lines[-1].removeprefix("CMD "))
    return found[1:]


def test_the_addon_lets_only_ingress_in() -> None:
    addon = yaml.safe_load((DEPLOY / "home-assistant" / "config.yaml").read_text())
    command = addon_command()
    assert addon["ingress"] and command[command.index("--listen") + 1].endswith(f":{addon['ingress_port']}")
    assert command[command.index("--proxy") + 1] == "172.30.32.2"


def test_compose_has_forms_that_old_podman_compose_reads() -> None:
    compose: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for service in compose["services"].values():
        assert all(isinstance(each, str) for each in service.get("env_file", []))
        assert isinstance(service.get("depends_on", []), list)


@pytest.mark.parametrize("command", commands(), ids=lambda command: " ".join(command[:3]))
def test_options_in_deploy_exist(command: list[str]) -> None:
    verb = command[:2] if command[0] == "fleet" else command[:1]
    shown = plain(facegate(*verb, "--help", env={"COLUMNS": "200"}).stdout)
    for option in (word for word in command if word.startswith("--")):
        assert re.search(rf"{option}\b", shown), option
