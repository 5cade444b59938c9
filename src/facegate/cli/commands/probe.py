"""``facegate probe``: what a camera offers, or why it cannot be opened."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from facegate.pipeline.cameras.probe import Probe


def probe_command(
    source: Annotated[str, typer.Argument(help="URL, file or webcam, as for 'facegate run'.", show_default=False)],
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="Watch for this long.")] = 3.0,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=120, help="Give up after so long without an answer.")
    ] = 5.0,
    transport: Annotated[Literal["tcp", "udp"], typer.Option(help="Of RTSP.")] = "tcp",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a camera offers: codec, size, frame rates, key frames, delay.

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

    camera = {"name": "probe", "source": source, "timeout_s": timeout, "transport": transport}
    config = build_config({"cameras": [camera]}, "command line").cameras[0]
    found = probe(config, seconds, Event())
    if json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        return
    table = Table(title=found.source, title_justify="left", show_header=False)
    measured = f"{found.fps_measured:g} in {found.frames} frames"
    rows = {
        "kind": "live" if found.live else "file",
        "codec": found.codec or "-",
        "size": _size(found),
        "frames per second": measured
        if found.fps_declared is None
        else f"{measured}, {found.fps_declared:g} declared",
        "a key frame every": "-" if found.key_frame_every_s is None else f"{found.key_frame_every_s:g} s",
        "first frame after": f"{found.first_frame_s:g} s",
        "tells its own time": "yes" if found.clock else "no",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console = Console(highlight=False)
    console.print(table)
    if found.advice is not None:
        console.print(
            f"Recorders send {found.coded_width} x {found.coded_height} squeezed, and this stream does not say so: "
            f'if its people look narrow or wide, set display_aspect_ratio: "{found.advice}"'
        )


def _size(found: Probe) -> str:
    shown = f"{found.width} x {found.height}"
    if found.coded_width is None or found.pixel in (None, "1:1"):
        return shown
    return f"{found.coded_width} x {found.coded_height}, pixels {found.pixel}, seen as {shown}"
