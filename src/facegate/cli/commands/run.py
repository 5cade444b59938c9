"""``facegate run``: sends the best face shots of cameras to recognition workers."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facegate.cli.exit_codes import ExitCode
from facegate.cli.files import check_writable, write_whole
from facegate.cli.options import (
    DetectorKind,
    DetectorPathOption,
    DeviceOption,
    FilmOption,
    MetricsOption,
    ModelCardOption,
    SettingDefault,
    WeightsOption,
)
from facegate.cli.signals import Interrupt, end_at_once_while_loading
from facegate.errors import ConfigError
from facegate.pipeline.plurals import count, were

if TYPE_CHECKING:
    from facegate.cli.output.best_shots import ShotOverview
    from facegate.pipeline.config import RunConfig
    from facegate.pipeline.gating.gate import Decision
    from facegate.pipeline.observability.report import RunReport


WORKER_GRACE_S = 1.0
"""Seconds in which a worker may still take the shots of a run that did not ask for one."""
FLEET_OPTIONS = {
    "fleet", "gate", "tag", "max_cameras", "capacity", "cores", "data", "metrics", "report", "allow_insecure",
    "detector", "detector_path", "weights", "model_card",
}  # fmt: skip
"""Options that may be combined with ``--fleet``."""
FLEET_ONLY = ("gate", "tag", "max_cameras", "capacity")
"""Options that have no meaning without ``--fleet``."""


def run(
    context: typer.Context,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="Video file, stream URL, webcam (0, /dev/video0) or CONFIG.yaml.",
            show_default=False,
        ),
    ] = None,
    bind: Annotated[
        str | None,
        typer.Option(
            metavar="ENDPOINT",
            help="ZeroMQ endpoint to bind for workers.",
            show_default=SettingDefault("delivery.bind"),
        ),
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(
            help="Key folder of 'facegate keys'; encrypts delivery and admits only known workers.",
            show_default=False,
        ),
    ] = None,
    allow_insecure: Annotated[
        bool,
        typer.Option(
            "--allow-insecure", help="Allow workers on other hosts without --keys, on a network you trust."
        ),
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write the run's report to this JSON file.", show_default=False)
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            help="Write best shots, a page and a contact sheet to this folder; without a worker, best shots of a "
            "recording are written to facegate-shots.",
            show_default=False,
        ),
    ] = None,
    spool: Annotated[
        Path | None,
        typer.Option(help="Spool file that keeps shots until workers acknowledge them.", show_default=False),
    ] = None,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Play a file at its own speed and drop late frames, like a camera.")
    ] = False,
    max_fps: Annotated[
        float | None,
        typer.Option(min=0.01, help="Maximum processed frames per second of each camera.", show_default=False),
    ] = None,
    film: FilmOption = False,
    no_reconnect: Annotated[
        bool, typer.Option("--no-reconnect", help="Stop when a live stream is lost instead of reconnecting.")
    ] = False,
    metrics: MetricsOption = None,
    record: Annotated[
        Path | None,
        typer.Option(help="Record every face for 'replay' and 'explain' (4 KB per face).", show_default=False),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Store shots, tracks and recordings in this folder, for 'facegate serve'.",
            show_default=False,
        ),
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(
            metavar="ENDPOINT",
            help="Serve a control socket (status, snapshots, reload) at ipc://FILE.",
            show_default=False,
        ),
    ] = None,
    fleet: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Run the cameras of the fleet at nats://HOST:4222/NAME.", show_default=False
        ),
    ] = None,
    gate: Annotated[
        str | None, typer.Option(help="Name of this node in the fleet.", show_default="this host's name")
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(help="Capability tag of this node, matched against a camera's 'tags'. Repeatable."),
    ] = None,
    max_cameras: Annotated[int, typer.Option(min=1, help="Maximum number of cameras.")] = 64,
    capacity: Annotated[
        float | None,
        typer.Option(
            min=0.1, help="Processed frames per second that this node can sustain.", show_default="measured"
        ),
    ] = None,
    cores: Annotated[
        str | None, typer.Option(help="Processor cores to run on, such as 0-3.", show_default="all")
    ] = None,
    detector: Annotated[
        DetectorKind | None,
        typer.Option(
            help="Face detector; auto uses SCRFD or YuNet if --detector-path is given, else MTCNN.",
            show_default=SettingDefault("detector.kind"),
        ),
    ] = None,
    detector_path: DetectorPathOption = None,
    device: DeviceOption = None,
    weights: WeightsOption = None,
    model_card: ModelCardOption = None,
    min_quality: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=100,
            help="Reject faces below this quality, 0 to 100.",
            show_default=SettingDefault("gate.min_quality"),
        ),
    ] = None,
    linger: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Seconds to wait for acknowledgements at the end.",
            show_default=SettingDefault("delivery.linger_s"),
        ),
    ] = None,
) -> None:
    """Select the best face shots of a source and send them to recognition workers.

    \b
    facegate run clip.mp4
    facegate run clip.mp4 --save shots/
    facegate run rtsp://user:${PASSWORD}@10.0.0.5/stream --report run.json
    facegate run 0 --bind tcp://127.0.0.1:6000
    facegate run configs/two-cameras.yaml --metrics :9108
    facegate run --fleet nats://127.0.0.1:4222 --gate left --cores 0-3

    Without a worker, the best shots of a recording are written to a folder. SIGHUP reloads the configuration file;
    cameras are added, removed and changed without a restart.
    """
    end_at_once_while_loading()
    from facegate.pipeline.runtime.malloc_trim import limit_arenas

    limit_arenas()
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
        "detector": {"kind": detector, "path": detector_path, "device": device},
        "scorer": {"weights": weights, "card": model_card, "device": device},
        "gate": {"min_quality": min_quality},
    }
    if fleet is not None:
        _refuse_source_options(context)
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
    if needless := [name for name in FLEET_ONLY if _is_given(context, name)]:
        raise ConfigError(f"--{needless[0].replace('_', '-')} needs --fleet: it describes a node of a fleet")
    if source is None:
        raise ConfigError("SOURCE is missing: give a source, or --fleet (see facegate run --help)")
    given = {
        "max_fps": max_fps,
        "realtime": realtime or None,
        "film": film or None,
        "reconnect": False if no_reconnect else None,
    }
    everywhere = {key: value for key, value in given.items() if value is not None}
    check_writable(report)
    is_service = Path(source).suffix.lower() in (".yaml", ".yml") or any((data, control))
    needs_worker = is_service or any(option is not None for option in (bind, keys, spool, linger))
    _watch(source, changes, everywhere, save=save, metrics=metrics, record=record, data=data, control=control,
           report=report, needs_worker=needs_worker)  # fmt: skip


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
    needs_worker: bool,
) -> None:
    """Run until the source ends or a signal arrives; the options of ``facegate run``.

    Unless it ``needs_worker``, a run whose shots nobody acknowledged is complete: its best shots are shown.
    """
    from facegate.cli.output.best_shots import DEFAULT_FOLDER, ShotOverview
    from facegate.cli.output.progress import follow
    from facegate.cli.output.tables import show_summary
    from facegate.cpu import share_cores
    from facegate.pipeline.config import config_for
    from facegate.pipeline.control.data_folder import ConsoleFeed
    from facegate.pipeline.observability.contact_sheet import ContactSheet
    from facegate.pipeline.observability.metrics import Monitor
    from facegate.pipeline.observability.report import to_json
    from facegate.pipeline.runner import Runner
    from facegate.pipeline.runtime.outputs import make_sink
    from facegate.pipeline.runtime.reload import ReloadRequests

    def read_config() -> RunConfig:
        config = _override(config_for(source), changes)
        config = feed.with_store_sink(config)
        cameras = tuple(camera.model_copy(update=everywhere) for camera in config.cameras)
        return config.model_copy(update={"cameras": cameras})

    feed = ConsoleFeed(data, control)
    config = read_config()
    sheet = ContactSheet(save) if save is not None else None
    best = ShotOverview(source, film=bool(everywhere.get("film")))
    share_cores()
    delivery = config.delivery

    def on_decision(decision: Decision) -> None:
        if sheet is not None:
            sheet.add(decision)
        best.add(decision)
        feed.on_decisions(decision)

    runner = Runner(
        config,
        lambda: make_sink(delivery),
        on_decision=on_decision,
        on_scored=feed.on_frame,
        record=record or feed.recordings,
        clips=feed.clips,
    )
    interrupted = Interrupt(runner.stop)
    reload = ReloadRequests(runner, read_config)
    signal.signal(signal.SIGHUP, reload.ask)
    with ExitStack() as stack:
        stack.enter_context(feed.attach(runner, lambda: runner.reload(read_config())))
        if metrics:
            stack.enter_context(Monitor(metrics, runner.report, runner.timings))
        runner.start()
        follow(runner, reload.if_asked)
        alone = not needs_worker and not runner.report().delivery.acknowledged
        result = runner.close(linger_s=0.2 if runner.stopping else WORKER_GRACE_S if alone else None)
    if sheet is not None:
        sheet.write()
    if report is not None:
        write_whole(report, to_json(result))
    alone = alone and not result.delivery.acknowledged
    show_summary(result, without_worker=alone)
    if best.shots:
        is_recording = alone and not _is_live(config)
        _show_best(
            best, source, save or (DEFAULT_FOLDER if is_recording else None), crops=save is None, alone=alone
        )
    raise typer.Exit(interrupted.exit_code or _exit_code(result, delivery.bind, alone=alone))


def _show_best(best: ShotOverview, source: str, folder: Path | None, *, crops: bool, alone: bool) -> None:
    """Show the best shots on the screen and in a folder; say how to add names if no worker did."""
    from rich.console import Console

    from facegate.pipeline.addresses import redact

    screen = Console(stderr=True, highlight=False)
    if folder is not None:
        best.show(screen)
        screen.print(f"page: {best.write(folder, crops=crops)}", soft_wrap=True)
    if alone:
        sys.stderr.write(
            f"no worker was connected: for names, run 'facegate try {redact(source)} --gallery people/', or first "
            f"'facegate recognize --gallery people/' (people/ holds a folder of pictures per person)\n"
        )


def _is_live(config: RunConfig) -> bool:
    """Whether a camera of the run is live; its shots would fill a folder that nobody asked for."""
    from facegate.pipeline.sources.factory import open_source

    return any(open_source(camera).live and not camera.realtime for camera in config.cameras)


def _exit_code(result: RunReport, bind: str | None, *, alone: bool) -> int:
    """REFUSED if shots were not delivered to a worker that the run needs, or a camera failed."""
    if alone:
        return ExitCode.REFUSED if any(camera.problem for camera in result.cameras) else ExitCode.DONE
    if lost := result.delivery.undelivered:
        sys.stderr.write(
            f"facegate: {count(lost, 'shot')} {were(lost)} not acknowledged; "
            f"start a worker with 'facegate recognize --connect {bind}'\n"
        )
    failed = result.delivery.undelivered or any(camera.problem for camera in result.cameras)
    return ExitCode.REFUSED if failed else ExitCode.DONE


def _is_given(context: typer.Context, name: str) -> bool:
    """Whether an option or argument is on the command line."""
    found = context.get_parameter_source(name)
    return found is not None and found.name == "COMMANDLINE"


def _refuse_source_options(context: typer.Context) -> None:
    for name in context.params:
        if name not in FLEET_OPTIONS and _is_given(context, name):
            shown = "SOURCE" if name == "source" else "--" + name.replace("_", "-")
            raise ConfigError(
                f"{shown} cannot be combined with --fleet: cameras come from the configuration published with "
                "'facegate fleet apply'"
            )


def _override(config: RunConfig, changes: dict[str, dict[str, Any]]) -> RunConfig:
    """Apply command line options on top of the configuration, with the same validation."""
    from facegate.pipeline.config import build_config

    data = config.model_dump(mode="json")
    for section, values in changes.items():
        data[section] |= {key: str(v) if isinstance(v, Path) else v for key, v in values.items() if v is not None}
    return build_config(data, "command line")
