"""A connection to an MQTT broker that reconnects, and the retained messages of the publisher.

A broker keeps the last retained message of each topic, or nothing when it restarts without persistence. Retained
messages are therefore remembered here: in memory, and in the output's spool across restarts. All are published at
every connect and when Home Assistant reports its start; obsolete ones are cleared, even if the broker was away at
that time.

MQTT 3.1.1, quality of service 1.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from threading import Event, RLock
from time import monotonic
from typing import Any
from urllib.parse import unquote, urlsplit

import structlog

from facegate.errors import DeliveryError
from facegate.extras import require
from facegate.sinks.mqtt.discovery import BIRTH, DISCOVERY
from facegate.sinks.spool import Spool
from facegate.sinks.wire import EncodedShot

PREFIX = "facegate"
CONNECT_S, ACKNOWLEDGE_S = 2.0, 10.0
POLL_INTERVAL_S = 0.2
REMOVED_RETENTION_S = 86_400.0
"""Time that a cleared device is remembered, in case Home Assistant was not running."""
MAX_REMOVED_TOPICS = 1000
PORTS = {"mqtt": 1883, "mqtts": 8883}

log = structlog.get_logger(__name__)


class Connection:
    """Publishes shots; one is delivered once the broker has acknowledged all of its messages."""

    batch_size = 16
    status = "status"
    """Availability topic below the prefix."""

    def __init__(self, url: str, spool: Spool | None = None) -> None:
        """Connect in the background and stay connected, so that Home Assistant sees the publisher as online.

        Args:
            url: ``mqtt://`` or ``mqtts://``, with user and password if the broker requires them, and the topic
                prefix as its path.
            spool: remembers the retained messages; its owner closes it after this.

        Raises:
            ConfigError: the ``mqtt`` extra is not installed.
        """
        require("mqtt", "MQTT")
        from paho.mqtt import client, enums

        self._make = partial(client.Client, enums.CallbackAPIVersion.VERSION2, clean_session=True)
        self._parts = urlsplit(url)
        self.prefix = self._parts.path.strip("/") or PREFIX
        self._host = self._parts.hostname or ""
        self._port = self._parts.port or PORTS[self._parts.scheme]
        self.name = f"{self._parts.scheme}://{self._host}:{self._port}/{self.prefix}"
        self._spool = spool
        self._connected = Event()
        self._problem = "cannot be reached"
        self.lock = RLock()
        """Held while retained messages change; never while the client is stopped, whose thread may need it."""
        self._kept: dict[str, bytes | None] = {}
        self._clearing: set[str] = set()
        self._clears: dict[int, str] = {}
        self._cleared_topics: dict[str, tuple[bytes, float]] = {}
        self._recall()
        self._client = self._started()

    # Retained messages

    def kept(self) -> dict[str, bytes | None]:
        """Retained payloads by topic; ``None`` for those of an earlier process that are not on disk."""
        with self.lock:
            return dict(self._kept)

    def keep(self, topic: str, payload: bytes, *, on_disk: bool = True) -> list[Any]:
        """Publish a retained message; with ``on_disk`` the payload survives a restart of this process."""
        with self.lock:
            if self._kept.get(topic) != payload:
                self._kept[topic] = payload
                self._clearing.discard(topic)
                self._cleared_topics.pop(topic, None)
                self.note(topic, payload if on_disk else None)
            return [self.post(topic, payload, retain=True)] if self._connected.is_set() else []

    def announce(self, topic: str, payload: bytes, *, on_disk: bool = True) -> list[Any]:
        """As :meth:`keep`, if the payload is new."""
        with self.lock:
            return [] if self._kept.get(topic) == payload else self.keep(topic, payload, on_disk=on_disk)

    def clear(self, topic: str) -> None:
        """Clear a topic of any publisher; retried until the broker has acknowledged."""
        with self.lock:
            payload = self._kept.pop(topic, None)
            if payload is not None and topic.startswith(f"{DISCOVERY}/"):
                self._cleared_topics[topic] = payload, monotonic() + REMOVED_RETENTION_S
                while len(self._cleared_topics) > MAX_REMOVED_TOPICS:
                    self._cleared_topics.pop(next(iter(self._cleared_topics)))
            self._clearing.add(topic)
            self.note(topic, b"")
            if self._connected.is_set():
                self._post_clear(topic)

    def drop(self, topic: str) -> None:
        """Forget a topic that another publisher has cleared."""
        with self.lock:
            if topic in self._kept:
                del self._kept[topic]
                self.forget(topic)

    def on_retained(self, topic: str, payload: bytes) -> None:
        """Handle a message of a subscription; called from the client's thread with the lock held."""

    def note(self, key: str, value: bytes | None) -> None:
        """Remember on disk; on a full disk the note is lost with the process."""
        if self._spool is not None:
            self._try(self._spool.remember, key, value)

    def forget(self, key: str, value: bytes | None = None) -> None:
        """Delete the note, if it has this value."""
        if self._spool is not None:
            self._try(self._spool.forget, key, value)

    def _try(self, write: Callable[[str, bytes | None], None], key: str, value: bytes | None) -> None:
        try:
            write(key, value)
        except DeliveryError as error:
            log.error("cannot save retained state", to=self.name, reason=str(error))

    def _recall(self) -> None:
        """Restore what an earlier process retained or had still to clear."""
        for topic, payload in () if self._spool is None else self._spool.remembered().items():
            if payload == b"":
                self._clearing.add(topic)
            else:
                self._kept[topic] = payload

    def leave(self, *topics: str) -> None:
        """Stop clearing these topics: another publisher uses them."""
        with self.lock:
            for topic in self._clearing & set(topics):
                self._cleared(topic)

    def _post_clear(self, topic: str) -> None:
        sent = self.post(topic, b"", retain=True)
        self._clears[sent.mid] = topic
        if sent.is_published():
            self._cleared(topic)

    def _cleared(self, topic: str) -> None:
        self._clearing.discard(topic)
        self.forget(topic, b"")

    def _post_everything(self) -> None:
        """Publish devices first, then their states, then the availability."""
        for topic in tuple(self._clearing):
            self._post_clear(topic)
        for topic, payload in sorted(self._kept.items(), key=lambda item: not item[0].startswith(f"{DISCOVERY}/")):
            if payload is not None:
                self.post(topic, payload, retain=True)
        self.post(self.topic(self.status), b"online", retain=True)

    def _on_home_assistant_start(self) -> None:
        """Publish all after a start of Home Assistant, which may still know devices cleared while it was down.

        It removes only devices it has discovered, so those are announced again, not retained, and cleared.
        """
        now = monotonic()
        for topic, (payload, until) in self._cleared_topics.items():
            if until > now:
                self.post(topic, payload)
                self.post(topic, b"")
        self._cleared_topics.clear()
        self._post_everything()

    # Delivery

    def deliver(self, entries: Sequence[EncodedShot]) -> None:
        """See :class:`facegate.sinks.spooled_sink.Target`."""
        if not self._connected.wait(CONNECT_S):
            raise DeliveryError(f"{self.name} {self._problem}")
        sent = [message for entry in entries for message in self.publish(entry)]
        deadline = monotonic() + ACKNOWLEDGE_S
        try:
            acknowledged = all(self._acknowledged(message, deadline) for message in sent)
        except (RuntimeError, ValueError):  # paho: the message was never queued, as the connection had gone
            acknowledged = False
        if not acknowledged:
            # A new client drops what this one still queues: the shots are sent again.
            self._end()
            self._client = self._started()
            raise DeliveryError(f"{self.name} did not acknowledge within {ACKNOWLEDGE_S:.0f} s")

    def _acknowledged(self, message: Any, deadline: float) -> bool:
        while not message.is_published():
            if monotonic() > deadline or not self._connected.is_set():
                return False
            message.wait_for_publish(POLL_INTERVAL_S)
        return True

    def publish(self, entry: EncodedShot) -> list[Any]:
        """Hand the messages of a shot to the client and return them."""
        raise NotImplementedError

    def close(self) -> None:
        """See :class:`facegate.sinks.spooled_sink.Target`."""
        # A broker that goes at this moment publishes the same as the last will.
        with contextlib.suppress(RuntimeError, ValueError):
            if self._connected.is_set():
                self.post(self.topic(self.status), b"offline", retain=True).wait_for_publish(1.0)
        self._end()

    def topic(self, *parts: str) -> str:
        """A topic below the prefix."""
        return "/".join((self.prefix, *parts))

    def post(self, topic: str, payload: bytes, *, retain: bool = False) -> Any:
        """Hand one message to the client."""
        return self._client.publish(topic, payload, qos=1, retain=retain)

    def _started(self) -> Any:
        """Start a client that connects and reconnects."""
        client = self._make()

        def on_connect(client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
            if reason.is_failure:
                self._problem = f"refuses the connection: {str(reason).lower()}"
                return
            client.subscribe([(topic, 1) for topic in (BIRTH, *self._subscribed())])

        def on_subscribe(client: Any, data: Any, mid: Any, reasons: Any, properties: Any) -> None:
            # Not before: after the connection's acknowledgement the client first repeats what was not acknowledged,
            # which is older than the retained messages.
            with self.lock:
                if client is self._client:
                    self._clears.clear()
                    self._post_everything()
                    self._connected.set()

        def on_message(client: Any, data: Any, message: Any) -> None:
            with self.lock:
                if client is not self._client:
                    return
                if message.topic == BIRTH:
                    if message.payload == b"online":
                        self._on_home_assistant_start()
                else:
                    self.on_retained(message.topic, message.payload)

        def on_publish(client: Any, data: Any, mid: Any, reason: Any, properties: Any) -> None:
            # Without the lock: the client holds its own here, and publishers take the two in the opposite order.
            topic = self._clears.pop(mid, None)
            if topic is not None:
                self._cleared(topic)

        def on_disconnect(client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
            if self._connected.is_set():
                self._problem = "closed the connection"
            self._connected.clear()

        client.on_connect, client.on_disconnect = on_connect, on_disconnect
        client.on_subscribe, client.on_message, client.on_publish = on_subscribe, on_message, on_publish
        if self._parts.username is not None:
            client.username_pw_set(unquote(self._parts.username), unquote(self._parts.password or ""))
        if self._parts.scheme == "mqtts":
            client.tls_set()
        client.will_set(self.topic(self.status), "offline", qos=1, retain=True)
        client.reconnect_delay_set(1, 30)
        client.connect_async(self._host, self._port, keepalive=30)
        self._client = client
        client.loop_start()
        return client

    def _subscribed(self) -> tuple[str, ...]:
        """Topics to subscribe to besides Home Assistant's birth message."""
        return ()

    def _end(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        self._connected.clear()
