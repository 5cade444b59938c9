"""``facegate score``: how good are the faces in these pictures?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from facegate.cli.options import DetectorKind, DetectorOption, DetectorPathOption, ModelCardOption, WeightsOption


def score(
    images: Annotated[list[Path], typer.Argument(help="Pictures (JPEG, PNG).", show_default=False)],
    embedding: Annotated[bool, typer.Option("--embedding", help="Add each face's embedding.")] = False,
    reasons: Annotated[
        bool,
        typer.Option(
            "--reasons", help="Add why: size, sharpness, light and pose, 0 to 100 each, and what would help."
        ),
    ] = False,
    heatmap: Annotated[
        Path | None,
        typer.Option(help="Write a picture per face with its patch qualities here.", show_default=False),
    ] = None,
    detector: DetectorOption = DetectorKind.AUTO,
    detector_path: DetectorPathOption = None,
    weights: WeightsOption = None,
    model_card: ModelCardOption = None,
) -> None:
    """Score the quality of every face in pictures: one JSON line per face.

    \b
    facegate score portrait.jpg --reasons
    facegate score *.jpg --reasons | jq -r '.file + ": " + .advice.say'
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
    raise typer.Exit(1 if failed else 0)
