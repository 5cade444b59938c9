"""``facegate calibrate-exit``: where crops may leave the network early, for one model and one gate."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from facegate.cli.files import check_writable, write_whole
from facegate.cli.options import (
    CacheOption,
    DetectorKind,
    DetectorOption,
    DetectorPathOption,
    ModelCardOption,
    WeightsOption,
)


def calibrate_exit(
    dataset: Annotated[
        Path, typer.Argument(help="Pictures such as your cameras bring: a folder or zip with sub-folders.")
    ],
    min_quality: Annotated[int, typer.Option(min=1, max=100, help="The gate's min_quality.")],
    to: Annotated[Path | None, typer.Option(help="Write the table here.", show_default=False)] = None,
    bound: Annotated[float, typer.Option(min=0.0001, max=0.2, help="Share that may be dropped wrongly.")] = 0.01,
    degraded: Annotated[
        int | None, typer.Option(help="Degrade half of the pictures with this seed.", show_default=False)
    ] = None,
    weights: WeightsOption = None,
    model_card: ModelCardOption = None,
    cache: CacheOption = None,
    detector: DetectorOption = DetectorKind.AUTO,
    detector_path: DetectorPathOption = None,
) -> None:
    """Find after which block, and below which score, a crop may leave the network early.

    Fits on one half of the pictures and reports on the other. Use the table as 'exits' in the configuration.

    \b
    facegate calibrate-exit crops/ --min-quality 30 --to exits.json
    """
    from rich.console import Console
    from rich.table import Table

    from facegate.cli.output.progress import counting
    from facegate.detectors.base import load_detector
    from facegate.evaluation.datasets import load_set
    from facegate.evaluation.degrade import degrade_half
    from facegate.scoring.choice import cache_folder
    from facegate.scoring.early_exit import calibrate
    from facegate.scoring.engine import load_scorer

    check_writable(to)
    scorer = load_scorer(weights, card=model_card, device="cpu", backend="torch")
    with counting("pictures") as progress:
        faces = load_set(dataset, load_detector(detector, detector_path), cache or cache_folder(), progress)
    crops = faces.crops if degraded is None else degrade_half(faces.crops, degraded)
    with counting("crops") as progress:
        found = calibrate(scorer, crops, min_quality, bound, progress)
    if to is not None:
        write_whole(to, msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    title = (
        f"{found.model}, {found.algorithm}, gate at {found.min_quality}: {100 * found.below_gate:.1f} % of "
        f"{found.crops - found.crops // 2} held-out crops are below it"
    )
    table = Table(
        "after block", "threshold", "leave", "wrongly", "blocks saved", "", title=title, title_justify="left"
    )
    for row in found.rows:
        shares = (f"{100 * share:.2f} %" for share in (row.left, row.wrong, row.saved))
        table.add_row(str(row.block), f"{row.threshold:.5f}", *shares, "best" if row.block == found.best else "")
    Console(highlight=False).print(table)
    if found.best is None:
        sys.stderr.write("no exit saves 2 % of the blocks within the bound: run this model to its end\n")
