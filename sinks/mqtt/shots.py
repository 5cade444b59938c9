"""Shots and camera states to an MQTT broker, with Home Assistant discovery.

Topics, ``PREFIX`` being the path of the URL or ``facegate``:

- ``PREFIX/CAMERA/state``: ``{"state": "live", "problem": null}`` and so on, retained;
- ``PREFIX/CAMERA/shot``: the header as JSON (docs/reference/wire.md), after its pictures; never retained;
- ``PREFIX/CAMERA/crop`` and ``PREFIX/CAMERA/context``: JPEG, retained by default;
- ``PREFIX/CAMERA/quality``: quality and data of the last shot, retained as the pictures are;
- ``PREFIX/onvif-mj/VideoAnalytics/CAMERA/facegate``: the shot as ONVIF metadata, if asked for; never retained;
- ``PREFIX/status``: ``online``, or ``offline`` (the gate's last will); retained;
- ``PREFIX/removed``: names of removed cameras, for workers on the same broker; retained;
- ``homeassistant/device/PREFIX_CAMERA/config``: discovery, retained.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from facegate.sinks import wire
from facegate.sinks.base import CameraStatus
from facegate.sinks.mqtt.connection import Connection
from facegate.sinks.mqtt.discovery import ATTRIBUTES, camera_announcement, camera_id, config_topic, encoded
from facegate.sinks.mqtt.onvif_metadata import frame_metadata, metadata_topic
from facegate.sinks.spool import Spool
from facegate.sinks.wire import EncodedShot

STATE = "/state"
REMOVED = "removed"
"""Topic below the prefix."""
MAX_REMOVED = 200
STARTING = CameraStatus("connecting")


class Mqtt(Connection):
    """Publishes each shot, and the state of each camera."""

    def __init__(
        self,
        url: str,
        spool: Spool | None = None,
        *,
        context: bool = False,
        console: str | None = None,
        retain: bool = True,
        onvif_metadata: bool = False,
    ) -> None:
        """See :class:`Connection`.

        Args:
            url: of the broker.
            spool: remembers the retained messages.
            context: shots carry whole pictures.
            console: URL that Home Assistant links to.
            retain: retain the last face, picture and quality of each camera.
            onvif_metadata: publish each shot as ONVIF Profile M metadata too.
        """
        self._onvif_metadata = onvif_metadata
        self._context, self._console, self._retain = context, console, retain
        self._present: frozenset[str] | None = None
        super().__init__(url, spool)

    def cameras(self, cameras: Mapping[str, CameraStatus], *, complete: bool) -> None:
        """See :class:`facegate.sinks.spooled_sink.AcceptsCameraStatus`."""
        with self.lock:
            self._present = frozenset(cameras) if complete else None
            for camera, status in cameras.items():
                payload = camera_announcement(
                    self.prefix,
                    camera,
                    self.topic(self.status),
                    context=self._context,
                    console=self._console,
                )
                self.announce(config_topic(camera_id(self.prefix, camera)), encoded(payload))
                self.announce(self.topic(camera, "state"), msgspec.json.encode(status), on_disk=False)
                self.leave(*of_worker(self.prefix, camera))
            gone = [topic for topic in self.kept() if topic not in self._wanted(cameras)]
            if complete:
                self._clear(gone, frozenset(cameras))
            else:  # another node may have taken the camera over
                for topic in gone:
                    self.drop(topic)

    def publish(self, entry: EncodedShot) -> list[Any]:
        """See :class:`Connection`."""
        header = wire.decode_header(entry.header)
        keeps = self._retain and (self._present is None or entry.camera in self._present)
        quality = {"value": header.quality.value} | {name: getattr(header, name) for name in ATTRIBUTES}
        sent = []
        for name, payload in (
            ("crop", entry.crop),
            ("context", entry.context),
            ("quality", msgspec.json.encode(quality)),
        ):
            topic = self.topic(entry.camera, name)
            if payload and keeps:
                # Pictures are not written to disk: after a restart of the gate, the broker still has them.
                sent += self.keep(topic, payload, on_disk=name == "quality")
            elif payload:
                sent.append(self.post(topic, payload))
        if self._onvif_metadata:
            topic = metadata_topic(self.prefix, entry.camera)
            sent.append(self.post(topic, msgspec.json.encode(frame_metadata(header))))
        return [*sent, self.post(self.topic(entry.camera, "shot"), msgspec.json.encode(header))]

    def _recall(self) -> None:
        super()._recall()
        # The broker may retain the last state of cameras that nobody has reached since.
        for topic in self._kept:
            if topic.startswith(f"{self.prefix}/") and topic.endswith(STATE):
                self._kept[topic] = msgspec.json.encode(STARTING)

    def _wanted(self, cameras: Iterable[str]) -> set[str]:
        current = {self.topic(REMOVED)}
        for camera in cameras:
            current |= {config_topic(camera_id(self.prefix, camera)), self.topic(camera, "state")}
            if self._retain:
                current |= {self.topic(camera, name) for name in ("crop", "context", "quality")}
        return current

    def _clear(self, gone: Iterable[str], present: frozenset[str]) -> None:
        """Clear the retained messages of removed cameras and of other prefixes."""
        start = f"{self.prefix}/"
        removed = [t[len(start) : -len(STATE)] for t in gone if t.startswith(start) and t.endswith(STATE)]
        for topic in gone:
            self.clear(topic)
        for camera in removed:
            for topic in of_worker(self.prefix, camera):
                self.clear(topic)
        self._announce_removed(removed, present)

    def _announce_removed(self, removed: list[str], present: frozenset[str]) -> None:
        topic = self.topic(REMOVED)
        known = self.kept().get(topic)
        before: list[str] = [] if known is None else msgspec.json.decode(known, type=list[str])
        names = [name for name in dict.fromkeys([*before, *removed]) if name not in present][-MAX_REMOVED:]
        if names != before:
            self.announce(topic, msgspec.json.encode(names))


def of_worker(prefix: str, camera: str) -> tuple[str, ...]:
    """Topics where a worker retains messages about a camera's visits."""
    return (
        config_topic(f"{camera_id(prefix, camera)}_names"),
        f"{prefix}/{camera}/person",
        f"{prefix}/{camera}/presence",
    )
