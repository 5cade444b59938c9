"""``facegate recognize``: a worker that identifies the faces that gates send."""

from __future__ import annotations

import fcntl
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Event
from typing import IO, Annotated

import typer

from facegate.cli.options import (
    AuditDaysOption,
    CardOption,
    DetectorKind,
    DetectorOption,
    DetectorPathOption,
    DeviceOption,
    EmbedderOption,
    FpirOption,
    MetricsOption,
    MinShotsOption,
    SettingDefault,
    TemplatesOption,
)
from facegate.cli.signals import Interrupt, end_at_once_while_loading
from facegate.errors import ConfigError, os_errors

TAIL_BYTES = 1_000_000
"""Bytes at the end of a results file that are searched for the last events of a killed worker."""


def recognize(  # noqa: PLR0915
    connect: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ENDPOINT",
            help="Endpoint of a gate, or nats:// or tls:// URL of a JetStream server. Repeatable for gates.",
            show_default=SettingDefault("delivery.bind"),
        ),
    ] = None,
    gallery: Annotated[
        Path, typer.Option(help="Gallery file of 'facegate gallery add', or folder with one subfolder per person.")
    ] = Path("gallery"),
    output: Annotated[
        Path | None, typer.Option(help="Append results to this file instead of stdout.", show_default=False)
    ] = None,
    embedder: EmbedderOption = "auto",
    key: Annotated[
        Path | None, typer.Option(help="Key file of this worker, made by 'facegate keys new'.", show_default=False)
    ] = None,
    card: CardOption = None,
    device: DeviceOption = None,
    fpir: FpirOption = 1e-3,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=-1, max=1, help="Fixed similarity threshold; disables the FPIR guarantee.", show_default=False
        ),
    ] = None,
    min_shots: MinShotsOption = 1,
    publish: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="Publish visit events to this URL: https://, mqtts:// or tls:// (NATS); on this host also "
            "http://, mqtt://, nats:// or store:///FILE; or tcp:// to bind for subscribers. Repeatable.",
            show_default=False,
        ),
    ] = None,
    presence: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Publish the presence of this person to the MQTT broker. Repeatable.",
            show_default=False,
        ),
    ] = None,
    console: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Console URL that Home Assistant links to, with an MQTT broker.",
            show_default=False,
        ),
    ] = None,
    spool_dir: Annotated[
        Path | None,
        typer.Option(
            help="Spool folder for events whose destination is unreachable.", show_default="in the user's cache"
        ),
    ] = None,
    allow_insecure: Annotated[
        bool,
        typer.Option(
            "--allow-insecure", help="Allow --publish to other hosts without encryption, on a network you trust."
        ),
    ] = False,
    templates: TemplatesOption = True,
    audit: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Log each use to this audit log: start, end, gallery and matches (EU AI Act, Art. 12).",
            show_default=False,
        ),
    ] = None,
    audit_days: AuditDaysOption = 365,
    metrics: MetricsOption = None,
    detector: DetectorOption = DetectorKind.AUTO,
    detector_path: DetectorPathOption = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse a gallery that contains an unusable picture.")
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", help="Exit when the gate's run ends or the stream is empty.")
    ] = False,
) -> None:
    """Identify the faces that gates send; print shots and visits as JSON lines and publish visits.

    \b
    facegate recognize --connect tcp://127.0.0.1:5570 --gallery people/
    facegate recognize --gallery people/ --embedder arcface.onnx --card arcface.yaml --output names.jsonl
    facegate recognize --gallery people/ --connect tcp://127.0.0.1:5570 --connect tcp://127.0.0.1:5571
    facegate recognize --gallery people/ --connect tls://user:${PASSWORD}@nats.lan:4222
    facegate recognize --gallery people.db --publish mqtts://me:${PASSWORD}@hass.lan/facegate --presence Ada
    facegate recognize --gallery people.db --publish https://door.lan/names --publish tcp://127.0.0.1:5580
    """
    end_at_once_while_loading()
    from facegate.audit.log import AuditLog
    from facegate.cli.output.progress import counting
    from facegate.pipeline.config import DEFAULT_BIND
    from facegate.pipeline.observability.exposition import MetricsServer
    from facegate.pipeline.runtime.malloc_trim import limit_arenas
    from facegate.recognition.enrollment.names import same_name
    from facegate.recognition.loading import OneAtATime, load_recognition
    from facegate.recognition.matching.gallery_watcher import GalleryWatcher
    from facegate.recognition.publishers.factory import PublisherSet
    from facegate.recognition.worker.jetstream_worker import JetStreamWorker
    from facegate.recognition.worker.open_visits import claim_visits
    from facegate.recognition.worker.strangers import stranger_rule
    from facegate.recognition.worker.use_log import UseLog
    from facegate.recognition.worker.zmq_worker import Recognizer, Worker, log
    from facegate.scoring.backend_selection import cache_folder
    from facegate.sinks.jetstream import server_name

    limit_arenas()
    endpoints = connect or [DEFAULT_BIND]
    streams = [endpoint for endpoint in endpoints if endpoint.startswith(("nats://", "tls://"))]
    if streams and len(endpoints) > 1:
        raise ConfigError(
            f"--connect {streams[0]} cannot be combined with others: give gates, or one JetStream server"
        )
    place = server_name(streams[0]) if streams else ", ".join(endpoints)
    if streams and key is not None:
        raise ConfigError("--key is for gates only: put user and password of a JetStream server into its URL")
    with ExitStack() as stack:
        out = _open_output(output, stack)
        folder = cache_folder() / "names" if spool_dir is None else spool_dir
        where = PublisherSet(
            publish or (),
            folder,
            presence=presence or (),
            console=console,
            allow_insecure=allow_insecure,
            hold=True,
        )
        places = stack.enter_context(closing(where))
        _keep_whole(gallery, stack)
        parts = load_recognition(embedder, card, detector, detector_path, threshold=threshold, fpir=fpir,
                                 device=device or "auto")  # fmt: skip
        model, rule = OneAtATime(parts.embedder), parts.rule
        with counting("enrolling") as progress:
            people = stack.enter_context(
                GalleryWatcher(gallery, model, rule, parts.face_extractor, cache_folder(), progress, strict=strict)
            )
        if parts.warning is not None:
            log.warning("no guaranteed false-positive rate", embedder=model.name, reason=parts.warning)
        people.watch(places.people)
        missing = sorted(name for name in set(presence or ()) if same_name(name, people.gallery.names) is None)
        if missing:
            log.warning(
                "presence of unknown people requested",
                people=missing,
                remedy="enroll them with 'facegate gallery add'",
            )
        unknowns = people.unknowns()
        if unknowns is not None:
            stack.enter_context(unknowns)
        stop = Event()
        interrupted = Interrupt(stop.set)
        visits, kept, held = claim_visits(folder, _outputs(output, publish or (), endpoints))
        stack.enter_context(held)
        uses = None if audit is None else AuditLog(audit, create=True, days=audit_days)
        recognizer = Recognizer(
            lambda: people.gallery,
            model,
            rule,
            out,
            unknowns,
            places.publish,
            strangers=stranger_rule(parts.impostors, model),
            on_templates=places.put_templates if templates and places.has_store else None,
            visits=(visits, kept),
            written=_written(output) if kept.untold else (),
            renamed=lambda names: places.rename(lambda name: names.get(name, name)),
            min_shots=min_shots,
            uses=None if uses is None else UseLog(stack.enter_context(uses), model, rule),
        )
        known_names = set(people.gallery.names)
        places.begin(recognizer.present(), lambda name: name if name in known_names else None)
        if metrics:
            stack.enter_context(MetricsServer(metrics, recognizer.health, [recognizer.metrics]))
        worker = JetStreamWorker(streams[0], recognizer) if streams else Worker(endpoints, recognizer, key)
        known = len(people.gallery.names)
        log.info("worker ready", people=known, embedder=model.name, named_from=rule.describe(known), gate=place)
        worker.run(stop, once=once)
        log.info("worker ended", shots=recognizer.results, named=recognizer.named)
    raise typer.Exit(interrupted.exit_code)


