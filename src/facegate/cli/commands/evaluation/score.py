"""``facegate score``: quality of the faces in pictures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from facegate.cli.exit_codes import ExitCode
from facegate.cli.options import DetectorKind, DetectorOption, DetectorPathOption, ModelCardOption, WeightsOption


def score(
    images: Annotated[
        list[Path], typer.Argument(metavar="PICTURES", help="Pictures to score (JPEG, PNG).", show_default=False)
    ],
    embedding: Annotated[bool, typer.Option("--embedding", help="Add the embedding of each face.")] = False,
    reasons: Annotated[
        bool,
        typer.Option(
            "--reasons", help="Add size, sharpness, light and pose, 0 to 100 each, and advice to improve quality."
        ),
    ] = False,
    heatmap: Annotated[
        Path | None,
        typer.Option(help="Write a heat map of patch qualities per face to this folder.", show_default=False),
    ] = None,
    detector: DetectorOption = DetectorKind.AUTO,
    detector_path: DetectorPathOption = None,
    weights: WeightsOption = None,
    model_card: ModelCardOption = None,
) -> None:
    """Score the quality of every face in pictures; prints one JSON line per face.

    \b
    facegate score portrait.jpg --reasons
    facegate score *.jpg --reasons | jq -r '.file + ": " + .advice.text'
    facegate score *.jpg --heatmap maps/ | jq .quality
    """
    from facegate.cli.output.face_lines import prepare_heatmaps, score_images
    from facegate.detectors.base import load_detector
    from facegate.scoring.engine import load_scorer

    if heatmap is not None:
        prepare_heatmaps(heatmap)

    failed = score_images(
        images,
        sys.stdout,
        load_detector(detector, detector_path),
        load_scorer(weights, card=model_card),
        embedding,
        heatmap,
        reasons,
    )
    raise typer.Exit(ExitCode.REFUSED if failed else ExitCode.DONE)
