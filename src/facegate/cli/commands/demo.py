"""``facegate demo``: the whole thing on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    save: Annotated[
        Path | None,
        typer.Option(help="Keep best shots and a contact sheet in this folder.", show_default=False),
    ] = None,
    embedder: Annotated[str, typer.Option(help="As for 'facegate recognize'.")] = "auto",
) -> None:
    """Show the whole thing on this machine, with no download: camera, gate and worker.

    \b
    facegate demo
    facegate demo --save demo-out
    """
    from facegate.demo.run import run_demo

    verdict = run_demo(save, embedder)
    raise typer.Exit(0 if verdict.good else 1)
