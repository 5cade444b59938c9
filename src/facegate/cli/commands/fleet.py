"""``facegate fleet``: many gates that share cameras."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

if TYPE_CHECKING:
    from facegate.fleet.admin import FleetSummary
    from facegate.fleet.bucket import BucketAddress

app = typer.Typer(
    no_args_is_help=True, help="Many gates that share cameras: up, apply, status, drain, pause, history."
)

FleetOption = Annotated[
    str,
    typer.Option(
        "--fleet",
        envvar="FACEGATE_FLEET",
        help="Where the fleet is: nats://HOST:4222/NAME, or tls://; several hosts with commas.",
    ),
]
AllowInsecureOption = Annotated[
    bool, typer.Option("--allow-insecure", help="Allow nats:// to another host, on a network you trust.")
]
HERE = "nats://127.0.0.1:4222"


@app.command()
def up(
    config: Annotated[Path, typer.Argument(help="CONFIG.yaml with the cameras.")],
    gates: Annotated[
        int | None, typer.Option(min=1, max=256, help="How many gates.", show_default="one for four cores")
    ] = None,
    gallery: Annotated[
        Path | None,
        typer.Option(help="Recognize: a file of 'facegate gallery add', or a folder.", show_default=False),
    ] = None,
    embedder: Annotated[str, typer.Option(help="What recognizes, as of 'facegate recognize'.")] = "auto",
    data: Annotated[
        Path | None,
        typer.Option(help="Keep everything in this folder.", show_default="~/.local/share/facegate/fleet"),
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the NATS server, on this host alone.")] = 4222,
    max_cameras: Annotated[int, typer.Option(min=1, help="Cameras for each gate at most.")] = 64,
) -> None:
    """Run a whole fleet on this host: a NATS server, gates on cores of their own, and a worker. Ctrl-C ends all.

    \b
    facegate fleet up site.yaml --gates 4 --gallery people.db
    facegate fleet status

    SIGHUP reads the configuration again, as 'facegate fleet apply' does. Names come out as lines on stdout.
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
    config: Annotated[Path, typer.Argument(help="CONFIG.yaml with the cameras of all gates.")],
    fleet: FleetOption = HERE,
    replace: Annotated[bool, typer.Option("--replace", help="Also where the fleet watches other cameras.")] = False,
    allow_insecure: AllowInsecureOption = False,
) -> None:
    """Publish a configuration; gates go over to it at once, and only cameras that change blink.

    \b
    facegate fleet apply site.yaml
    facegate fleet apply site.yaml --fleet nats://10.0.0.7:4222/museum --allow-insecure

    Secrets stand in it as ${NAME}; each gate reads them from its own environment.
    """
    from facegate.fleet import admin
    from facegate.fleet.configuration import read

    data = read(config)
    place = _place(fleet, allow_insecure)
    revision = admin.run(admin.apply(place, data, replace=replace))
    sys.stderr.write(f"revision {revision} of {place.shown}: {len(data['cameras'])} cameras\n")


@app.command()
def status(
    fleet: FleetOption = HERE,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    allow_insecure: AllowInsecureOption = False,
) -> None:
    """Print which gate watches what.

    \b
    facegate fleet status
    facegate fleet status --json | jq '.cameras | map_values(.gate)'
    """
    from facegate.fleet import admin

    found = admin.run(admin.status(_place(fleet, allow_insecure)))
    if json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n")
    else:
        _show(found)


@app.command()
def drain(
    gate: Annotated[str, typer.Argument(help="Name of a gate, as 'fleet status' prints it.")],
    undo: Annotated[bool, typer.Option("--undo", help="Let it take cameras again.")] = False,
    fleet: FleetOption = HERE,
    allow_insecure: AllowInsecureOption = False,
) -> None:
    """Let a gate give its cameras to others and take no more, before its host is worked on.

    \b
    facegate fleet drain left
    facegate fleet drain left --undo
    """
    from facegate.fleet import admin
    from facegate.fleet.records import DRAIN

    admin.run(admin.request(_place(fleet, allow_insecure), DRAIN, gate, wanted=not undo))


@app.command()
def pause(
    camera: Annotated[str, typer.Argument(help="Name of a camera.")],
    undo: Annotated[bool, typer.Option("--undo", help="Let it be watched again.")] = False,
    fleet: FleetOption = HERE,
    allow_insecure: AllowInsecureOption = False,
) -> None:
    """Let nobody watch a camera for a while.

    \b
    facegate fleet pause door
    facegate fleet pause door --undo
    """
    from facegate.fleet import admin
    from facegate.fleet.records import PAUSE

    admin.run(admin.request(_place(fleet, allow_insecure), PAUSE, camera, wanted=not undo))


@app.command()
def history(
    fleet: FleetOption = HERE,
    show: Annotated[int | None, typer.Option(help="Print this revision as JSON.", show_default=False)] = None,
    allow_insecure: AllowInsecureOption = False,
) -> None:
    """Print the last configurations: who applied them, when, and what they hold.

    \b
    facegate fleet history
    facegate fleet history --show 7 > before.yaml     # JSON is YAML: it can be applied again
    """
    from facegate.errors import FleetError
    from facegate.fleet import admin

    found = admin.run(admin.history(_place(fleet, allow_insecure)))
    if show is not None:
        wanted = next((applied for applied in found if applied.revision == show), None)
        if wanted is None:
            there = ", ".join(str(applied.revision) for applied in found) or "none"
            raise FleetError(f"revision {show} is not kept: there are {there}")
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(wanted.data), indent=2).decode() + "\n")
        return
    for applied in reversed(found):
        at = datetime.fromtimestamp(applied.at).astimezone().isoformat(timespec="seconds")
        sys.stdout.write(f"{applied.revision:6}  {at}  {applied.by}  {len(applied.data['cameras'])} cameras\n")


def _place(fleet: str, allow_insecure: bool) -> BucketAddress:
    from facegate.fleet.bucket import parse

    return parse(fleet, allow_insecure=allow_insecure)


def _show(found: FleetSummary) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print(f"{found.fleet}, configuration {found.config or 'none yet'}")
    gates = Table("gate", "host", "cameras", "capacity", "load", "seen", "", box=box.SIMPLE)
    for name, gate in found.gates.items():
        notes = ["drained"] * gate.drained + [gate.problem] * bool(gate.problem)
        if gate.config != found.config:
            notes.append(f"follows configuration {gate.config or 'none yet'}")
        gates.add_row(
            name, gate.host, str(gate.cameras), f"{gate.capacity:.0f} looks/s", f"{gate.load:.0%}",
            f"{gate.seen_s:.1f} s ago", ", ".join(notes),
        )  # fmt: skip
    cameras = Table("camera", "gate", "state", "since", "looks/s", box=box.SIMPLE)
    for name, camera in found.cameras.items():
        since = "" if camera.since_s is None else f"{camera.since_s:.0f} s"
        cameras.add_row(name, camera.gate or "-", camera.state, since, f"{camera.processed_fps:.1f}")
    for table in (gates, cameras):
        console.print(table)
