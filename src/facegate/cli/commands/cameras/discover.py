"""``facegate discover``: finds cameras in the network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from facegate.cli.exit_codes import ExitCode
from facegate.errors import ConfigError, os_errors


def discover_command(
    hosts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="HOST",
            help="Hosts to ask directly: HOST, HOST:PORT or NETWORK/BITS. Needed for other subnets.",
            show_default=False,
        ),
    ] = None,
    user: Annotated[str | None, typer.Option(help="User name of the cameras.", show_default=False)] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="File that holds their password.", show_default=False)
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.5, max=120, help="Seconds for everything.")] = 5.0,
    multicast: Annotated[bool, typer.Option(help="Ask the local network by WS-Discovery.")] = True,
    write: Annotated[
        Path | None,
        typer.Option(
            help="Configuration file to add the cameras to; one with a known serial number gets its new address.",
            show_default=False,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Find cameras by ONVIF, with their streams, and write a configuration; exits with 1 if one has a problem.

    \b
    facegate discover --user viewer --password-file camera.password
    facegate discover 10.0.7.0/24 10.0.8.20:8000 --no-multicast
    facegate discover --user viewer --password-file camera.password --write cameras.yaml
    """
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from facegate.pipeline.discovery.camera_list import write_cameras
    from facegate.pipeline.discovery.finder import discover
    from facegate.pipeline.discovery.ws_discovery import MULTICAST

    if (user is None) != (password_file is None):
        raise ConfigError("a login needs both: give --user and --password-file")
    if not hosts and not multicast:
        raise ConfigError("--no-multicast without HOST finds nothing: give hosts or a network")
    login = None
    if user is not None and password_file is not None:
        with os_errors(ConfigError, f"cannot read --password-file {password_file}"):
            login = user, password_file.read_text(encoding="utf-8").rstrip("\r\n")
    found = discover(hosts or [], login, timeout, multicast=[MULTICAST] if multicast else [])
    if json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        table = Table("address", "camera", "serial", "main stream", "sub stream", "clock", "problem")
        for camera in found:
            streams = [_size(stream) for stream in (camera.main, camera.sub)]
            clock = "-" if camera.clock_offset_s is None else f"{camera.clock_offset_s:+.0f} s"
            name = f"{camera.vendor} {camera.model}".strip() or "-"
            table.add_row(camera.address, name, camera.serial or "-", *streams, clock, camera.problem or "")
        Console(highlight=False).print(table if found else "no camera answered")
    if write is not None:
        for line in write_cameras(write, found, user, password_file):
            sys.stderr.write(line + "\n")
    raise typer.Exit(ExitCode.REFUSED if not found or any(each.problem for each in found) else ExitCode.DONE)


def _size(stream: object) -> str:
    from facegate.pipeline.discovery.records import StreamProfile

    if not isinstance(stream, StreamProfile):
        return "-"
    if not stream.width:
        return stream.token
    rate = "" if stream.fps is None else f" {stream.fps:g} fps"
    return f"{stream.encoding} {stream.width}x{stream.height}{rate}"
