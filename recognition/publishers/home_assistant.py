"""Visit events and presence to an MQTT broker, with Home Assistant discovery.

Topics below the prefix (docs/reference/mqtt-and-nats.md):

- ``CAMERA/visit``: every event of a visit as JSON;
- ``CAMERA/person``: the last name given to a visit, retained;
- ``CAMERA/unknown``: the event of a visit that ended without a name;
- ``CAMERA/presence``: ``ON`` while a visit is open, retained;
- ``names/people/ID/presence``: the same for a person of ``--presence``, over all cameras;
- ``names/status``: ``online`` or ``offline``, retained.

Cameras and people are announced at every connect. People removed from the gallery and cameras removed from the gate
are cleared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec

from facegate.recognition.enrollment.names import same_name
from facegate.recognition.worker.visits import VisitEvent
from facegate.sinks.mqtt.connection import Connection
from facegate.sinks.mqtt.discovery import (
    CONFIGS,
    Components,
    announcement,
    camera_id,
    config_topic,
    device_name,
    encoded,
    identifier,
    readable,
)
from facegate.sinks.mqtt.shots import REMOVED, of_worker
from facegate.sinks.spool import Spool
from facegate.sinks.wire import EncodedShot

ON, OFF = b"ON", b"OFF"
STATUS = "names/status"
ATTRIBUTES = (
    *("name", "similarity", "margin", "fpir", "shots", "visit", "seen_at"),
    *("unknown_id", "seen_before", "first_seen"),
)


class Presence:
    """Open visits and their people. Pure logic; events are idempotent."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[str, str | None]] = {}

    def apply(self, event: VisitEvent) -> None:
        """Apply an event; one without a name removes the visit's name."""
        if event.event == "ended":
            self._open.pop(event.visit, None)
        elif event.event != "changed" or event.visit in self._open:  # a correction may come after the end
            self._open[event.visit] = event.camera, event.name

    def camera(self, camera: str) -> bool:
        """Whether a visit is open at a camera."""
        return any(where == camera for where, _ in self._open.values())

    def visit(self, visit: str) -> bool:
        """Whether a visit is open."""
        return visit in self._open

    def person(self, name: str) -> bool:
        """Whether a visit of a person is open at any camera."""
        return any(who == name for _, who in self._open.values())


