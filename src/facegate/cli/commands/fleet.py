"""``facegate fleet``: nodes that share cameras."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facegate.cli.output.lines import print_json
from facegate.pipeline.plurals import count

if TYPE_CHECKING:
    from facegate.fleet.admin import FleetSummary
    from facegate.fleet.bucket import BucketAddress

app = typer.Typer(
    no_args_is_help=True,
    help="Manage a fleet of nodes that share cameras: up, apply, status, drain, pause, history.",
)

FleetOption = Annotated[
    str,
    typer.Option(
        "--fleet",
        envvar="FACEGATE_FLEET",
        metavar="URL",
        help="URL of the fleet: nats://HOST:4222/NAME or tls://; several hosts separated by commas.",
    ),
]
AllowInsecureOption = Annotated[
    bool,
    typer.Option("--allow-insecure", help="Allow nats:// to another host without TLS, on a network you trust."),
]
DEFAULT_FLEET = "nats://127.0.0.1:4222"


@app.command()
def up(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="CONFIG.yaml with the cameras of the fleet.")],
    gates: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Number of gates to start.", show_default="one per four cores"),
    ] = None,
    gallery: Annotated[
        Path | None,
        typer.Option(
            help="Gallery of 'facegate gallery add', or folder; starts a recognition worker.", show_default=False
        ),
    ] = None,
    embedder: Annotated[str, typer.Option(help="Recognizer, as for 'facegate recognize'.")] = "auto",
    data: Annotated[
        Path | None,
        typer.Option(help="Data folder of the fleet.", show_default="~/.local/share/facegate/fleet"),
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the NATS server on loopback.")] = 4222,
    max_cameras: Annotated[int, typer.Option(min=1, help="Maximum number of cameras per gate.")] = 64,
) -> None:
    """Run a fleet on this host: a NATS server, gates pinned to cores, and a worker. Ctrl-C stops all.

    \b
    facegate fleet up site.yaml --gates 4 --gallery people.db
    facegate fleet status

    SIGHUP applies the configuration file again. Recognition results are JSON lines on stdout.
    """
    import signal

    from facegate.cli.signals import Interrupt
    from facegate.cpu import cores
    from facegate.fleet.local_fleet import LocalFleet, LocalFleetOptions
    from facegate.paths import data_folder

    worker = None if gallery is None else ("--gallery", str(gallery), "--embedder", embedder)
    fleet = LocalFleet(
        LocalFleetOptions(
            config=config,
            gates=gates or max(1, cores() // 4),
            data=(data or data_folder() / "fleet").absolute(),
            port=port,
            worker=worker,
            max_cameras=max_cameras,
        )
    )
    interrupted = Interrupt(fleet.stop)
    signal.signal(signal.SIGHUP, fleet.ask_reload)
    fleet.run()
    raise typer.Exit(interrupted.exit_code)


@app.command()
def apply(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="CONFIG.yaml with the cameras of the fleet.")],
    fleet: FleetOption = DEFAULT_FLEET,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a configuration with other cameras.")] = False,
    allow_insecure: AllowInsecureOption = False,
) -> None:
    """Publish a configuration; nodes apply it at once, and only changed cameras are interrupted.

    \b
    facegate fleet apply site.yaml
    facegate fleet apply site.yaml --fleet nats://10.0.0.7:4222/museum --allow-insecure

    Write secrets as ${NAME}; each node reads them from its own environment.
    """
    from facegate.fleet import admin
    from facegate.fleet.configuration import read

    data = read(config)
    address = _address(fleet, allow_insecure)
    revision = admin.run(admin.apply(address, data, replace=replace))
    sys.stderr.write(f"revision {revision} of {address.shown}: {count(len(data['cameras']), 'camera')}\n")


@app.command()
def status(
    fleet: FleetOption = DEFAULT_FLEET,
    json: Annotated[bool, typer.Option("--json", help="Print the status as JSON.")] = False,
    allow_insecure: AllowInsecureOption = False,
) -> None:
    """Print the nodes of the fleet and the camera assignments.

    \b
    facegate fleet status
    facegate fleet status --json | jq '.cameras | map_values(.gate)'
    """
    from facegate.fleet import admin

    found = admin.run(admin.status(_address(fleet, allow_insecure)))
    if json:
        print_json(found)
    else:
        _show(found)


@app.command()
def drain(
    gate: Annotated[
        str, typer.Argument(metavar="GATE", help="Name of a node, as printed by 'facegate fleet status'.")
    ],
    undo: Annotated[bool, typer.Option("--undo", help="Accept cameras on this node again.")] = False,
    fleet: FleetOption = DEFAULT_FLEET,
    allow_insecure: AllowInsecureOption = False,
) -> None:
    """Drain a node before maintenance: its cameras move to other nodes, and it gets no new ones.

    \b
    facegate fleet drain left
    facegate fleet drain left --undo
    """
    from facegate.fleet import admin
    from facegate.fleet.records import DRAIN

    admin.run(admin.request(_address(fleet, allow_insecure), DRAIN, gate, enabled=not undo))


@app.command()
def pause(
    camera: Annotated[str, typer.Argument(metavar="CAMERA", help="Name of a camera.")],
    undo: Annotated[bool, typer.Option("--undo", help="Resume the paused camera.")] = False,
    fleet: FleetOption = DEFAULT_FLEET,
    allow_insecure: AllowInsecureOption = False,
) -> None:
    """Pause a camera on all nodes.

    \b
    facegate fleet pause door
    facegate fleet pause door --undo
    """
    from facegate.fleet import admin
    from facegate.fleet.records import PAUSE

    admin.run(admin.request(_address(fleet, allow_insecure), PAUSE, camera, enabled=not undo))


@app.command()
def history(
    fleet: FleetOption = DEFAULT_FLEET,
    show: Annotated[
        int | None, typer.Option(help="Print the configuration of this revision as JSON.", show_default=False)
    ] = None,
    allow_insecure: AllowInsecureOption = False,
) -> None:
    """List recent configurations: revision, time, author and number of cameras.

    \b
    facegate fleet history
    facegate fleet history --show 7 > before.yaml     # JSON is YAML and can be applied again
    """
    from facegate.errors import FleetError
    from facegate.fleet import admin

    found = admin.run(admin.history(_address(fleet, allow_insecure)))
    if show is not None:
        selected = next((applied for applied in found if applied.revision == show), None)
        if selected is None:
            available = ", ".join(str(applied.revision) for applied in found) or "none"
            raise FleetError(f"revision {show} does not exist; available: {available}")
        print_json(selected.data)
        return
    for applied in reversed(found):
        at = datetime.fromtimestamp(applied.at).astimezone().isoformat(timespec="seconds")
        sys.stdout.write(
            f"{applied.revision:6}  {at}  {applied.by}  {count(len(applied.data['cameras']), 'camera')}\n"
        )


def _address(fleet: str, allow_insecure: bool) -> BucketAddress:
    from facegate.fleet.bucket import parse

    return parse(fleet, allow_insecure=allow_insecure)


def _show(found: FleetSummary) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print(f"{found.fleet}, configuration {found.config or 'none yet'}")
    gates = Table("node", "host", "cameras", "capacity", "load", "last seen", "", box=box.SIMPLE)
    for name, gate in found.gates.items():
        notes = ["drained"] * gate.drained + [gate.problem] * bool(gate.problem)
        if gate.config != found.config:
            notes.append(f"uses configuration {gate.config or 'none yet'}")
        gates.add_row(
            name, gate.host, str(gate.cameras), f"{gate.capacity:.0f} fps", f"{gate.load:.0%}",
            f"{gate.seen_s:.1f} s ago", ", ".join(notes),
        )  # fmt: skip
    cameras = Table("camera", "node", "state", "for", "fps", box=box.SIMPLE)
    for name, camera in found.cameras.items():
        since = "" if camera.since_s is None else f"{camera.since_s:.0f} s"
        cameras.add_row(name, camera.gate or "-", camera.state, since, f"{camera.processed_fps:.1f}")
    for table in (gates, cameras):
        console.print(table)
