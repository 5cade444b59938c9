"""The ``facegate`` command: one verb per job, data on stdout, everything for people on stderr."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from types import FrameType
from typing import IO, TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from facegate.errors import ConfigError, FacegateError
from facegate.evaluate_cli import evaluate
from facegate.exit_cli import calibrate_exit
from facegate.keys_cli import app as keys_app
from facegate.models_cli import app as models_app
from facegate.options import (
    DetectorKind,
    DetectorOption,
    DetectorPathOption,
    ModelCardOption,
    WeightsOption,
    check_writable,
    write_whole,
)
from facegate.pipeline.threads import set_wait_policy
from facegate.probe_cli import probe_command
from facegate.replay_cli import explain, replay
from facegate.savings_cli import savings
from facegate.spool_cli import app as spool_app

if TYPE_CHECKING:
    from facegate.pipeline.config import RunConfig

set_wait_policy()

SIGNAL_EXIT = 128
"""Exit codes above it name the signal that ended the process."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Watch camera streams and let only the faces worth recognising through.",
)


app.add_typer(models_app, name="models")
app.add_typer(spool_app, name="spool")
app.add_typer(keys_app, name="keys")


def _print_version(wanted: bool) -> None:
    from facegate import __version__

    if wanted:
        sys.stdout.write(f"facegate {__version__}\n")
        raise typer.Exit


