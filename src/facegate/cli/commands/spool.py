"""``facegate spool``: shots on disk that have not been delivered."""

from __future__ import annotations

import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from facegate.cli.exit_codes import ExitCode
from facegate.cli.options import SettingDefault
from facegate.cli.output.lines import print_json
from facegate.pipeline.plurals import count

app = typer.Typer(
    no_args_is_help=True, help="Manage undelivered shots on disk: status, retry, export, purge, dead."
)

SpoolArgument = Annotated[Path, typer.Argument(metavar="SPOOL", help="Spool file of 'facegate run --spool'.")]


@app.command()
def status(spool: SpoolArgument) -> None:
    """Print the number, size and age of the shots in a spool as JSON.

    \b
    facegate spool status door.db
    """
    with _opened(spool) as opened:
        found = opened.status()
    print_json(found)


@app.command()
def retry(
    spool: Annotated[
        Path,
        typer.Argument(
            metavar="SPOOL", help="Spool file of 'facegate run --spool', or CONFIG.yaml for all its outputs."
        ),
    ],
    bind: Annotated[
        str | None,
        typer.Option(
            metavar="ENDPOINT",
            help="ZeroMQ endpoint to bind for workers.",
            show_default=SettingDefault("delivery.bind"),
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0, help="Seconds to wait for delivery.")] = 60.0,
) -> None:
    """Deliver the shots in a spool without running a camera.

    \b
    facegate spool retry door.db --bind tcp://127.0.0.1:5570
    facegate spool retry site.yaml --seconds 600
    """
    from facegate.pipeline.config import DeliveryConfig, SpoolConfig, load_config
    from facegate.pipeline.runtime.outputs import make_sink

    if spool.suffix in (".yaml", ".yml"):
        delivery = load_config(spool).delivery
    else:
        _existing(spool).close()
        delivery = DeliveryConfig(spool=SpoolConfig(path=spool))
    if bind is not None:
        delivery = delivery.model_copy(update={"bind": bind})
    report = make_sink(delivery).close(seconds)
    destinations = {"workers": report} if delivery.spool is not None else {}
    for name, found in (destinations | report.outputs).items():
        sys.stdout.write(f"{name}: {found.acknowledged} delivered, {found.undelivered} pending\n")
    pending = report.undelivered + sum(other.undelivered for other in report.outputs.values())
    raise typer.Exit(ExitCode.REFUSED if pending else ExitCode.DONE)


@app.command()
def export(
    spool: SpoolArgument,
    to: Annotated[Path, typer.Argument(metavar="FOLDER", help="New folder for the crops and index.jsonl.")],
) -> None:
    """Export the pending crops as JPEG, with an index of their headers.

    \b
    facegate spool export door.db waiting/
    """
    from facegate.errors import ConfigError
    from facegate.sinks.files import INDEX, CropFolder

    if (to / INDEX).exists():
        raise ConfigError(f"{to} already contains crops; give a new folder")
    with _opened(spool) as opened, closing(CropFolder(to)) as folder:
        row = written = 0
        while found := opened.after(row, 100):
            folder.deliver(found)
            row, written = found[-1].row, written + len(found)
    sys.stdout.write(f"{count(written, 'crop')} written to {to}\n")


@app.command()
def purge(
    spool: SpoolArgument,
    camera: Annotated[str | None, typer.Option(help="Erase only shots of this camera.", show_default=False)] = None,
    track: Annotated[
        int | None, typer.Option(help="Erase only shots of this track of --camera.", show_default=False)
    ] = None,
    older_than_h: Annotated[
        float | None, typer.Option(min=0, help="Erase only shots older than this many hours.", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Erase all pending shots.")] = False,
) -> None:
    """Erase pending shots; their pixels are overwritten in the file.

    \b
    facegate spool purge door.db --camera door --track 12
    facegate spool purge door.db --older-than-h 24
    """
    from time import time

    from facegate.errors import ConfigError

    if camera is None and track is None and older_than_h is None and not everything:
        raise ConfigError("nothing selected: give --camera, --track, --older-than-h, or --all")
    if track is not None and camera is None:
        raise ConfigError("--track needs --camera: track numbers are per camera")
    before = None if older_than_h is None else time() - 3600 * older_than_h
    with _opened(spool) as opened:
        erased = opened.erase(camera=camera, track_id=track, before=before)
    sys.stdout.write(f"{count(len(erased), 'shot')} erased\n")


@app.command()
def dead(
    spool: SpoolArgument,
    to: Annotated[
        Path | None, typer.Option(help="Export their crops and index.jsonl to this folder.", show_default=False)
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Requeue them for the next run or 'spool retry'.")] = False,
) -> None:
    """List dead letters as JSON lines: shots that no worker acknowledged in all attempts.

    \b
    facegate spool dead door.db --to dead/
    facegate spool dead door.db --retry
    """
    from facegate.errors import ConfigError
    from facegate.sinks.files import INDEX, CropFolder
    from facegate.sinks.wire import decode_header

    if to is not None and (to / INDEX).exists():
        raise ConfigError(f"{to} already contains crops; give a new folder")
    with _opened(spool) as opened, ExitStack() as stack:
        folder = None if to is None else stack.enter_context(closing(CropFolder(to)))
        row = 0
        while found := opened.after(row, 100, dead=True):
            row = found[-1].row
            for entry in found:
                sys.stdout.buffer.write(msgspec.json.encode(decode_header(entry.header)) + b"\n")
            if folder is not None:
                folder.deliver(found)
        sys.stdout.buffer.flush()
        if retry:
            sys.stderr.write(f"{count(opened.requeue_dead(), 'shot')} requeued\n")


def _existing(path: Path) -> Any:
    from facegate.errors import ConfigError
    from facegate.sinks.spool import Spool

    if not path.is_file():
        raise ConfigError(f"no spool at {path}; 'facegate run --spool {path}' creates it")
    return Spool(path)


def _opened(path: Path) -> Any:
    return closing(_existing(path))
