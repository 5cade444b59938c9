"""``facegate service``: systemd units."""

from __future__ import annotations

import shlex
import sys
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from facegate.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="Manage facegate's systemd units: install.")
PROGRAM = "/opt/facegate/bin/facegate"
"""The program as the shipped units start it."""
FOLDER = Path("/etc/systemd/system")


class Service(StrEnum):
    """Units that ship."""

    CONSOLE = "console"
    GATE = "gate"
    WORKER = "worker"
    FLEET = "fleet"
    FLEET_GATE = "fleet-gate"

    @property
    def file(self) -> str:
        """Name of the unit file."""
        return f"facegate-{self.value}{'@' if self is Service.FLEET_GATE else ''}.service"


@app.callback()
def _group() -> None:
    """Manage facegate's systemd units."""


@app.command()
def install(
    services: Annotated[
        list[Service], typer.Argument(metavar="SERVICE...", help="Services to install.", show_default=False)
    ],
    to: Annotated[Path, typer.Option(help="Folder of unit files.")] = FOLDER,
    force: Annotated[bool, typer.Option("--force", help="Replace a unit file that was changed.")] = False,
) -> None:
    """Write systemd units that start this installation of facegate; starts nothing.

    \b
    facegate service install console
    facegate service install gate worker
    """
    program = _program()
    for service in services:
        shipped = resources.files("facegate") / "deploy" / "systemd" / service.file
        content = shipped.read_text(encoding="utf-8").replace(PROGRAM, program)
        path = to / service.file
        try:
            if not force and path.is_file() and path.read_text(encoding="utf-8") != content:
                raise ConfigError(f"{path} was changed: move it away, or give --force to replace it")
            path.write_text(content, encoding="utf-8")
        except OSError as error:
            reason = (error.strerror or "unknown error").lower()
            raise ConfigError(f"cannot write {path}: {reason}; run as root, or give --to a folder") from error
        sys.stdout.write(f"{path}\n")
    enabled = [f"facegate-{service.value}{'@1' if service is Service.FLEET_GATE else ''}" for service in services]
    sys.stderr.write(f"start with: systemctl daemon-reload && systemctl enable --now {shlex.join(enabled)}\n")


def _program() -> str:
    """The program of this installation, which services can reach.

    Raises:
        ConfigError: it is in a home directory, which services cannot read.
    """
    beside = Path(sys.executable).parent / "facegate"
    if str(beside).startswith(("/home/", "/root/")):
        raise ConfigError(
            f"services cannot read {beside}: install facegate elsewhere, "
            "python3 -m venv /opt/facegate && /opt/facegate/bin/pip install facegate"
        )
    return str(beside)
