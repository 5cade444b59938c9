"""Home Assistant's MQTT device discovery: payloads, topics and identifiers. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from facegate.sinks import wire

DISCOVERY = "homeassistant"
BIRTH = f"{DISCOVERY}/status"
"""Home Assistant publishes ``online`` here when it starts or reconnects."""
CONFIGS = f"{DISCOVERY}/device/+/config"
ATTRIBUTES = ("shot_id", "track_id", "reason", "rank", "pts_s", "captured_at", "received_at", "box")
"""Fields of a shot's header shown as attributes of the quality."""
LIVE = "live"
"""State of a camera that delivers frames, see :class:`facegate.sinks.base.CameraStatus`."""

Components = dict[str, dict[str, Any]]


def identifier(name: str) -> str:
    """A name in the characters that Home Assistant allows; different names stay different."""
    plain = re.sub(r"[^a-zA-Z0-9_-]", "_", name)
    return plain if plain == name else f"{plain}_{blake2b(name.encode(), digest_size=4).hexdigest()}"


def readable(name: str) -> str:
    """A name for display: ``_`` becomes a space."""
    return " ".join(name.replace("_", " ").split()) or name


def camera_id(prefix: str, camera: str) -> str:
    """Identifier of a camera's device, shared by the announcements of gate and worker."""
    return identifier(f"{prefix}_{camera}")


def config_topic(object_id: str) -> str:
    """Topic where a device is announced."""
    return f"{DISCOVERY}/device/{object_id}/config"


def announcement(
    object_id: str,
    name: str,
    model: str,
    components: Mapping[str, Mapping[str, Any]],
    availability: str,
    *,
    device_id: str | None = None,
    console: str | None = None,
) -> dict[str, Any]:
    """The payload that announces a device.

    Args:
        object_id: in the topic.
        name: of the device.
        model: what the device is.
        components: entities by key; the default ``availability`` is the publisher's.
        availability: topic of the publisher's status.
        device_id: identifier of the device, ``object_id`` by default; prefix of each entity's unique id.
        console: URL that the device's page links to.
    """
    common = {"availability": [{"topic": availability}]}
    device = {
        "identifiers": [device_id or object_id],
        "name": name,
        "manufacturer": "facegate",
        "model": model,
        "sw_version": wire.SOFTWARE,
    }
    return {
        "device": device if console is None else device | {"configuration_url": console},
        "origin": {"name": "facegate", "sw_version": wire.SOFTWARE},
        "components": {
            key: common | dict(component) | {"unique_id": f"{device_id or object_id}_{key}"}
            for key, component in components.items()
        },
        "qos": 1,
    }


def encoded(payload: dict[str, Any]) -> bytes:
    """Encode a payload as JSON."""
    return msgspec.json.encode(payload)


def camera_announcement(
    prefix: str,
    camera: str,
    availability: str,
    *,
    context: bool,
    console: str | None = None,
    display_name: str | None = None,
) -> dict[str, Any]:
    """The payload that announces a camera of the gate.

    Args:
        prefix: of the topics.
        camera: its name.
        availability: topic of the gate's status.
        context: whether whole pictures come with the shots.
        console: URL that the device's page links to.
        display_name: the device's name, the camera's by default.

    Returns:
        entities for the connection, an event per shot for automations, the quality with the shot's data as
        attributes, and the pictures; all but the first are available while the camera delivers frames.
    """
    topic = f"{prefix}/{camera}"
    attributes = ", ".join(f"'{name}': value_json.{name}" for name in ATTRIBUTES)
    components: Components = {
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
            "state_topic": f"{topic}/quality",
            "value_template": "{{ value_json.value }}",
            "json_attributes_topic": f"{topic}/quality",
            "json_attributes_template": "{{ {" + attributes + "} | tojson }}",
        },
        "crop": {
            "platform": "image",
            "name": "Last face",
            "image_topic": f"{topic}/crop",
            "content_type": "image/jpeg",
        },
    }
    if context:
        components["context"] = {
            "platform": "image",
            "name": "Last picture",
            "image_topic": f"{topic}/context",
            "content_type": "image/jpeg",
        }
    delivers = {
        "topic": f"{topic}/state",
        "value_template": "{{ 'online' if value_json.state == '" + LIVE + "' else 'offline' }}",
    }
    for component in components.values():
        component["availability"] = [{"topic": availability}, delivers]
        component["availability_mode"] = "all"
    components["connection"] = {
        "platform": "binary_sensor",
        "name": "Connection",
        "device_class": "connectivity",
        "entity_category": "diagnostic",
        "state_topic": f"{topic}/state",
        "value_template": "{{ 'ON' if value_json.state == '" + LIVE + "' else 'OFF' }}",
        "json_attributes_topic": f"{topic}/state",
    }
    shown = display_name or readable(camera)
    return announcement(camera_id(prefix, camera), shown, "Camera", components, availability, console=console)


def device_name(payload: bytes) -> str | None:
    """The name of the device in an announcement; ``None`` if it has none."""
    try:
        return msgspec.json.decode(payload, type=_Announcement).device.name
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class _Device(msgspec.Struct, frozen=True):
    name: str


class _Announcement(msgspec.Struct, frozen=True):
    device: _Device
