"""``facegate probe``: reports the properties of a stream, or why it cannot be opened."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from facegate.errors import ConfigError
from facegate.pipeline.plurals import count

if TYPE_CHECKING:
    from facegate.pipeline.cameras.probe import Probe


def probe_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="Stream URL, file or webcam, as for 'facegate run'.", show_default=False
        ),
    ],
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="Seconds to measure.")] = 3.0,
    timeout: Annotated[float, typer.Option(min=0.1, max=120, help="Seconds to wait for the camera.")] = 5.0,
    transport: Annotated[Literal["tcp", "udp"], typer.Option(help="RTSP transport protocol.")] = "tcp",
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Print codec, size, frame rate, key frame interval and start-up delay of a stream.

    \b
    facegate probe rtsp://viewer:${PASSWORD}@10.0.0.5/stream1
    facegate probe clip.mp4 --json | jq .fps_measured
    """
    from threading import Event

    import msgspec
    from rich.console import Console
    from rich.table import Table

    from facegate.pipeline.cameras.probe import probe
    from facegate.pipeline.config import build_config

    if not source.strip():
        raise ConfigError("SOURCE is empty: give a stream URL, a file, or the number of a webcam")
    camera = {"name": "probe", "source": source, "timeout_s": timeout, "transport": transport}
    config = build_config({"cameras": [camera]}, "command line").cameras[0]
    found = probe(config, seconds, Event())
    if json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        return
    table = Table(title=found.source, title_justify="left", show_header=False)
    measured = f"{found.fps_measured:g} in {count(found.frames, 'frame')}"
    rows = {
        "kind": "live" if found.live else "file",
        "codec": found.codec or "-",
        "size": _size(found),
        "frame rate (fps)": measured
        if found.fps_declared is None
        else f"{measured}, {found.fps_declared:g} declared",
        "key frame interval": "-" if found.key_frame_every_s is None else f"{found.key_frame_every_s:g} s",
        "time to first frame": f"{found.first_frame_s:g} s",
        "sends wall-clock time": "yes" if found.clock else "no",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console = Console(highlight=False)
    console.print(table)
    if found.advice is not None:
        console.print(
            f"Many recorders send {found.coded_width} x {found.coded_height} anamorphic without declaring it. "
            f'If people look narrow or wide, set display_aspect_ratio: "{found.advice}"'
        )


def _size(found: Probe) -> str:
    shown = f"{found.width} x {found.height}"
    if found.coded_width is None or found.pixel in (None, "1:1"):
        return shown
    return f"{found.coded_width} x {found.coded_height}, SAR {found.pixel}, displayed as {shown}"
