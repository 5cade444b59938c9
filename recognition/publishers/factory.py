"""Publishers of a worker's visit events, each with its own spool: a slow or absent one delays only itself."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec
import structlog
import zmq
from pydantic import ValidationError

from facegate.errors import ConfigError, DeliveryError, os_errors
from facegate.pipeline.config.delivery import OutputConfig
from facegate.pipeline.config.messages import problem
from facegate.recognition.publishers.home_assistant import NamesMqtt
from facegate.recognition.worker.name_changes import renamed_line
from facegate.recognition.worker.template_entries import template_of
from facegate.recognition.worker.visit_state import VisitEvent
from facegate.sinks.base import DeliveryReport
from facegate.sinks.jetstream import JetStream
from facegate.sinks.spool import Spool
from facegate.sinks.spooled_sink import SpooledSink, Target
from facegate.sinks.webhook import Webhook
from facegate.sinks.wire import EncodedShot
from facegate.sinks.zmq_socket import LOOPBACK, BoundSocket
from facegate.store.records import VisitUpdate
from facegate.store.writer import StoreTarget, StoreWriter

LINGER_S = 5.0
SECRET = "FACEGATE_WEBHOOK_SECRET"
"""Environment variable with the key of webhook signatures."""
RETENTION_S = 7 * 86_400.0
MAX_SPOOL_BYTES = 100_000_000
_KINDS: dict[str, Literal["webhook", "mqtt", "jetstream", "store"]] = {
    "http": "webhook", "https": "webhook", "mqtt": "mqtt", "mqtts": "mqtt", "nats": "jetstream", "tls": "jetstream",
    "store": "store",
}  # fmt: skip

log = structlog.get_logger(__name__)


class NamesWebhook(Webhook):
    """POSTs each event of a visit as its JSON line."""

    def body(self, entry: EncodedShot) -> bytes:
        """See :class:`Webhook`."""
        return entry.header


class NamesJetStream(JetStream):
    """Publishes each event to ``facegate.names.CAMERA`` in the stream ``FACEGATE_NAMES``, kept for a week."""

    subject = "facegate.names"
    has_feedback = False
    streams = ({"name": "FACEGATE_NAMES", "subjects": [f"{subject}.>"], "max_age": RETENTION_S},)

    def payload(self, entry: EncodedShot) -> bytes:
        """See :class:`JetStream`."""
        return entry.header


class NamesStore(StoreTarget):
    """Stores the current result of each visit."""

    def write(self, store: StoreWriter, entries: Sequence[EncodedShot]) -> None:
        """See :class:`StoreTarget`."""
        store.update_visits(
            [msgspec.json.decode(entry.header, type=VisitUpdate) for entry in entries if not entry.crop]
        )
        store.put_templates([template for entry in entries if (template := template_of(entry)) is not None])


class PublisherSet:
    """The publishers of a worker; its owner closes it. For one thread."""

    def __init__(
        self,
        urls: Sequence[str],
        folder: Path,
        *,
        presence: Sequence[str] = (),
        console: str | None = None,
        allow_insecure: bool = False,
        hold: bool = False,
    ) -> None:
        """Start delivering; events pending from earlier runs come first.

        Args:
            urls: ``https://``, ``mqtts://`` and ``tls://`` (a NATS server), or on this host ``http://``,
                ``mqtt://``, ``nats://`` and ``store:///FILE``; ``tcp://`` is bound here, for subscribers (ZeroMQ
                PUB).
            folder: folder for spools, one per publisher.
            presence: people whose presence is published over MQTT.
            console: URL of the console that Home Assistant links to.
            allow_insecure: allow addresses on other hosts without encryption.
            hold: deliver nothing before :meth:`begin`.

        Raises:
            ConfigError: an invalid or duplicate address.
            DeliveryError: an address cannot be bound, or a spool cannot be opened.
        """
        self._sinks: list[SpooledSink] = []
        self._stores: list[SpooledSink] = []
        self._publishers: list[BoundSocket] = []
        self._brokers: list[NamesMqtt] = []
        if len(set(urls)) < len(urls):
            raise ConfigError("duplicate URL of --publish: give each URL once")
        with ExitStack() as opened:
            for url in urls:
                if url.startswith(("tcp://", "ipc://")):
                    if not url.startswith(LOOPBACK) and not allow_insecure:
                        raise ConfigError(
                            f"{url} is reachable from other hosts, and names are not encrypted: bind 127.0.0.1, or "
                            "use --allow-insecure on a trusted network"
                        )
                    self._publishers.append(
                        BoundSocket(zmq.PUB, url, allow_insecure=allow_insecure, options={zmq.SNDHWM: 10_000})
                    )
                    opened.callback(self._publishers[-1].close)
                else:
                    sink, target = _spooled_sink(url, folder, presence, console, allow_insecure, hold)
                    self._sinks.append(sink)
                    if isinstance(target, NamesStore):
                        self._stores.append(sink)
                    if isinstance(target, NamesMqtt):
                        self._brokers.append(target)
                    opened.callback(self._sinks[-1].close, 0.0)
            opened.pop_all()

    def begin(
        self, present: Sequence[VisitEvent] = (), new_name: Callable[[str], str | None] = lambda name: name
    ) -> None:
        """Start delivering what was held.

        Args:
            present: the open visits, for publishers of presence; not delivered as events.
            new_name: current name of a person in a pending event; ``None`` if removed.
        """
        self.rename(new_name)
        for broker in self._brokers:
            broker.resume(present)
        for sink in self._sinks:
            sink.start()

    def rename(self, new_name: Callable[[str], str | None]) -> None:
        """Apply current names to pending events; see :meth:`begin`."""
        for sink in self._sinks:
            sink.rewrite(lambda entry: renamed_line(entry.header, new_name))

    def publish(self, events: Sequence[VisitEvent]) -> None:
        """Accept events in order; they are on disk, or sent to subscribers, when this returns."""
        entries = [_entry(event) for event in events]
        for sink in self._sinks:
            sink.put(entries)
        for publisher in self._publishers:
            for entry in entries:
                publisher.socket.send_multipart([entry.camera.encode(), entry.header])

    def put_templates(self, entries: Sequence[EncodedShot]) -> None:
        """Accept templates of visits, for stores alone; see :meth:`publish`."""
        for sink in self._stores:
            sink.put(entries)

    @property
    def has_store(self) -> bool:
        """Whether there is a store."""
        return bool(self._stores)

    def people(self, known: Collection[str]) -> None:
        """Set who is enrolled; thread-safe."""
        for broker in self._brokers:
            broker.people(known)

    def close(self) -> dict[str, DeliveryReport]:
        """Deliver for at most ``LINGER_S``, release all resources; the rest is delivered in the next run."""
        for sink in self._sinks:
            sink.finish(LINGER_S)
        reports = {sink.name: sink.close(LINGER_S) for sink in self._sinks}
        for publisher in self._publishers:
            publisher.close()
        for name, report in reports.items():
            if report.kept:
                log.warning("undelivered events kept for the next run", to=name, events=report.kept)
        return reports


def _entry(event: VisitEvent) -> EncodedShot:
    return EncodedShot(
        shot_id=event.id or f"{event.visit}/{event.event}/{event.shots}",
        camera=event.camera,
        track_id=event.track_id,
        header=msgspec.json.encode(event),
        crop=b"",
    )


def _spooled_sink(
    url: str, folder: Path, presence: Sequence[str], console: str | None, allow_insecure: bool, hold: bool
) -> tuple[SpooledSink, Target]:
    try:
        kind = _KINDS.get(urlsplit(url).scheme)
    except ValueError:
        kind = None
    if kind is None:
        raise ConfigError(
            f"invalid --publish {url.rpartition('@')[2]}: give an https://, mqtts://, tls:// (NATS) or tcp:// URL"
        )
    # Without credentials: pending events must still be delivered after a change of the password.
    address = urlsplit(url)._replace(netloc=urlsplit(url).netloc.rpartition("@")[2]).geturl()
    name = hashlib.sha256(address.encode()).hexdigest()[:16]
    secret = os.environ.get(SECRET) if kind == "webhook" else None
    path = folder / f"{name}.spool"
    try:
        own = console if kind == "mqtt" else None
        checked = OutputConfig(
            kind=kind,
            url=None if kind == "store" else url,
            path=Path(urlsplit(url).path) if kind == "store" else None,
            spool=path,
            secret=secret,
            allow_insecure=allow_insecure,
            console=own,
        )
    except ValidationError as error:
        reason = problem(error, OutputConfig).replace("set 'allow_insecure: true'", "add --allow-insecure")
        reason = reason.replace("secret: ", f"{SECRET} ", 1)
        raise ConfigError(f"invalid --publish {url.rpartition('@')[2]}: {reason}") from None
    with ExitStack() as opened:
        with os_errors(DeliveryError, f"cannot write to spool folder {folder}"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        spool = Spool(path, max_bytes=MAX_SPOOL_BYTES, max_age_s=RETENTION_S)
        opened.callback(spool.close)
        target: Target
        if kind == "webhook":
            target = NamesWebhook(url, checked.secret)
        elif kind == "mqtt":
            target = NamesMqtt(url, presence, spool, console=checked.console)
        elif kind == "store":
            target = NamesStore(Path(checked.target))
        else:
            target = NamesJetStream(url)
        opened.callback(target.close)
        sink = SpooledSink(target, spool, hold=hold)
        opened.pop_all()
    return sink, target
