"""``facegate devices``: what networks can run on here, and what each stage of a run would use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facegate.cli.output.lines import print_json


def devices(
    config: Annotated[
        Path | None,
        typer.Argument(metavar="CONFIG", help="Configuration whose devices are checked.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """List the devices of this host, and what each stage of a run would use, and why.

    \b
    facegate devices
    facegate devices facegate.yaml
    facegate devices --json | jq '.stages[] | {stage, device}'
    """
    from rich.console import Console
    from rich.table import Table

    from facegate.pipeline.config import DetectorConfig, ScorerConfig, load_config
    from facegate.pipeline.runtime.stage_devices import host_devices, stage_devices

    if config is None:
        stages = stage_devices(DetectorConfig(), ScorerConfig(), "auto")
    else:
        given = load_config(config)
        stages = stage_devices(given.detector, given.scorer, given.device)
    here = host_devices()
    if json:
        print_json({"devices": here, "stages": stages})
        return
    screen = Console(highlight=False)
    found = Table("device", "description")
    for each in here:
        found.add_row(each.name, each.description)
    screen.print(found)
    used = Table("stage", "device", "runtime", "why")
    for stage in stages:
        used.add_row(stage.stage, stage.device, stage.runtime, stage.why)
    screen.print(used)
