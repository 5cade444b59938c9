"""``facegate spool``: what waits on disk for a worker, and how to look at it or be rid of it."""

from __future__ import annotations

import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

app = typer.Typer(no_args_is_help=True, help="Shots that wait on disk: status, retry, export, purge, dead.")

SpoolArgument = Annotated[Path, typer.Argument(help="The file of 'facegate run ... --spool FILE'.")]


@app.command()
def status(spool: SpoolArgument) -> None:
    """Print what a spool holds, as JSON.

    \b
    facegate spool status door.db
    """
    with _opened(spool) as opened:
        found = opened.status()
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n")


@app.command()
def retry(
    spool: Annotated[
        Path, typer.Argument(help="The file of 'facegate run ... --spool FILE', or a CONFIG.yaml for all places.")
    ],
    bind: Annotated[
        str | None, typer.Option(help="Endpoint for workers.", show_default="tcp://127.0.0.1:5570")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0, help="Give up after this long.")] = 60.0,
) -> None:
    """Deliver what spools hold without watching any camera.

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
    places = {"workers": report} if delivery.spool is not None else {}
    for name, found in (places | report.outputs).items():
        sys.stdout.write(f"{name}: {found.acknowledged} delivered, {found.undelivered} still wait\n")
    waiting = report.undelivered + sum(other.undelivered for other in report.outputs.values())
    raise typer.Exit(1 if waiting else 0)


@app.command()
def export(
    spool: SpoolArgument,
    to: Annotated[Path, typer.Argument(help="Folder for the crops and index.jsonl.")],
) -> None:
    """Write every waiting crop as a JPEG, with an index of their headers.

    \b
    facegate spool export door.db waiting/
    """
    from facegate.errors import ConfigError
    from facegate.sinks.files import INDEX, CropFolder

    if (to / INDEX).exists():
        raise ConfigError(f"{to} holds crops already: give a new folder")
    with _opened(spool) as opened, closing(CropFolder(to)) as folder:
        row = written = 0
        while found := opened.after(row, 100):
            folder.deliver(found)
            row, written = found[-1].row, written + len(found)
    sys.stdout.write(f"{written} crops in {to}\n")


@app.command()
def purge(
    spool: SpoolArgument,
    camera: Annotated[str | None, typer.Option(help="Only of this camera.", show_default=False)] = None,
    track: Annotated[int | None, typer.Option(help="Only of this track.", show_default=False)] = None,
    older_than_h: Annotated[
        float | None, typer.Option(min=0, help="Only decided longer ago than this.", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything.")] = False,
) -> None:
    """Erase waiting shots: their pixels are overwritten in the file.

    \b
    facegate spool purge door.db --camera door --track 12
    facegate spool purge door.db --older-than-h 24
    """
    from time import time

    from facegate.errors import ConfigError

    if camera is None and track is None and older_than_h is None and not everything:
        raise ConfigError("say what to erase: --camera, --track, --older-than-h, or --all")
    if track is not None and camera is None:
        raise ConfigError("track numbers are a camera's own: give --camera too")
    before = None if older_than_h is None else time() - 3600 * older_than_h
    with _opened(spool) as opened:
        erased = opened.erase(camera=camera, track_id=track, before=before)
    sys.stdout.write(f"{len(erased)} shots erased\n")


@app.command()
def dead(
    spool: SpoolArgument,
    to: Annotated[
        Path | None, typer.Option(help="Write their crops and index.jsonl into this folder.", show_default=False)
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Let the next run or 'spool retry' deliver them.")] = False,
) -> None:
    """List shots that were put aside because nobody who got them ever acknowledged them, one JSON line each.

    \b
    facegate spool dead door.db --to dead/
    facegate spool dead door.db --retry
    """
    from facegate.errors import ConfigError
    from facegate.sinks.files import INDEX, CropFolder
    from facegate.sinks.wire import decode_header

    if to is not None and (to / INDEX).exists():
        raise ConfigError(f"{to} holds crops already: give a new folder")
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
            sys.stderr.write(f"{opened.requeue_dead()} shots will be delivered again\n")


def _existing(path: Path) -> Any:
    from facegate.errors import ConfigError
    from facegate.sinks.spool import Spool

    if not path.is_file():
        raise ConfigError(f"no spool at {path}: it is made by 'facegate run ... --spool {path}'")
    return Spool(path)


def _opened(path: Path) -> Any:
    return closing(_existing(path))
