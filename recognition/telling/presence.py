"""Names to an MQTT broker, and who is there, as Home Assistant shows it.

Topics below the prefix (docs/recognition.md):

- ``CAMERA/visit``: every event of a visit as JSON;
- ``CAMERA/person``: the name, when a visit got one;
- ``CAMERA/unknown``: the event, when a visit ended without a name, and then alone;
- ``CAMERA/presence``: ``ON`` while a visit is open, retained;
- ``names/people/ID/presence``: the same for a person who was asked about with ``--presence``, wherever the camera;
- ``names/status``: ``online`` or ``offline``, retained.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from facegate.recognition.working.visits import VisitEvent
from facegate.sinks import wire
from facegate.sinks.mqtt import DISCOVERY, Mqtt, identifier
from facegate.sinks.wire import Entry

ON, OFF = b"ON", b"OFF"
Message = tuple[str, bytes, bool]
"""Topic, payload, whether the broker keeps it."""
ATTRIBUTES = ("name", "similarity", "margin", "fpir", "shots", "visit", "seen_at")


class Presence:
    """Which visits are open, and whose. Pure logic; hearing an event twice changes nothing."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[str, str | None]] = {}

    def hear(self, event: VisitEvent) -> set[str]:
        """Take an event; return the people whose presence it may have changed."""
        before = self._open.pop(event.visit, (event.camera, None))[1]
        if event.event != "ended":
            self._open[event.visit] = (event.camera, event.name)
        return {name for name in (before, event.name) if name is not None}

    def camera(self, camera: str) -> bool:
        """Whether a visit is open there."""
        return any(where == camera for where, _ in self._open.values())

    def person(self, name: str) -> bool:
        """Whether a visit of that person is open anywhere."""
        return any(who == name for _, who in self._open.values())


class NamesMqtt(Mqtt):
    """Publishes the events of visits; see the module for the topics."""

    status = "names/status"

    def __init__(self, url: str, people: Sequence[str] = ()) -> None:
        """See :class:`Mqtt`.

        Args:
            url: of the broker.
            people: of whom presence is told.
        """
        self._presence = Presence()
        self._people = tuple(people)
        self._cameras: set[str] = set()
        self._told_people = False
        super().__init__(url)

    def resume(self, present: Sequence[VisitEvent]) -> None:
        """See :class:`facegate.recognition.telling.places.TellsPresence`."""
        for event in present:
            self._presence.hear(event)

    def connected(self) -> None:
        """See :class:`Mqtt`."""
        super().connected()
        self._cameras = set()
        self._told_people = False

    def publish(self, entry: Entry) -> list[Any]:
        """See :class:`Mqtt`."""
        event = msgspec.json.decode(entry.header, type=VisitEvent)
        changed = self._presence.hear(event)
        messages = [*self._announcements(event.camera), *self._messages(event, changed)]
        return [self.post(topic, payload, retain=retain) for topic, payload, retain in messages]

    def _messages(self, event: VisitEvent, changed: set[str]) -> Iterator[Message]:
        camera, line = event.camera, msgspec.json.encode(event)
        yield self.topic(camera, "visit"), line, False
        if event.event in ("named", "changed") and event.name is not None:
            yield self.topic(camera, "person"), event.name.encode(), False
        if event.event == "ended" and event.name is None:
            yield self.topic(camera, "unknown"), line, False
        if event.event in ("seen", "ended"):
            yield self._camera_state(camera)
        yield from (self._person_state(name) for name in self._people if name in changed)

    def _announcements(self, camera: str) -> Iterator[Message]:
        """Discovery and the present state, once in each connection."""
        if not self._told_people:
            self._told_people = True
            for name in self._people:
                yield _discovered(*person_discovery(self.prefix, name))
                yield self._person_state(name)
        if camera not in self._cameras:
            self._cameras.add(camera)
            yield _discovered(*camera_discovery(self.prefix, camera))
            yield self._camera_state(camera)

    def _camera_state(self, camera: str) -> Message:
        return self.topic(camera, "presence"), ON if self._presence.camera(camera) else OFF, True

    def _person_state(self, name: str) -> Message:
        return self.topic(*_person(name)), ON if self._presence.person(name) else OFF, True


def _discovered(device: str, payload: dict[str, Any]) -> Message:
    return f"{DISCOVERY}/device/{device}/config", msgspec.json.encode(payload), True


def _person(name: str) -> tuple[str, ...]:
    return ("names", "people", identifier(name), "presence")


def camera_discovery(prefix: str, camera: str) -> tuple[str, dict[str, Any]]:
    """Home Assistant's view of a camera's visits: its id, and the payload.

    They join the device that the gate announces for the same camera (:func:`facegate.sinks.mqtt.discovery`).
    """
    device, topic = identifier(f"{prefix}_{camera}"), f"{prefix}/{camera}"
    attributes = ", ".join(f"'{name}': value_json.{name}" for name in ATTRIBUTES)

    def happened(kind: str) -> str:
        return "{{ {'event_type': '" + kind + "', " + attributes + "} | tojson }}"

    components: dict[str, dict[str, Any]] = {
        "person": {
            "platform": "sensor",
            "name": "Last person",
            "icon": "mdi:account",
            "state_topic": f"{topic}/person",
        },
        "unknown": {
            "platform": "event",
            "name": "Unknown person",
            "event_types": ["unknown"],
            "state_topic": f"{topic}/unknown",
            "value_template": happened("unknown"),
        },
        "presence": {
            "platform": "binary_sensor",
            "name": "Somebody",
            "device_class": "occupancy",
            "state_topic": f"{topic}/presence",
        },
    }
    return f"{device}_names", _device(prefix, device, camera, components)


def person_discovery(prefix: str, name: str) -> tuple[str, dict[str, Any]]:
    """Home Assistant's view of a person: its id, and the payload."""
    device = identifier(f"{prefix}_person_{name}")
    presence = {
        "platform": "binary_sensor",
        "name": "Presence",
        "device_class": "presence",
        "state_topic": "/".join((prefix, *_person(name))),
    }
    return device, _device(prefix, device, name, {"presence": presence})


def _device(prefix: str, device: str, name: str, components: dict[str, dict[str, Any]]) -> dict[str, Any]:
    for key, component in components.items():
        component["unique_id"] = f"{device}_{key}"
        component["availability_topic"] = f"{prefix}/{NamesMqtt.status}"
    return {
        "device": {
            "identifiers": [device],
            "name": name,
            "manufacturer": "facegate",
            "sw_version": wire.SOFTWARE,
        },
        "origin": {"name": "facegate", "sw_version": wire.SOFTWARE},
        "components": components,
        "qos": 1,
    }