@app.callback()
def _global(
    debug: Annotated[bool, typer.Option(help="Show tracebacks and debug logs.")] = False,
    log_json: Annotated[bool, typer.Option(help="Write logs as JSON lines.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    del version
    from facegate.logs import configure

    configure(json=log_json, debug=debug)


@app.command()
def run(
    source: Annotated[str, typer.Argument(help="Video file, rtsp:// URL, webcam (0, /dev/video0) or CONFIG.yaml.")],
    bind: Annotated[
        str | None, typer.Option(help="ZeroMQ endpoint for workers.", show_default="tcp://127.0.0.1:5570")
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(
            help="Folder of 'facegate keys': encrypt, and let known workers in alone.", show_default=False
        ),
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Allow workers on other hosts without keys, on a network you trust.")
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
    metrics: Annotated[
        str | None,
        typer.Option(help="Serve /healthz and /metrics at HOST:PORT; :9108 means loopback.", show_default=False),
    ] = None,
    telemetry: Annotated[
        str | None,
        typer.Option(help="Publish the report every second at this ZeroMQ endpoint (PUB).", show_default=False),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(help="Record what the gate sees, for replay and explain (4 KB per face).", show_default=False),
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

    SIGHUP reads the configuration file again: cameras come, go and change without a restart.
    """
    _end_at_once_while_loading()
    from facegate.console import follow, show_summary
    from facegate.pipeline.config import config_for
    from facegate.pipeline.contact_sheet import ContactSheet
    from facegate.pipeline.delivery import make_sink
    from facegate.pipeline.monitor import Monitor
    from facegate.pipeline.reload import Reloading
    from facegate.pipeline.report import to_json
    from facegate.pipeline.runner import Runner
    from facegate.pipeline.telemetry import Telemetry
    from facegate.pipeline.threads import share_cores

    changes: dict[str, dict[str, Any]] = {
        "delivery": {
            "bind": bind,
            "keys": keys,
            "plain": plain or None,
            "linger_s": linger,
            "telemetry": telemetry,
            "spool": None if spool is None else {"path": str(spool)},
        },
        "detector": {"kind": detector, "path": detector_path},
        "scorer": {"weights": weights, "card": model_card},
        "gate": {"min_quality": min_quality},
    }

    everywhere: dict[str, Any] = {} if max_fps is None else {"max_fps": max_fps}
    everywhere |= {"realtime": True} if realtime else {}
    everywhere |= {"reconnect": False} if no_reconnect else {}

    def read_config() -> RunConfig:
        config = _override(config_for(source), changes)
        cameras = tuple(camera.model_copy(update=everywhere) for camera in config.cameras)
        return config.model_copy(update={"cameras": cameras})

    config = read_config()
    check_writable(report)
    sheet = ContactSheet(save) if save is not None else None
    share_cores()
    delivery = config.delivery
    runner = Runner(
        config,
        lambda: make_sink(delivery),
        on_decision=sheet.see if sheet else lambda decision: None,
        record=record,
    )
    interrupted = _Interrupt(runner.stop)
    reload = Reloading(runner, read_config)
    signal.signal(signal.SIGHUP, reload.ask)
    with ExitStack() as told:
        if metrics:
            told.enter_context(Monitor(metrics, runner.report))
        if delivery.telemetry:
            told.enter_context(
                Telemetry(delivery.telemetry, runner.report, keys=delivery.keys, plain=delivery.plain)
            )
        runner.start()
        follow(runner, reload.if_asked)
        result = runner.close(linger_s=0.2 if runner.stopping else None)
    if sheet is not None:
        sheet.write()
    if report is not None:
        write_whole(report, to_json(result))
    show_summary(result)
    if interrupted.exit_code:
        raise typer.Exit(interrupted.exit_code)
    failed = [camera for camera in result.cameras if camera.problem]
    if result.delivery.undelivered:
        sys.stderr.write(
            f"facegate: {result.delivery.undelivered} shots were not acknowledged: "
            f"start a worker with 'facegate recognize --connect {delivery.bind}'\n"
        )
    raise typer.Exit(1 if failed or result.delivery.undelivered else 0)


@app.command()
def recognize(
    connect: Annotated[
        list[str] | None,
        typer.Option(
            help="A gate's endpoint, once for each gate, or the nats:// or tls:// URL of a JetStream server.",
            show_default="tcp://127.0.0.1:5570",
        ),
    ] = None,
    gallery: Annotated[Path, typer.Option(help="Folder with one sub-folder of pictures per person.")] = Path(
        "gallery"
    ),
    output: Annotated[
        Path | None, typer.Option(help="Append results here instead of stdout.", show_default=False)
    ] = None,
    embedder: Annotated[
        str, typer.Option(help="auto, builtin, dlib, an .onnx file, or the directory of an insightface pack.")
    ] = "auto",
    key: Annotated[
        Path | None, typer.Option(help="This worker's file of 'facegate keys new'.", show_default=False)
    ] = None,
    card: Annotated[Path | None, typer.Option(help="YAML card of the ONNX file.", show_default=False)] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=-1, max=1, help="Similarity from which a face is named.", show_default="the embedder's"),
    ] = None,
    detector: DetectorOption = DetectorKind.AUTO,
    detector_path: DetectorPathOption = None,
    once: Annotated[
        bool, typer.Option("--once", help="Exit when the gate's run ends, or nothing waits in the stream any more.")
    ] = False,
) -> None:
    """Name the faces a gate sends: one JSON line per shot.

    \b
    facegate recognize --connect tcp://127.0.0.1:5570 --gallery people/
    facegate recognize --gallery people/ --embedder arcface.onnx --card arcface.yaml --output names.jsonl
    facegate recognize --gallery people/ --connect tcp://127.0.0.1:5570 --connect tcp://127.0.0.1:5571
    facegate recognize --gallery people/ --connect tls://user:${PASSWORD}@nats.lan:4222
    """
    _end_at_once_while_loading()
    from facegate.console import counting
    from facegate.detectors.base import load_detector
    from facegate.recognition.embedders import load_embedder
    from facegate.recognition.gallery import enrol, find_people
    from facegate.recognition.stream_worker import StreamWorker
    from facegate.recognition.worker import Recognizer, Worker, log
    from facegate.sinks.jetstream import server_name

    endpoints = connect or ["tcp://127.0.0.1:5570"]
    streams = [endpoint for endpoint in endpoints if endpoint.startswith(("nats://", "tls://"))]
    if streams and len(endpoints) > 1:
        raise ConfigError("a worker connects to gates, or to one JetStream server")
    place = server_name(streams[0]) if streams else ", ".join(endpoints)
    if streams and key is not None:
        raise ConfigError("--key is for a gate's endpoint: a JetStream server takes user and password in its URL")
    with ExitStack() as stack:
        out = _open_output(output, stack)
        pictures = find_people(gallery)
        model = load_embedder(embedder, card)
        with counting("enrolling") as progress:
            people = enrol(pictures, load_detector(detector, detector_path), model, progress)
        limit = model.threshold if threshold is None else threshold
        stop = Event()
        interrupted = _Interrupt(stop.set)
        recognizer = Recognizer(people, model, limit, out)
        worker = StreamWorker(streams[0], recognizer) if streams else Worker(endpoints, recognizer, key)
        log.info("worker ready", people=len(people.names), embedder=model.name, threshold=limit, gate=place)
        worker.run(stop, once=once)
        log.info("worker ended", shots=recognizer.results, named=recognizer.named)
    raise typer.Exit(interrupted.exit_code)


@app.command()
def score(
    images: Annotated[list[Path], typer.Argument(help="Pictures (JPEG, PNG).", show_default=False)],
    embedding: Annotated[bool, typer.Option("--embedding", help="Add each face's embedding.")] = False,
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
    facegate score portrait.jpg
    facegate score *.jpg --heatmap maps/ | jq .quality
    """
    from facegate.detectors.base import load_detector
    from facegate.scoring.engine import load_scorer
    from facegate.scoring_job import prepare_heatmaps, score_images

    if heatmap is not None:
        prepare_heatmaps(heatmap)

    failed = score_images(
        images,
        sys.stdout,
        load_detector(detector, detector_path),
        load_scorer(weights, card=model_card),
        embedding,
        heatmap,
    )
    raise typer.Exit(1 if failed else 0)


app.command()(evaluate)
app.command("calibrate-exit")(calibrate_exit)
app.command()(replay)
app.command()(savings)
app.command()(explain)
app.command("probe")(probe_command)


@app.command()
def demo(
    save: Annotated[
        Path | None,
        typer.Option(help="Keep best shots and a contact sheet in this folder.", show_default=False),
    ] = None,
    embedder: Annotated[str, typer.Option(help="As for 'facegate recognize'.")] = "auto",
) -> None:
    """Show the whole thing on this machine, with no download: camera, gate and worker.

    \b
    facegate demo
    facegate demo --save demo-out
    """
    from facegate.demo.run import run_demo

    verdict = run_demo(save, embedder)
    raise typer.Exit(0 if verdict.good else 1)


class _Interrupt:
    """Ctrl-C and SIGTERM: the first asks to stop, the second ends at once."""

    def __init__(self, stop: Any) -> None:
        self.exit_code = 0
        self._stop = stop
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.exit_code:
            os._exit(self.exit_code)
        self.exit_code = SIGNAL_EXIT + number
        self._stop()


def _end_at_once_while_loading() -> None:
    """Until something has to be closed, a signal ends the process.

    Python's own way is an exception, which may come up inside somebody's import and be swallowed there.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: os._exit(SIGNAL_EXIT + number))


def _override(config: RunConfig, changes: dict[str, dict[str, Any]]) -> RunConfig:
    """Apply command line options on top of the file's values, with the same validation."""
    from facegate.pipeline.config import build_config

    data = config.model_dump(mode="json")
    for section, values in changes.items():
        data[section] |= {key: str(v) if isinstance(v, Path) else v for key, v in values.items() if v is not None}
    return build_config(data, "command line")


def _open_output(path: Path | None, stack: ExitStack) -> IO[str]:
    if path is None:
        return sys.stdout
    try:
        return stack.enter_context(path.open("a", encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {(error.strerror or 'unknown error').lower()}") from error


def _leave(code: int) -> NoReturn:
    """End the process.

    After a signal, at once: taking the interpreter and torch apart can cost a second. And where a thread of ours is
    still inside a torch or FFmpeg call, which nothing can interrupt, taking them apart around it can crash. By now
    everything of ours is closed and written.
    """
    working = any(thread.name.startswith("facegate-") for thread in threading.enumerate())
    if working or code > SIGNAL_EXIT:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def main() -> None:
    """Run the command line; every expected error is one line and an exit code."""
    try:
        code = app(standalone_mode=False)
    except FacegateError as error:
        if "--debug" in sys.argv:
            raise
        from facegate.pipeline.sources.base import redact

        sys.stderr.write(f"facegate: {redact(' '.join(str(error).split()))}\n")
        _leave(error.exit_code)
    except typer.TyperException as error:
        sys.stderr.write(f"facegate: {error.format_message()} (see facegate --help)\n")
        _leave(error.exit_code)
    except KeyboardInterrupt:
        _leave(130)
    _leave(code or 0)
