"""Shots to an MQTT broker, with what Home Assistant needs to find each camera by itself.

Topics, ``PREFIX`` being the path of the URL or ``facegate``:

- ``PREFIX/CAMERA/shot``: the header as JSON (docs/wire.md), after its pictures;
- ``PREFIX/CAMERA/crop`` and ``PREFIX/CAMERA/context``: JPEG;
- ``PREFIX/status``: ``online``, or ``offline`` by the broker itself when the gate is gone; retained;
- ``homeassistant/device/PREFIX_CAMERA/config``: discovery, retained, before a camera's first shot.

MQTT 3.1.1, quality of service 1. Shots are not retained: a broker is no archive of faces.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from hashlib import blake2b
from threading import Event
from time import monotonic
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from facegate.errors import ConfigError, DeliveryError
from facegate.sinks import wire
from facegate.sinks.wire import Entry

PREFIX = "facegate"
DISCOVERY = "homeassistant"
CONNECT_S, ACKNOWLEDGE_S = 2.0, 10.0
LOOK_S = 0.2
PORTS = {"mqtt": 1883, "mqtts": 8883}
ATTRIBUTES = ("shot_id", "track_id", "reason", "rank", "pts_s", "captured_at", "received_at", "box")
"""Of the header, what Home Assistant shows beside the quality."""


class Mqtt:
    """Publishes each shot; one is delivered when the broker has acknowledged all of its messages."""

    together = 16
    status = "status"
    """Topic below the prefix where the broker says whether whoever publishes is there."""

    def __init__(self, url: str) -> None:
        """Start connecting, and stay connected, so that Home Assistant knows whether the gate is there.

        Args:
            url: ``mqtt://`` or ``mqtts://``, with user and password where the broker asks for them, and the topic
                prefix as its path.

        Raises:
            ConfigError: the ``mqtt`` extra is not installed.
        """
        try:
            from paho.mqtt import client, enums
        except ImportError as error:
            raise ConfigError("MQTT needs paho-mqtt: pip install 'facegate[mqtt]'") from error
        self._make = partial(client.Client, enums.CallbackAPIVersion.VERSION2, clean_session=True)
        self._parts = urlsplit(url)
        self.prefix = self._parts.path.strip("/") or PREFIX
        self._host = self._parts.hostname or ""
        self._port = self._parts.port or PORTS[self._parts.scheme]
        self.name = f"{self._parts.scheme}://{self._host}:{self._port}/{self.prefix}"
        self._connected = Event()
        self._problem = "cannot be reached"
        self._announced: set[tuple[str, bool]] = set()
        self._client = self._started()

    def deliver(self, entries: Sequence[Entry]) -> None:
        """See :class:`facegate.sinks.outbox.Target`."""
        if not self._connected.wait(CONNECT_S):
            raise DeliveryError(f"{self.name} {self._problem}")
        sent = [message for entry in entries for message in self.publish(entry)]
        deadline = monotonic() + ACKNOWLEDGE_S
        for message in sent:
            while not message.is_published():
                if monotonic() > deadline or not self._connected.is_set():
                    # What this client still holds must not pile up: the same shots come again.
                    self._end()
                    self._client = self._started()
                    raise DeliveryError(f"{self.name} has not acknowledged what was sent")
                message.wait_for_publish(LOOK_S)

    def close(self) -> None:
        """See :class:`facegate.sinks.outbox.Target`."""
        if self._connected.is_set():
            self.post(self.topic(self.status), b"offline", retain=True).wait_for_publish(1.0)
        self._end()

    def topic(self, *parts: str) -> str:
        """A topic below the prefix."""
        return "/".join((self.prefix, *parts))

    def publish(self, entry: Entry) -> list[Any]:
        """Hand an entry's messages to the client; they are delivered when the broker has acknowledged all."""
        header = wire.decode_header(entry.header)
        sent = self._announce(entry)
        pictures = [("crop", entry.crop)] + ([("context", entry.context)] if entry.context else [])
        for name, payload in [*pictures, ("shot", msgspec.json.encode(header))]:
            sent.append(self.post(self.topic(entry.camera, name), payload))
        return sent

    def post(self, topic: str, payload: bytes, *, retain: bool = False) -> Any:
        """Hand one message to the client."""
        return self._client.publish(topic, payload, qos=1, retain=retain)

    def _announce(self, entry: Entry) -> list[Any]:
        """Tell Home Assistant of a camera, once in each connection."""
        key = (entry.camera, bool(entry.context))
        if key in self._announced:
            return []
        self._announced.add(key)
        device, payload = discovery(self.prefix, *key)
        topic = f"{DISCOVERY}/device/{device}/config"
        return [self.post(topic, msgspec.json.encode(payload), retain=True)]

    def connected(self) -> None:
        """The connection is new: nothing is announced on it."""
        self._announced = set()

    def _started(self) -> Any:
        """A client that connects by itself, again and again."""
        client = self._make()

        def on_connect(client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
            if reason.is_failure:
                self._problem = f"refuses the connection: {str(reason).lower()}"
                return
            self.connected()
            client.publish(self.topic(self.status), "online", qos=1, retain=True)
            self._connected.set()

        def on_disconnect(client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
            if self._connected.is_set():
                self._problem = "has gone away"
            self._connected.clear()

        client.on_connect, client.on_disconnect = on_connect, on_disconnect
        if self._parts.username is not None:
            client.username_pw_set(unquote(self._parts.username), unquote(self._parts.password or ""))
        if self._parts.scheme == "mqtts":
            client.tls_set()
        client.will_set(self.topic(self.status), "offline", qos=1, retain=True)
        client.reconnect_delay_set(1, 30)
        client.connect_async(self._host, self._port, keepalive=30)
        client.loop_start()
        return client

    def _end(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        self._connected.clear()


def discovery(prefix: str, camera: str, context: bool) -> tuple[str, dict[str, Any]]:
    """Home Assistant's view of a camera (MQTT device discovery): its id, and the payload.

    Args:
        prefix: of the topics.
        camera: its name.
        context: whether whole pictures come with the shots.

    Returns:
        an event per shot to start automations by, the quality with the shot's data as attributes, and the pictures.
    """
    device = identifier(f"{prefix}_{camera}")
    topic = f"{prefix}/{camera}"
    attributes = ", ".join(f"'{name}': value_json.{name}" for name in ATTRIBUTES)
    kinds: dict[str, dict[str, Any]] = {
        "shot": {
            "platform": "event",
            "name": "Face",
            "event_types": ["face"],
            "state_topic": f"{topic}/shot",
            "value_template": "{{ {'event_type': 'face', 'quality': value_json.quality.value, "
            + attributes
            + "} | tojson }}",
        },
        "quality": {
            "platform": "sensor",
            "name": "Face quality",
            "icon": "mdi:face-recognition",
            "state_class": "measurement",
            "force_update": True,
            "state_topic": f"{topic}/shot",
            "value_template": "{{ value_json.quality.value }}",
            "json_attributes_topic": f"{topic}/shot",
            "json_attributes_template": "{{ {" + attributes + "} | tojson }}",
        },
        "crop": {"platform": "image", "name": "Last face", "image_topic": f"{topic}/crop"},
    }
    if context:
        kinds["context"] = {"platform": "image", "name": "Last picture", "image_topic": f"{topic}/context"}
    for name, kind in kinds.items():
        kind["unique_id"] = f"{device}_{name}"
        kind["availability_topic"] = f"{prefix}/status"
        if kind["platform"] == "image":
            kind["content_type"] = "image/jpeg"
    payload = {
        "device": {
            "identifiers": [device],
            "name": camera,
            "manufacturer": "facegate",
            "sw_version": wire.SOFTWARE,
        },
        "origin": {"name": "facegate", "sw_version": wire.SOFTWARE},
        "components": kinds,
        "qos": 1,
    }
    return device, payload


def identifier(name: str) -> str:
    """A name in the letters that Home Assistant allows; names that differ stay different."""
    plain = re.sub(r"[^a-zA-Z0-9_-]", "_", name)
    return plain if plain == name else f"{plain}_{blake2b(name.encode(), digest_size=4).hexdigest()}"
