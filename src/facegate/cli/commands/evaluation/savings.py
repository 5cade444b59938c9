"""``facegate savings``: recognition calls saved on footage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from facegate.cli.files import check_writable, draw_whole, write_whole
from facegate.cli.options import (
    DetectorKind,
    DetectorOption,
    DetectorPathOption,
    EmbedderOption,
    FootageConfigOption,
    FpirOption,
    JsonFileOption,
    ModelCardOption,
    PlotOption,
    WeightsOption,
)


def savings(
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCES", help="Video files of cameras.", show_default=False)
    ],
    gallery: Annotated[
        Path, typer.Option(help="Gallery file, or folder with one subfolder of pictures per person.")
    ],
    labels: Annotated[
        Path | None, typer.Option(help="YAML file of labeled visits: who is in view, and when.", show_default=False)
    ] = None,
    config: FootageConfigOption = None,
    embedder: EmbedderOption = "auto",
    threshold: Annotated[
        float | None,
        typer.Option(
            min=-1, max=1, help="Fixed similarity threshold; disables the FPIR guarantee.", show_default=False
        ),
    ] = None,
    fpir: FpirOption = 1e-3,
    json_file: JsonFileOption = None,
    picture: PlotOption = None,
    weights: WeightsOption = None,
    model_card: ModelCardOption = None,
    detector: DetectorOption = DetectorKind.AUTO,
    detector_path: DetectorPathOption = None,
) -> None:
    """Compare footage without a gate, with a naive gate and with this gate: calls, time, bytes, names.

    \b
    facegate savings monday.mp4 --gallery people/
    facegate savings *.avi --gallery people/ --labels visits.yaml --json savings.json --plot savings.png
    """
    from facegate.cli.evaluation_runs import footage_config, load_known, observed
    from facegate.cli.output.tables import show_savings
    from facegate.evaluation.savings import compare, load_labels, plot
    from facegate.pipeline.config import load_config

    for path in (json_file, picture):
        check_writable(path)
    truth = load_labels(labels) if labels is not None else None
    base = load_config(config) if config is not None else None
    known = load_known(gallery, embedder, detector, detector_path, threshold=threshold, fpir=fpir)
    configs = [
        footage_config(
            source, base, detector=detector, detector_path=detector_path, weights=weights, model_card=model_card
        )
        for source in sources
    ]
    observers = []
    for observer, runner in observed(list(zip([source.name for source in sources], configs, strict=True)), known):
        observer.decide(runner.gates_for_replay())
        observers.append(observer)
    found = compare(observers, truth, known.embedder.name, known.words)
    if json_file is not None:
        write_whole(json_file, msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    if picture is not None:
        draw_whole(picture, lambda part: plot(found, part))
    show_savings(found)
