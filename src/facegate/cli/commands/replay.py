"""``facegate replay``: decides a recording again, with the recorded gate or another."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from facegate.cli.files import check_writable, write_whole
from facegate.pipeline.plurals import count

if TYPE_CHECKING:
    from facegate.pipeline.recording.record import Recording

RecordingArgument = Annotated[
    Path,
    typer.Argument(
        metavar="RECORDING", help="File of 'facegate run --record', or folder of a run in DATA/recordings."
    ),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Use the gates of this configuration instead.", show_default=False)
]
QualityOption = Annotated[
    int | None,
    typer.Option(min=0, max=100, help="Use this quality threshold instead, 0 to 100.", show_default=False),
]


def replay(
    recording: RecordingArgument,
    config: ConfigOption = None,
    min_quality: QualityOption = None,
    log: Annotated[
        Path | None, typer.Option(help="Write every decision to this file as JSON lines.", show_default=False)
    ] = None,
) -> None:
    """Replay a recording with another gate and compare the outcomes.

    \b
    facegate replay day.rec --min-quality 50
    facegate replay day.rec --config configs/corridor.yaml --log decisions.jsonl
    facegate replay ~/.local/share/facegate/recordings/01J5… --min-quality 50
    """
    from rich.console import Console
    from rich.table import Table

    from facegate.pipeline.recording.record import Recording
    from facegate.pipeline.recording.replay import decide, line, outcomes

    check_writable(log)
    seen = Recording(recording)
    changed = changed_gates(seen, config, min_quality)
    before = [line(at, decision) for at, decision in decide(seen)]
    warn_if_cut(seen)
    after = before if changed is None else [line(at, decision) for at, decision in decide(seen, changed)]
    if log is not None:
        write_whole(log, b"".join(msgspec.json.encode(item) + b"\n" for item in after))
    recorded, replayed = outcomes(before), outcomes(after)
    table = Table("outcome", title=f"{recording}: {count(len(before), 'face')}", title_justify="left")
    table.add_column("recorded gate", justify="right")
    if changed is not None:
        table.add_column("this gate", justify="right")
        table.add_column("difference", justify="right")
    for name in sorted(recorded | replayed, key=lambda item: -(recorded[item] + replayed[item])):
        cells = [str(recorded[name])]
        if changed is not None:
            cells += [str(replayed[name]), f"{replayed[name] - recorded[name]:+d}"]
        table.add_row(name.replace("_", " "), *cells)
    console = Console(highlight=False)
    console.print(table)
    if changed is not None:
        other = {item.face_id: item.outcome for item in after}
        moved = sum(other.get(item.face_id) != item.outcome for item in before)
        tracks = [
            {(item.camera, item.track_id) for item in lines if item.shot_id and item.reason != "shadow"}
            for lines in (before, after)
        ]
        console.print(
            f"faces with another outcome: {moved}; tracks without shots now: {len(tracks[0] - tracks[1])}, "
            f"with shots only now: {len(tracks[1] - tracks[0])}"
        )


def warn_if_cut(seen: Recording) -> None:
    """Say on stderr that a recording that was read is incomplete."""
    if seen.cut is not None:
        sys.stderr.write(
            f"facegate: the recording is incomplete: {seen.cut}; later faces are missing here. Its run goes on "
            "or was killed, or the file was not copied completely\n"
        )


def changed_gates(seen: Any, config: Path | None, min_quality: int | None) -> Any:
    """Configuration with the requested gates; ``None`` for the recorded ones."""
    from facegate.pipeline.config import build_config, load_config

    if config is None and min_quality is None:
        return None
    base = load_config(config) if config is not None else seen.config()
    if min_quality is None:
        return base
    data = base.model_dump(mode="json")
    data["gate"]["min_quality"] = min_quality
    for camera in data["cameras"]:
        camera["gate"]["min_quality"] = min_quality
    return build_config(data, "command line")
