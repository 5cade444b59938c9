"""``facegate evaluate``: quality methods and recognizers on a data set."""

from __future__ import annotations

from functools import cache as cached
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from facegate.cli.files import check_writable, draw_whole, write_whole
from facegate.cli.options import (
    CacheOption,
    DetectorKind,
    DetectorOption,
    DetectorPathOption,
    JsonFileOption,
    ModelCardOption,
    PlotOption,
    WeightsOption,
)


def evaluate(
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="Folder or ZIP file with one folder of pictures per person.")
    ],
    recognizer: Annotated[
        list[str],
        typer.Option(help="Recognizer to evaluate with, as --embedder of 'facegate recognize'. Repeatable."),
    ],
    quality: Annotated[
        str,
        typer.Option(
            help="Quality methods, comma separated: random, laplacian, width, confidence, norm:MODEL.onnx; of the "
            "model: default, vitnt, attention, norm, estimate, variants such as vitnt/uniform/0-5/alpha4/cosine. "
            "In a clone of the repository also: stochastic, grafiqs, sdd:MODEL.onnx, lightqnet:MODEL.pb, and "
            "attention@2 (after block 2), @linear or @monotone (over depth)."
        ),
    ] = "random,laplacian,default",
    pairs: Annotated[Path | None, typer.Option(help="Pairs file in LFW format (TSV).", show_default=False)] = None,
    degraded: Annotated[
        int | None, typer.Option(help="Degrade half of the pictures, selected by this seed.", show_default=False)
    ] = None,
    fmr: Annotated[float, typer.Option(min=0, max=1, help="False match rate that sets the threshold.")] = 1e-3,
    limit: Annotated[
        float, typer.Option(min=0.01, max=1, help="Upper discard fraction of the averaged FNMR.")
    ] = 0.3,
    open_set: Annotated[
        bool, typer.Option("--open-set", help="Evaluate recognizers in open-set mode (FPIR, FNIR).")
    ] = False,
    sizes: Annotated[str, typer.Option(help="Gallery sizes for --open-set, comma separated.")] = "50,500,1500",
    same: Annotated[
        Path | None,
        typer.Option(help="YAML file for --open-set that maps folders of one person (a: b).", show_default=False),
    ] = None,
    tail: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the impostor model of --open-set, which 'recognize --fpir' uses.",
            show_default=False,
        ),
    ] = None,
    crfiqa: Annotated[
        bool, typer.Option("--crfiqa", help="Recompute the threshold at every discard fraction.")
    ] = False,
    weights: WeightsOption = None,
    model_card: ModelCardOption = None,
    json_file: JsonFileOption = None,
    picture: PlotOption = None,
    cache: CacheOption = None,
    detector: DetectorOption = DetectorKind.AUTO,
    detector_path: DetectorPathOption = None,
) -> None:
    """Evaluate quality methods: error versus discard (FNMR at a fixed FMR).

    \b
    facegate evaluate lfw/ --recognizer arcface.onnx --quality random,laplacian,vitnt,norm --plot curves.png
    facegate evaluate lfw.zip --recognizer a.onnx --recognizer b.onnx --degraded 0 --json result.json
    facegate evaluate people/ --open-set --recognizer arcface.onnx --tail .
    """
    if open_set:
        from facegate.cli.open_set import run_open_set

        run_open_set(
            dataset, recognizer, sizes, same, tail, json_file, picture, cache, detector.value, detector_path
        )
        return
    from facegate.cli.output.progress import counting
    from facegate.cli.output.tables import show_evaluation
    from facegate.detectors.base import load_detector
    from facegate.evaluation.datasets import load_pairs, load_set
    from facegate.evaluation.degrade import degrade_half
    from facegate.evaluation.evaluate import (
        Evaluation,
        Results,
        Settings,
        evaluate_methods,
        make_method,
        plot,
        short_name,
    )
    from facegate.recognition.embedders import load_embedder
    from facegate.scoring.backend_selection import cache_folder
    from facegate.scoring.engine import Scorer, load_scorer
    from facegate.scoring.families import Quality

    for path in (json_file, picture):
        check_writable(path)
    protocol = load_pairs(pairs) if pairs else None

    @cached
    def scorer(number: Quality | None = None, **settings: Any) -> Scorer:
        return load_scorer(weights, card=model_card, quality=number, **settings)

    methods = {short_name(spec): make_method(spec, scorer) for spec in map(str.strip, quality.split(",")) if spec}
    embedders = [load_embedder(name) for name in recognizer]
    settings = Settings(fmr=fmr, limit=limit, mode="crfiqa" if crfiqa else "schlett")
    folder = cache or cache_folder()
    with counting("pictures") as progress:
        faces = load_set(dataset, load_detector(detector, detector_path), folder, progress)
    if degraded is not None:
        faces = faces.with_crops(degrade_half(faces.crops, degraded))
    with counting("crops") as progress:
        results = Results(folder, faces, lambda what, done, total: progress(done, total))
        scores = {spec: results.quality(method) for spec, method in methods.items()}
        found = tuple(evaluate_methods(each, scores, results, faces, settings, protocol) for each in embedders)
    evaluation = Evaluation(
        dataset=str(dataset),
        pictures=len(faces.files),
        people=len(set(faces.names)),
        degraded_seed=degraded,
        fmr=fmr,
        limit=limit,
        mode=settings.mode,
        recognizers=found,
    )
    if json_file is not None:
        write_whole(json_file, msgspec.json.format(msgspec.json.encode(evaluation), indent=2) + b"\n")
    if picture is not None:
        draw_whole(picture, lambda part: plot(evaluation, part))
    show_evaluation(evaluation)