class NamesMqtt(Connection):
    """Publishes the events of visits; see the module for the topics."""

    status = STATUS

    def __init__(
        self, url: str, people: Sequence[str] = (), spool: Spool | None = None, *, console: str | None = None
    ) -> None:
        """See :class:`Connection`.

        Args:
            url: of the broker.
            people: people whose presence is published.
            spool: remembers the retained messages.
            console: URL that Home Assistant links to.
        """
        self._presence = Presence()
        self._wanted = tuple(people)
        self._known: frozenset[str] | None = None
        self._ready = False
        self._removed: frozenset[str] = frozenset()
        self._console = console
        self._display_names: dict[str, str] = {}
        """What gates call the devices of cameras, by topic of the announcement."""
        super().__init__(url, spool)

    def people(self, known: Collection[str]) -> None:
        """Set who is enrolled; retained messages of all others are cleared."""
        with self.lock:
            self._known = frozenset(known)
            if self._ready:
                self._publish_people()

    def resume(self, present: Sequence[VisitEvent]) -> None:
        """Set the open visits at the start; until then, messages of an earlier process stay retained."""
        with self.lock:
            for event in present:
                self._apply(event)
            self._ready = True
            self._publish_people()

    def publish(self, entry: EncodedShot) -> list[Any]:
        """See :class:`Connection`."""
        event = msgspec.json.decode(entry.header, type=VisitEvent)
        with self.lock:
            if not self._ready:
                self.resume(())
            name = self._apply(event)
            return [*self._publish_people(), *self._publish_event(event, name)]

    def on_retained(self, topic: str, payload: bytes) -> None:
        """See :class:`Connection`."""
        if topic == self.topic(REMOVED):
            try:
                self._removed = frozenset(msgspec.json.decode(payload, type=list[str]) if payload else ())
            except (msgspec.DecodeError, UnicodeDecodeError):
                return
            for camera in self._cameras() & self._removed:
                self._clear_camera(camera)
        elif name := device_name(payload):
            if self._display_names.get(topic) != name:
                self._display_names[topic] = name
                for camera in self._cameras():
                    if topic == config_topic(camera_id(self.prefix, camera)):
                        self._announce_camera(camera)
        elif not payload:
            self._display_names.pop(topic, None)
            # The device was deleted in Home Assistant or by the gate: the next visit announces it again.
            for camera in self._cameras():
                topics = of_worker(self.prefix, camera)
                if topic == topics[0]:
                    for each in topics:
                        self.drop(each)

    def _subscribed(self) -> tuple[str, ...]:
        return (CONFIGS, self.topic(REMOVED))

    def _apply(self, event: VisitEvent) -> str | None:
        """Apply an event; return its name if that person is still enrolled."""
        name = event.name if self._known is None or event.name in self._known else None
        self._presence.apply(msgspec.structs.replace(event, name=name))
        return name

    def _publish_event(self, event: VisitEvent, name: str | None) -> Iterator[Any]:
        camera, line = event.camera, msgspec.json.encode(event)
        yield self.post(self.topic(camera, "visit"), line)
        if event.event == "ended" and event.name is None:
            yield self.post(self.topic(camera, "unknown"), line)
        if camera in self._removed or (event.event == "ended" and camera not in self._cameras()):
            return
        yield from self._announce_camera(camera)
        person = self.topic(camera, "person")
        kept, before = self.kept().get(person), None if event.before is None else event.before.encode()
        late = event.event == "changed" and not self._presence.visit(event.visit) and kept != before
        if event.event in ("named", "changed") and not late:
            if name is not None:
                yield from self.keep(person, name.encode())
            elif before is not None and kept == before:
                self.clear(person)
        yield from self.announce(self.topic(camera, "presence"), ON if self._presence.camera(camera) else OFF)

    def _announce_camera(self, camera: str) -> list[Any]:
        """Announce a camera's visits, under the name that its gate gives the device."""
        device = camera_id(self.prefix, camera)
        shown = self._display_names.get(config_topic(device))
        payload = camera_announcement(self.prefix, camera, console=self._console, display_name=shown)
        return self.announce(config_topic(f"{device}_names"), encoded(payload))

    def _publish_people(self) -> list[Any]:
        """Announce the selected people that are enrolled, with their presence; clear all others."""
        sent, current = [], set()
        for wanted in self._wanted:
            name = wanted if self._known is None else same_name(wanted, self._known)
            if name is None:
                continue
            object_id, payload = person_announcement(self.prefix, name, console=self._console)
            state = self.topic(*_person(name))
            current |= {config_topic(object_id), state}
            sent += self.announce(config_topic(object_id), encoded(payload))
            sent += self.announce(state, ON if self._presence.person(name) else OFF)
        self._clear_others(current)
        return sent

    def _clear_others(self, current: set[str]) -> None:
        for camera in self._cameras():
            current.update(of_worker(self.prefix, camera))
            who = self.kept().get(self.topic(camera, "person"))
            if who is not None and self._known is not None and who.decode() not in self._known:
                current.discard(self.topic(camera, "person"))
            self.announce(self.topic(camera, "presence"), ON if self._presence.camera(camera) else OFF)
        for topic in self.kept():
            if topic not in current:
                self.clear(topic)

    def _clear_camera(self, camera: str) -> None:
        for topic in of_worker(self.prefix, camera):
            self.clear(topic)

    def _cameras(self) -> set[str]:
        """Announced cameras."""
        start, end = f"{self.prefix}/", "/presence"
        found = {t[len(start) : -len(end)] for t in self.kept() if t.startswith(start) and t.endswith(end)}
        return {camera for camera in found if "/" not in camera}


def _person(name: str) -> tuple[str, ...]:
    return ("names", "people", identifier(name), "presence")


def camera_announcement(
    prefix: str, camera: str, *, console: str | None = None, display_name: str | None = None
) -> dict[str, Any]:
    """Payload for a camera's visits, part of the device that the gate announces for that camera.

    Returns:
        entities for the last person, unknown visits, and occupancy.
    """
    topic = f"{prefix}/{camera}"
    attributes = ", ".join(f"'{name}': value_json.{name}" for name in ATTRIBUTES)
    components: Components = {
        "person": {
            "platform": "sensor",
            "name": "Last person",
            "icon": "mdi:account",
            "state_topic": f"{topic}/person",
            "value_template": "{{ value | replace('_', ' ') if value else None }}",
        },
        "unknown": {
            "platform": "event",
            "name": "Unknown person",
            "event_types": ["unknown"],
            "state_topic": f"{topic}/unknown",
            "value_template": "{{ {'event_type': 'unknown', " + attributes + "} | tojson }}",
        },
        "presence": {
            "platform": "binary_sensor",
            "name": "Somebody",
            "device_class": "occupancy",
            "state_topic": f"{topic}/presence",
        },
    }
    device = camera_id(prefix, camera)
    return announcement(
        f"{device}_names",
        display_name or readable(camera),
        "Camera",
        components,
        f"{prefix}/{STATUS}",
        device_id=device,
        console=console,
    )


def person_announcement(prefix: str, name: str, *, console: str | None = None) -> tuple[str, dict[str, Any]]:
    """Object id and payload for a person's presence over all cameras."""
    object_id = identifier(f"{prefix}_person_{name}")
    presence = {
        "platform": "binary_sensor",
        "name": "presence",  # after the person's: "Ada Lovelace presence"
        "device_class": "presence",
        "state_topic": "/".join((prefix, *_person(name))),
    }
    return object_id, announcement(
        object_id, readable(name), "Person", {"presence": presence}, f"{prefix}/{STATUS}", console=console
    )