def _keep_whole(gallery: Path, stack: ExitStack) -> None:
    """Replace a damaged gallery before it is used, and back it up daily unless a console does."""
    from facegate.maintenance.backups import FOLDER, BackupKeeper, console_uses
    from facegate.maintenance.files import GALLERY, DataFile
    from facegate.maintenance.recovery import heal
    from facegate.recognition.matching.gallery_watcher import GALLERY_SUFFIX

    if gallery.suffix != GALLERY_SUFFIX or gallery.is_dir():
        return
    file = DataFile("people.db", gallery.absolute(), GALLERY)
    folder = file.path.parent / FOLDER
    heal(file, [folder])
    stack.enter_context(BackupKeeper(folder, lambda: [] if console_uses(folder.parent) else [file]))


def _outputs(output: Path | None, to: list[str] | tuple[str, ...], endpoints: list[str]) -> list[str]:
    """Destinations of events without secrets; if there are none, the endpoints of the gates."""
    from urllib.parse import urlsplit

    places = [urlsplit(url)._replace(netloc=urlsplit(url).netloc.rpartition("@")[2]).geturl() for url in to]
    if output is not None:
        places.append(str(output.absolute()))
    return sorted(places) if places else sorted(endpoints)


def _tail(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - size))
        return file.read()


def _written(path: Path | None) -> set[str]:
    """IDs of the last events in a results file."""
    import msgspec

    found = set()
    for line in _tail(path, TAIL_BYTES).splitlines() if path is not None and path.is_file() else ():
        try:
            found.add(str(msgspec.json.decode(line, type=dict[str, object]).get("id")))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue  # a partial line
    return found


def _open_output(path: Path | None, stack: ExitStack) -> IO[str]:
    if path is None:
        return sys.stdout
    with os_errors(ConfigError, f"cannot write {path}"):
        out = stack.enter_context(path.open("a", encoding="utf-8"))
        if path.is_file() and not _tail(path, 1).endswith(b"\n") and path.stat().st_size:
            out.write("\n")  # a killed worker left a partial line
        fcntl.flock(out, fcntl.LOCK_SH)  # 'gallery remove --everywhere' does not rewrite a file in use
        return out
