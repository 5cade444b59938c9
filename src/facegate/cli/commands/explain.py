"""``facegate explain``: a page that shows why each shot was sent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facegate.cli.commands.replay import ConfigOption, QualityOption, RecordingArgument, changed_gates, warn_if_cut
from facegate.cli.files import check_writable, write_whole


def explain(
    recording: RecordingArgument,
    to: Annotated[Path, typer.Option(help="HTML page to write.")] = Path("explain.html"),
    track: Annotated[
        str | None, typer.Option(metavar="CAMERA/NUMBER", help="Show only this track.", show_default=False)
    ] = None,
    config: ConfigOption = None,
    min_quality: QualityOption = None,
) -> None:
    """Write a page with the timeline of each track: quality over time, shots sent, reasons for the rest.

    \b
    facegate explain day.rec --to day.html
    facegate explain day.rec --track door/12
    """
    from facegate.cli.output.explain_page import collect, render
    from facegate.errors import ConfigError
    from facegate.pipeline.recording.record import Recording
    from facegate.pipeline.recording.replay import decide

    check_writable(to)
    seen = Recording(recording)
    changed = changed_gates(seen, config, min_quality)
    used = changed or seen.config()
    histories = collect(list(decide(seen, changed)))
    warn_if_cut(seen)
    if track is not None:
        known = [f"{history.camera}/{history.track_id}" for history in histories]
        if track not in known:
            raise ConfigError(f"--track {track} is not in {recording}; it has {', '.join(known[:8])}")
        histories = [history for history in histories if f"{history.camera}/{history.track_id}" == track]
    named = {camera.name for camera in used.cameras}
    marks = {
        camera: (used.gate_for(camera) if camera in named else used.gate).min_quality
        for camera in seen.header.gates
    }
    page = render(f"Run {seen.header.run_id}", seen.header.quality_info, marks, histories)
    write_whole(to, page.encode())
    typer.echo(str(to))
