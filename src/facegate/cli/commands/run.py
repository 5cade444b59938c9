"""``facegate run``: from cameras to best shots."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facegate.cli.files import check_writable, write_whole
from facegate.cli.options import DetectorKind, DetectorPathOption, MetricsOption, ModelCardOption, WeightsOption
from facegate.cli.signals import Interrupt, end_at_once_while_loading

if TYPE_CHECKING:
    from facegate.pipeline.config import RunConfig
    from facegate.pipeline.gating.gate import Decision
    from facegate.pipeline.observability.report import RunReport


FOR_FLEETS = {
    "fleet", "gate", "tag", "max_cameras", "capacity", "cores", "data", "metrics", "report", "allow_insecure",
    "detector", "detector_path", "weights", "model_card",
}  # fmt: skip
"""Options that a gate of a fleet has for itself."""


def run(
    context: typer.Context,
    source: Annotated[
        str | None,
        typer.Argument(help="Video file, rtsp:// URL, webcam (0, /dev/video0) or CONFIG.yaml.", show_default=False),
    ] = None,
    bind: Annotated[
        str | None, typer.Option(help="ZeroMQ endpoint for workers.", show_default="tcp://127.0.0.1:5570")
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(
            help="Folder of 'facegate keys': encrypt, and let known workers in alone.", show_default=False
        ),
    ] = None,
    allow_insecure: Annotated[
        bool,
        typer.Option("--allow-insecure", help="Allow workers on other hosts without keys, on a network you trust."),
    ] = False,
    report: Annotated[Path | None, typer.Option(help="Write the run's report as JSON.", show_default=False)] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="Keep best shots and a contact sheet in this folder.", show_default=False),
    ] = None,
    spool: Annotated[
        Path | None,
        typer.Option(help="Keep shots in this file until workers have them, over restarts.", show_default=False),
    ] = None,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Play a file at its own speed, like a camera: the newest frame wins.")
    ] = False,
    max_fps: Annotated[
        float | None, typer.Option(min=0.01, help="Look at no more frames per second.", show_default=False)
    ] = None,
    no_reconnect: Annotated[
        bool, typer.Option("--no-reconnect", help="End when a live stream ends, instead of trying again for ever.")
    ] = False,
    metrics: MetricsOption = None,
    record: Annotated[
        Path | None,
        typer.Option(help="Record what the gate sees, for replay and explain (4 KB per face).", show_default=False),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Keep shots, tracks and what the gate sees in this folder, for 'facegate serve'.",
            show_default=False,
        ),
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(help="Answer who asks for state, pictures and reloads at ipc://FILE.", show_default=False),
    ] = None,
    fleet: Annotated[
        str | None,
        typer.Option(
            help="Take cameras from the fleet at nats://HOST:4222/NAME instead of a source.", show_default=False
        ),
    ] = None,
    gate: Annotated[
        str | None, typer.Option(help="Name of this gate in its fleet.", show_default="this host's name")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="What this gate has that cameras ask for ('tags'); again for more.")
    ] = None,
    max_cameras: Annotated[int, typer.Option(min=1, help="Take at most so many cameras of the fleet.")] = 64,
    capacity: Annotated[
        float | None,
        typer.Option(min=0.1, help="Looks per second that this gate can sustain.", show_default="measured"),
    ] = None,
    cores: Annotated[
        str | None, typer.Option(help="Run on these cores alone, such as 0-3.", show_default="all")
    ] = None,
    detector: Annotated[DetectorKind | None, typer.Option(help="Face detector.", show_default="auto")] = None,
    detector_path: DetectorPathOption = None,
    weights: WeightsOption = None,
    model_card: ModelCardOption = None,
    min_quality: Annotated[
        int | None, typer.Option(min=0, max=100, help="Drop faces below this quality.", show_default="5")
    ] = None,
    linger: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds to wait at the end for acknowledgements.", show_default="30"),
    ] = None,
) -> None:
    """Watch a source and send the best shots to recognition workers.

    \b
    facegate run clip.mp4
    facegate run rtsp://user:${PASSWORD}@10.0.0.5/stream --report run.json
    facegate run 0 --bind tcp://127.0.0.1:6000
    facegate run configs/two-cameras.yaml --metrics :9108
    facegate run --fleet nats://127.0.0.1:4222 --gate left --cores 0-3

    SIGHUP reads the configuration file again: cameras come, go and change without a restart.
    """
    end_at_once_while_loading()
    if cores:
        from facegate.cpu import pin

        pin(cores)
    changes: dict[str, dict[str, Any]] = {
        "delivery": {
            "bind": bind,
            "keys": keys,
            "allow_insecure": allow_insecure or None,
            "linger_s": linger,
            "spool": None if spool is None else {"path": str(spool)},
        },
        "detector": {"kind": detector, "path": detector_path},
        "scorer": {"weights": weights, "card": model_card},
        "gate": {"min_quality": min_quality},
    }
    if fleet is not None:
        _refuse_what_the_fleet_says(context)
        from facegate.cli.fleet_gate import watch_for_fleet

        watch_for_fleet(
            fleet,
            allow_insecure=allow_insecure,
            gate=gate,
            tags=tuple(tag or ()),
            max_cameras=max_cameras,
            capacity=capacity,
            folder=data,
            metrics=metrics,
            report=report,
            override=lambda config: _override(config, changes),
        )
        return
    if source is None:
        raise typer.BadParameter("give a source, or --fleet")
    wanted = {"max_fps": max_fps, "realtime": realtime or None, "reconnect": False if no_reconnect else None}
    everywhere = {key: value for key, value in wanted.items() if value is not None}
    check_writable(report)
    _watch(source, changes, everywhere, save=save, metrics=metrics, record=record, data=data, control=control,
           report=report)  # fmt: skip


def _watch(
    source: str,
    changes: dict[str, dict[str, Any]],
    everywhere: dict[str, Any],
    *,
    save: Path | None,
    metrics: str | None,
    record: Path | None,
    data: Path | None,
    control: str | None,
    report: Path | None,
) -> None:
    """Watch a source to its end, or until a signal comes; the options of ``facegate run``."""
    from facegate.cli.output.progress import follow
    from facegate.cli.output.tables import show_summary
    from facegate.pipeline.config import config_for
    from facegate.pipeline.control.data_folder import ConsoleFeed
    from facegate.pipeline.flow.cores import share_cores
    from facegate.pipeline.observability.contact_sheet import ContactSheet
    from facegate.pipeline.observability.metrics import Monitor
    from facegate.pipeline.observability.report import to_json
    from facegate.pipeline.runner import Runner
    from facegate.pipeline.runtime.outputs import make_sink
    from facegate.pipeline.runtime.reload import ReloadRequests

    def read_config() -> RunConfig:
        config = _override(config_for(source), changes)
        config = showing.with_store_sink(config)
        cameras = tuple(camera.model_copy(update=everywhere) for camera in config.cameras)
        return config.model_copy(update={"cameras": cameras})

    showing = ConsoleFeed(data, control)
    config = read_config()
    sheet = ContactSheet(save) if save is not None else None
    share_cores()
    delivery = config.delivery

    def decided(decision: Decision) -> None:
        if sheet is not None:
            sheet.add(decision)
        showing.on_decisions(decision)

    runner = Runner(
        config,
        lambda: make_sink(delivery),
        on_decision=decided,
        on_scored=showing.on_frame,
        record=record or showing.recordings,
    )
    interrupted = Interrupt(runner.stop)
    reload = ReloadRequests(runner, read_config)
    signal.signal(signal.SIGHUP, reload.ask)
    with ExitStack() as told:
        told.enter_context(showing.attach(runner, lambda: runner.reload(read_config())))
        if metrics:
            told.enter_context(Monitor(metrics, runner.report, runner.timings))
        runner.start()
        follow(runner, reload.if_asked)
        result = runner.close(linger_s=0.2 if runner.stopping else None)
    if sheet is not None:
        sheet.write()
    if report is not None:
        write_whole(report, to_json(result))
    show_summary(result)
    raise typer.Exit(interrupted.exit_code or _exit_code(result, delivery.bind))


def _exit_code(result: RunReport, bind: str | None) -> int:
    """1 where something was left undone, which is said."""
    if result.delivery.undelivered:
        sys.stderr.write(
            f"facegate: {result.delivery.undelivered} shots were not acknowledged: "
            f"start a worker with 'facegate recognize --connect {bind}'\n"
        )
    return int(bool(result.delivery.undelivered or any(camera.problem for camera in result.cameras)))


def _refuse_what_the_fleet_says(context: typer.Context) -> None:
    for name in context.params:
        given = context.get_parameter_source(name)
        if name not in FOR_FLEETS and given is not None and given.name == "COMMANDLINE":
            shown = "a source" if name == "source" else "--" + name.replace("_", "-")
            raise typer.BadParameter(
                f"{shown} and --fleet: what a gate of a fleet does stands in 'fleet apply CONFIG'"
            )


def _override(config: RunConfig, changes: dict[str, dict[str, Any]]) -> RunConfig:
    """Apply command line options on top of the file's values, with the same validation."""
    from facegate.pipeline.config import build_config

    data = config.model_dump(mode="json")
    for section, values in changes.items():
        data[section] |= {key: str(v) if isinstance(v, Path) else v for key, v in values.items() if v is not None}
    return build_config(data, "command line")
