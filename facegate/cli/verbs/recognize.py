"""``facegate recognize``: a worker that names what gates send."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from typing import IO, Annotated

import typer

from facegate.cli.options import DetectorKind, DetectorOption, DetectorPathOption
from facegate.cli.signals import Interrupt, end_at_once_while_loading
from facegate.errors import ConfigError


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
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse a gallery with a picture that cannot be used.")
    ] = False,
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
    end_at_once_while_loading()
    from facegate.cli.output.progress import counting
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
            people = enrol(pictures, load_detector(detector, detector_path), model, progress, strict=strict)
        limit = model.threshold if threshold is None else threshold
        stop = Event()
        interrupted = Interrupt(stop.set)
        recognizer = Recognizer(people, model, limit, out)
        worker = StreamWorker(streams[0], recognizer) if streams else Worker(endpoints, recognizer, key)
        log.info("worker ready", people=len(people.names), embedder=model.name, threshold=limit, gate=place)
        worker.run(stop, once=once)
        log.info("worker ended", shots=recognizer.results, named=recognizer.named)
    raise typer.Exit(interrupted.exit_code)


def _open_output(path: Path | None, stack: ExitStack) -> IO[str]:
    if path is None:
        return sys.stdout
    try:
        return stack.enter_context(path.open("a", encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {(error.strerror or 'unknown error').lower()}") from error
