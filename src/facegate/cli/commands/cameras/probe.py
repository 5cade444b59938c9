"""``facegate probe``: reports the properties of a stream, or why it cannot be opened."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from facegate.errors import ConfigError
from facegate.pipeline.plurals import count

if TYPE_CHECKING:
    from facegate.pipeline.cameras.probe import Probe

SIZES_PX = (24, 32, 48, 96)
NEEDS = {24: " (detected)", 48: " (recognized well)"}
"""What a width is enough for; recognizers fail on one face in seven at 32 pixels, on one in thirty at 48."""


def probe_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="Stream URL, file or webcam, as for 'facegate run'.", show_default=False
        ),
    ],
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="Seconds to measure.")] = 3.0,
    timeout: Annotated[float, typer.Option(min=0.1, max=120, help="Seconds to wait for the camera.")] = 5.0,
    transport: Annotated[Literal["auto", "tcp", "udp"], typer.Option(help="RTSP transport protocol.")] = "auto",
    field_of_view: Annotated[
        float | None,
        typer.Option(
            min=1,
            max=179,
            help="Horizontal field of view in degrees: print up to which distance faces are large enough.",
            show_default=False,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Print codec, size, frame rate, key frame interval and start-up delay of a stream, and the cost of detection.

    \b
    facegate probe rtsp://viewer:${PASSWORD}@10.0.0.5/stream1
    facegate probe rtsp://10.0.0.5/stream1 --field-of-view 90
    facegate probe clip.mp4 --json | jq .fps_measured
    """
    from threading import Event

    import msgspec
    from rich.console import Console
    from rich.table import Table

    from facegate.pipeline.cameras.probe import distance_m, probe
    from facegate.pipeline.config import build_config
    from facegate.pipeline.runtime.models import window_detector_of

    if not source.strip():
        raise ConfigError("SOURCE is empty: give a stream URL, a file, or the number of a webcam")
    camera = {"name": "probe", "source": source, "timeout_s": timeout, "transport": transport}
    config = build_config({"cameras": [camera]}, "command line")
    smallest_px = config.detector.min_face_px
    found = probe(
        config.cameras[0], seconds, Event(), window_detector_of(config.detector, config.device), smallest_px
    )
    distances = (
        {}
        if field_of_view is None
        else {
            width_px: round(distance_m(width_px, found.width, field_of_view), 1)
            for width_px in sorted({smallest_px, *SIZES_PX})
        }
    )
    if json:
        shown = msgspec.to_builtins(found) | {"face_distance_m": {str(px): m for px, m in distances.items()}}
        sys.stdout.write(msgspec.json.encode(shown).decode() + "\n")
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
    if found.transport is not None:
        rows["transport"] = found.transport.upper()
    if found.certificate is not None:
        rows["certificate"] = f"{found.certificate}{'' if found.certificate == 'valid' else ' (verify: true)'}"
    if found.video_streams:
        rows["video streams"] = f"{found.video_streams[0]} (used), {', '.join(found.video_streams[1:])}"
    if found.search_ms is not None:
        rows["search of a picture"] = f"{found.search_ms:g} ms for faces of {smallest_px} px and more"
    for width_px, meters in distances.items():
        rows[f"faces {width_px} px wide"] = f"up to {meters:g} m{NEEDS.get(width_px, '')}"
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
