"""``facegate savings``: the same footage three ways."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from facegate.cli.files import check_writable, write_whole
from facegate.cli.options import DetectorKind, DetectorOption, DetectorPathOption, ModelCardOption, WeightsOption

if TYPE_CHECKING:
    from facegate.pipeline.watch import ShotQueue


def savings(
    sources: Annotated[list[Path], typer.Argument(help="Video files.", show_default=False)],
    gallery: Annotated[Path, typer.Option(help="Folder with one sub-folder of pictures per person.")],
    labels: Annotated[
        Path | None, typer.Option(help="YAML of visits: who is in view, when.", show_default=False)
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Configuration whose gate, tracker and scorer count.", show_default=False)
    ] = None,
    embedder: Annotated[str, typer.Option(help="As for 'facegate recognize'.")] = "auto",
    threshold: Annotated[
        float | None, typer.Option(min=-1, max=1, help="Fixed similarity that names.", show_default=False)
    ] = None,
    fpir: Annotated[
        float, typer.Option(min=1e-9, max=0.5, help="Share of unknown visits that may get a name.")
    ] = 0.001,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write everything here.", show_default=False)
    ] = None,
    picture: Annotated[Path | None, typer.Option("--plot", help="Draw it here.", show_default=False)] = None,
    weights: WeightsOption = None,
    model_card: ModelCardOption = None,
    detector: DetectorOption = DetectorKind.AUTO,
    detector_path: DetectorPathOption = None,
) -> None:
    """Run footage with every face recognised, with a naive gate and with ours: calls, time, bytes, who was named.

    \b
    facegate savings monday.mp4 --gallery people/
    facegate savings *.avi --gallery people/ --labels visits.yaml --json savings.json --plot savings.png
    """
    from facegate.cli.output.progress import counting
    from facegate.cli.output.tables import show_savings
    from facegate.cli.recognising import load_recognition
    from facegate.evaluation.savings import Observer, compare, load_labels, plot
    from facegate.pipeline.config import config_for, load_config
    from facegate.pipeline.flow.cores import share_cores
    from facegate.pipeline.runner import Runner
    from facegate.pipeline.watch import ShotQueue
    from facegate.recognition.matching.keeper import GalleryKeeper
    from facegate.scoring.choice import cache_folder

    for path in (json_file, picture):
        check_writable(path)
    truth = load_labels(labels) if labels is not None else None
    base = load_config(config) if config is not None else None
    parts = load_recognition(embedder, None, detector, detector_path, threshold=threshold, fpir=fpir)
    model = parts.embedder
    with (
        counting("enrolling") as progress,
        GalleryKeeper(gallery, model, parts.rule, parts.looker, cache_folder(), progress) as people,
    ):
        known = people.gallery
    share_cores()
    observers = []
    for source in sources:
        own = config_for(source)
        if base is not None:
            own = base.model_copy(update={"cameras": own.cameras})
        own = own.model_copy(
            update={
                "detector": own.detector.model_copy(update=_given(kind=detector.value, path=detector_path)),
                "scorer": own.scorer.model_copy(update=_given(weights=weights, card=model_card)),
            }
        )
        observer = Observer(source.name, model, known, parts.rule)
        queue = ShotQueue()
        with Runner(
            own, partial(_same, queue), on_scored=observer.scored, on_finished=queue.end
        ) as runner:  # fmt: skip
            for _ in queue:
                pass
            runner.close(linger_s=0)
        observer.decide(runner.deciders())
        sys.stderr.write(f"{source.name}: {len(observer.faces)} faces, {len(observer.sent)} forwarded\n")
        observers.append(observer)
    found = compare(observers, truth, model.name, parts.rule.words(len(known.names)))
    if json_file is not None:
        write_whole(json_file, msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    if picture is not None:
        plot(found, picture)
    show_savings(found)


def _same(queue: ShotQueue) -> ShotQueue:
    return queue


def _given(**values: object) -> dict[str, object]:
    return {key: value for key, value in values.items() if value is not None}
