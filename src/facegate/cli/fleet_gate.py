"""``facegate run --fleet``: a node whose cameras are assigned by a fleet."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from facegate.cli.files import check_writable, write_whole
from facegate.cli.signals import Interrupt
from facegate.errors import ConfigError

if TYPE_CHECKING:
    from facegate.pipeline.config import RunConfig


def watch_for_fleet(
    fleet: str,
    *,
    allow_insecure: bool,
    gate: str | None,
    tags: tuple[str, ...],
    max_cameras: int,
    capacity: float | None,
    folder: Path | None,
    metrics: str | None,
    report: Path | None,
    override: Callable[[RunConfig], RunConfig],
) -> None:
    """Run the cameras that the fleet assigns until a signal arrives; the options of ``facegate run``.

    Raises:
        FleetError: the fleet's URL is invalid, or its server cannot be used.
    """
    from facegate.cli.output.tables import show_summary
    from facegate.cpu import share_cores
    from facegate.fleet.bucket import parse
    from facegate.fleet.node import FleetNode, NodeIdentity, own_folder
    from facegate.paths import data_folder
    from facegate.pipeline.observability.metrics import Monitor
    from facegate.pipeline.observability.report import to_json
    from facegate.pipeline.runner import Runner
    from facegate.pipeline.runtime.outputs import make_sink

    address = parse(fleet, allow_insecure=allow_insecure)
    host = re.sub(r"[^\w.-]", "_", socket.gethostname())[:64] or "host"
    name = gate or host
    if not re.fullmatch(r"[\w.-]{1,64}", name):
        raise ConfigError(f"--gate {name!r} is not a valid name: use up to 64 letters, digits, '_', '.' and '-'")
    check_writable(report)
    share_cores()

    def make_runner(config: RunConfig) -> Runner:
        return Runner(config, lambda: make_sink(config.delivery), stays=True)

    node = FleetNode(
        address,
        NodeIdentity(gate=name, host=host, tags=tags, max_cameras=max_cameras, capacity=capacity),
        own_folder(folder or data_folder() / "gates" / name),
        override,
        make_runner,
    )
    interrupted = Interrupt(node.stop)
    with ExitStack() as stack:
        if metrics:
            stack.enter_context(Monitor(metrics, node.report, node.timings, node.fleet_health))
        result = node.run()
    if result is not None:
        if report is not None:
            write_whole(report, to_json(result))
        show_summary(result)
    raise typer.Exit(interrupted.exit_code)
