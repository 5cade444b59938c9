"""``facegate recognizers``: checks of recognition networks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from facegate.cli.exit_codes import ExitCode
from facegate.cli.options import CardOption

app = typer.Typer(no_args_is_help=True, help="Check recognizers, and suggest cards for unknown ones.")


@app.command()
def check(
    recognizer: Annotated[
        str, typer.Argument(metavar="FILE", help="ONNX or OpenVINO IR file, or another value of --embedder.")
    ],
    card: CardOption = None,
) -> None:
    """Test a recognizer on generated faces; suggest a card for an ONNX or OpenVINO IR file without one.

    Exits with 1 if it gets the wrong input, such as exchanged color channels.

    \b
    facegate recognizers check arcface.onnx
    facegate recognizers check arcface.onnx --card arcface.yaml
    """
    from rich.console import Console
    from rich.table import Table

    from facegate.recognition.embedders import OnnxEmbedder, find_card, load_embedder
    from facegate.recognition.self_test.checks import find_problem, trials
    from facegate.recognition.self_test.suggestion import as_yaml, suggest

    path = Path(recognizer)
    if path.suffix in (".onnx", ".xml") and find_card(path, card) is None:
        suggested, found = suggest(path)
        best = suggested.candidate.card
        sys.stdout.write(f"# suggested card: {path.with_suffix('.yaml').name}; measure its threshold with\n")
        sys.stdout.write(f"# 'facegate evaluate FOLDER --recognizer {path.name} --fmr 1e-4'\n{as_yaml(best)}")
        problem = None
    else:
        embedder = load_embedder(recognizer, card)
        problem = find_problem(embedder)
        found = trials(embedder) if isinstance(embedder, OnnxEmbedder) else []
        sys.stdout.write(f"{embedder.name}: {problem or 'passed'}\n")
    if found:
        table = Table("color", "mean", "std", "alignment", "separation", "same person", "other people")
        for trial in sorted(found, key=lambda trial: -trial.relations.separation)[:8]:
            own, shown = trial.candidate.card, trial.relations
            alignment = f"{own.side} px, {own.landmarks[0]}" if own.landmarks else f"columns {own.columns}"
            table.add_row(
                *(own.color, f"{own.mean:g}", f"{own.std:g}", alignment),
                *(f"{shown.separation:.2f}", f"{shown.mated:.3f}", f"{shown.non_mated:.3f}"),
            )
        Console(stderr=True, highlight=False).print(table)
    raise typer.Exit(ExitCode.REFUSED if problem else ExitCode.DONE)
