"""Where names go beside the worker's own lines; one that is slow or gone delays only itself, and misses nothing."""

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

from facegate.errors import ConfigError, DeliveryError
from facegate.pipeline.config.delivery import OutputConfig
from facegate.recognition.publishers.home_assistant import NamesMqtt
from facegate.recognition.worker.name_changes import renamed_line
from facegate.recognition.worker.visits import VisitEvent
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
"""Environment: key of a webhook's signature."""
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
    streams = ({"name": "FACEGATE_NAMES", "subjects": [f"{subject}.>"], "max_age": RETENTION_S},)

    def payload(self, entry: EncodedShot) -> bytes:
        """See :class:`JetStream`."""
        return entry.header


class NamesStore(StoreTarget):
    """Keeps the newest of what is known of each visit."""

    def write(self, store: StoreWriter, entries: Sequence[EncodedShot]) -> None:
        """See :class:`StoreTarget`."""
        events = [msgspec.json.decode(entry.header, type=VisitEvent) for entry in entries]
        store.update_visits(
            [
                VisitUpdate(
                    visit=event.visit,
                    camera=event.camera,
                    track_id=event.track_id,
                    name=event.name,
                    similarity=event.similarity,
                    margin=event.margin,
                    fpir=event.fpir,
                    seen=event.seen_at,
                    ended=event.event == "ended",
                )
                for event in events
            ]
        )


class PublisherSet:
    """The places of one worker; their owner closes them. Used by one thread."""

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
        """Start delivering, what waits from earlier runs first.

        Args:
            urls: ``https://``, ``mqtts://`` and ``tls://`` (a NATS server), or on this host ``http://``,
                ``mqtt://``, ``nats://`` and ``store:///FILE``; ``tcp://`` is bound here, for subscribers (ZeroMQ
                PUB).
            folder: what waits is kept there, a file for each place.
            presence: people of whom a broker is told whether they are there.
            console: address under which people reach the console, for Home Assistant to link to.
            allow_insecure: allow addresses on other hosts without encryption.
            hold: deliver nothing before :meth:`begin`.

        Raises:
            ConfigError: an address that is none, or the same twice.
            DeliveryError: an address cannot be bound, or a file not be opened.
        """
        self._outboxes: list[SpooledSink] = []
        self._publishers: list[BoundSocket] = []
        self._brokers: list[NamesMqtt] = []
        if len(set(urls)) < len(urls):
            raise ConfigError("--publish has the same address twice")
        with ExitStack() as opened:
            for url in urls:
                if url.startswith(("tcp://", "ipc://")):
                    if not url.startswith(LOOPBACK) and not allow_insecure:
                        raise ConfigError(
                            f"{url} can be reached from other hosts, and names are not encrypted there: bind "
                            "127.0.0.1, or say --allow-insecure on a network you trust"
                        )
                    self._publishers.append(
                        BoundSocket(zmq.PUB, url, allow_insecure=allow_insecure, options={zmq.SNDHWM: 10_000})
                    )
                    opened.callback(self._publishers[-1].close)
                else:
                    outbox, target = _outbox(url, folder, presence, console, allow_insecure, hold)
                    self._outboxes.append(outbox)
                    if isinstance(target, NamesMqtt):
                        self._brokers.append(target)
                    opened.callback(self._outboxes[-1].close, 0.0)
            opened.pop_all()

    def begin(
        self, present: Sequence[VisitEvent] = (), new_name: Callable[[str], str | None] = lambda name: name
    ) -> None:
        """Start delivering what was held.

        Args:
            present: the visits that are open, for places that tell who is there; not delivered as events.
            new_name: what somebody who is named in a waiting event is called now; ``None`` for nobody.
        """
        self.rename(new_name)
        for broker in self._brokers:
            broker.resume(present)
        for outbox in self._outboxes:
            outbox.start()

    def rename(self, new_name: Callable[[str], str | None]) -> None:
        """Let what waits go out under the names that hold now; see :meth:`begin`."""
        for outbox in self._outboxes:
            outbox.rewrite(lambda entry: renamed_line(entry.header, new_name))

    def publish(self, events: Sequence[VisitEvent]) -> None:
        """Take events, in order; when this returns they are on disk, or on their way to subscribers."""
        entries = [_entry(event) for event in events]
        for outbox in self._outboxes:
            outbox.put(entries)
        for publisher in self._publishers:
            for entry in entries:
                publisher.socket.send_multipart([entry.camera.encode(), entry.header])

    def people(self, known: Collection[str]) -> None:
        """Tell who can be named now; for any thread."""
        for broker in self._brokers:
            broker.people(known)

    def close(self) -> dict[str, DeliveryReport]:
        """Deliver what is pending for a moment, release everything; what remains goes out in the next run."""
        for outbox in self._outboxes:
            outbox.finish(LINGER_S)
        reports = {outbox.name: outbox.close(LINGER_S) for outbox in self._outboxes}
        for publisher in self._publishers:
            publisher.close()
        for name, report in reports.items():
            if report.kept:
                log.warning("names not delivered yet, kept for the next run", to=name, events=report.kept)
        return reports


def _entry(event: VisitEvent) -> EncodedShot:
    return EncodedShot(
        shot_id=event.id or f"{event.visit}/{event.event}/{event.shots}",
        camera=event.camera,
        track_id=event.track_id,
        header=msgspec.json.encode(event),
        crop=b"",
    )


def _outbox(
    url: str, folder: Path, presence: Sequence[str], console: str | None, allow_insecure: bool, hold: bool
) -> tuple[SpooledSink, Target]:
    try:
        kind = _KINDS.get(urlsplit(url).scheme)
    except ValueError:
        kind = None
    if kind is None:
        raise ConfigError(
            f"--publish {url.rpartition('@')[2]}: expected an https://, mqtts://, tls:// (NATS) or tcp:// address"
        )
    # By the place alone: what waits still goes out when a password has changed.
    place = urlsplit(url)._replace(netloc=urlsplit(url).netloc.rpartition("@")[2]).geturl()
    name = hashlib.sha256(place.encode()).hexdigest()[:16]
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
        reason = (
            str(error.errors()[0]["msg"])
            .removeprefix("Value error, ")
            .replace("set 'allow_insecure: true'", "add --allow-insecure")
        )
        raise ConfigError(f"--publish {url.rpartition('@')[2]}: {reason}") from None
    with ExitStack() as opened:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            reason = (error.strerror or "unknown error").lower()
            raise DeliveryError(f"cannot keep names in {folder}: {reason}") from error
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
        outbox = SpooledSink(target, spool, hold=hold)
        opened.pop_all()
    return outbox, target
