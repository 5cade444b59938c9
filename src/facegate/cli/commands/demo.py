"""``facegate demo``: camera, gate and worker on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facegate.cli.exit_codes import ExitCode


def demo(
    save: Annotated[
        Path | None,
        typer.Option(help="Write best shots and a contact sheet to this folder.", show_default=False),
    ] = None,
    embedder: Annotated[str, typer.Option(help="Recognizer, as for 'facegate recognize'.")] = "auto",
) -> None:
    """Run a camera, a gate and a worker on this machine; downloads nothing.

    \b
    facegate demo
    facegate demo --save demo-out
    """
    from facegate.demo.run import run_demo

    verdict = run_demo(save, embedder)
    raise typer.Exit(ExitCode.DONE if verdict.good else ExitCode.REFUSED)
