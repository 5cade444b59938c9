"""Records in the fleet's bucket and derived from it. Unix times are informative only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import quote, unquote

import msgspec

from facegate.errors import FleetError

VERSION = 1
"""Format version of the bucket."""
GATE, CAMERA, DRAIN, PAUSE, KEPT = "gate", "camera", "drain", "pause", "kept"
"""Key prefixes."""


class WatchedCamera(msgspec.Struct, frozen=True):
    """State of a camera, reported by the node that watches it."""

    state: str
    since: float
    """Unix time of the lease."""
    processed_fps: float = 0.0


class NodeStatus(msgspec.Struct, frozen=True):
    """Status that a node reports with each renewal of its session."""

    host: str
    tags: tuple[str, ...] = ()
    capacity: float = 1.0
    max_cameras: int = 64
    load: float = 0.0
    config: int = 0
    config_error: Mapping[str, str] = {}
    problem: str = ""
    cameras: Mapping[str, WatchedCamera] = {}


class NodeSession(msgspec.Struct, frozen=True, omit_defaults=True):
    """Value of ``gate.ID``: a live node. The node renews it; others end it when it is too old.

    ``session`` is empty once the node has left or its session was ended.
    """

    session: str = ""
    """Unique per session of the node."""
    seq: int = 0
    """Number of the renewal."""
    host: str = ""
    tags: tuple[str, ...] = ()
    capacity: float = 0.0
    """Processed frames per second that it can sustain."""
    max_cameras: int = 0
    """Maximum number of cameras."""
    load: float = 0.0
    """Measured share of its capacity in use."""
    config: int = 0
    """Revision of the configuration in use."""
    cameras: dict[str, WatchedCamera] = {}
    config_error: dict[str, str] = {}
    """Cameras that it cannot watch, and why."""
    problem: str = ""
    """Problem of the node itself; empty if there is none."""

    @property
    def alive(self) -> bool:
        """Whether the session is active."""
        return bool(self.session)


class Lease(msgspec.Struct, frozen=True, omit_defaults=True):
    """Value of ``camera.NAME``: the camera's node while its session lasts. The revision is the fencing token.

    Both fields are empty for a camera without a node.
    """

    gate: str = ""
    session: str = ""


class CameraRequest(msgspec.Struct, frozen=True):
    """A camera to watch."""

    camera: str
    cost: float
    """Processed frames per second that it needs."""
    hosts: tuple[str, ...] = ()
    """Hosts that can reach it; empty: all."""
    tags: tuple[str, ...] = ()
    """Capability tags that its node must have, all of them."""
    group: str = ""
    """Cameras that share recent people; preferably on one node."""


class NodeCapacity(msgspec.Struct, frozen=True):
    """A node that can watch cameras."""

    gate: str
    host: str
    tags: tuple[str, ...]
    capacity: float
    max_cameras: int
    leaving: bool = False
    """Draining: takes no cameras and hands over those it has."""
    is_silent: bool = False
    """Overdue with its renewal: it keeps its cameras and gets no more."""
    config_error: frozenset[str] = frozenset()

    def accepts(self, request: CameraRequest) -> bool:
        """Whether it may watch this camera."""
        return (
            not self.leaving
            and (not request.hosts or self.host in request.hosts)
            and set(request.tags) <= set(self.tags)
            and request.camera not in self.config_error
        )


Value = TypeVar("Value", NodeSession, Lease)


def decode(value: bytes, kind: type[Value]) -> Value:
    """Decode a value of the bucket; an empty value gives the defaults.

    Raises:
        FleetError: the value is invalid.
    """
    try:
        return msgspec.json.decode(value, type=kind) if value else kind()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        what = "lease" if kind is Lease else "session"
        raise FleetError(f"invalid {what} record in the fleet bucket: {error}") from error


def key(word: str, name: str) -> str:
    """The key of a node or camera.

    Keys consist of letters, digits, ``-``, ``_``, ``=`` and separating dots. Other bytes of a name's UTF-8 are
    written as ``=`` and two hexadecimal digits.
    """
    return f"{word}.{quote(name, safe='').replace('.', '%2E').replace('~', '%7E').replace('%', '=')}"


def parse_key(text: str) -> tuple[str, str]:
    """Prefix and name of a key."""
    word, _, name = text.partition(".")
    return word, unquote(name.replace("=", "%"))
