"""What the fleet's bucket holds, and what is derived from it. Its times are Unix times, for people alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import quote, unquote

import msgspec

from facegate.errors import FleetError

VERSION = 1
"""Of everything in the bucket."""
GATE, CAMERA, DRAIN, PAUSE, KEPT = "gate", "camera", "drain", "pause", "kept"
"""First words of keys."""


class WatchedCamera(msgspec.Struct, frozen=True):
    """How a camera is doing, as the gate that watches it tells."""

    state: str
    since: float
    """Unix time of the lease."""
    processed_fps: float = 0.0


class NodeStatus(msgspec.Struct, frozen=True):
    """What a gate tells of itself with each renewal."""

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
    """Value of ``gate.ID``: a gate is there. It renews this; whoever finds it too old ends it.

    A gate that was ended, or has left, has an empty ``session``.
    """

    session: str = ""
    """Another one whenever the gate begins anew."""
    seq: int = 0
    """Of the renewal."""
    host: str = ""
    tags: tuple[str, ...] = ()
    capacity: float = 0.0
    """Looks per second that it can sustain."""
    max_cameras: int = 0
    """Cameras that it takes at most."""
    load: float = 0.0
    """Share of its capacity that is used, as it measures it."""
    config: int = 0
    """Revision of the configuration that it follows."""
    cameras: dict[str, WatchedCamera] = {}
    config_error: dict[str, str] = {}
    """Cameras that it cannot watch, and why."""
    problem: str = ""
    """What is wrong with the gate itself."""

    @property
    def alive(self) -> bool:
        """Whether it is neither over nor ended."""
        return bool(self.session)


class Lease(msgspec.Struct, frozen=True, omit_defaults=True):
    """Value of ``camera.NAME``: whose the camera is, as long as that gate's session lasts. Its revision fences.

    A camera that was given to nobody has neither.
    """

    gate: str = ""
    session: str = ""


class CameraRequest(msgspec.Struct, frozen=True):
    """A camera that somebody should watch."""

    camera: str
    cost: float
    """Looks per second that it wants."""
    hosts: tuple[str, ...] = ()
    """Hosts that reach it; all do where empty."""
    tags: tuple[str, ...] = ()
    """What its gate must have, each."""
    group: str = ""
    """Cameras that share whom they saw; they had better have one gate."""


class NodeCapacity(msgspec.Struct, frozen=True):
    """A gate that could watch cameras."""

    gate: str
    host: str
    tags: tuple[str, ...]
    capacity: float
    max_cameras: int
    leaving: bool = False
    """Takes nothing more, and gives away what it has."""
    is_silent: bool = False
    """Has not been heard of when it should have: it keeps what it has and gets nothing more."""
    config_error: frozenset[str] = frozenset()

    def accepts(self, wish: CameraRequest) -> bool:
        """Whether it may ever watch this camera."""
        return (
            not self.leaving
            and (not wish.hosts or self.host in wish.hosts)
            and set(wish.tags) <= set(self.tags)
            and wish.camera not in self.config_error
        )


Value = TypeVar("Value", NodeSession, Lease)


def decode(value: bytes, kind: type[Value]) -> Value:
    """Read a value of the bucket; an empty one is one with nothing in it.

    Raises:
        FleetError: it is none.
    """
    try:
        return msgspec.json.decode(value, type=kind) if value else kind()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        what = kind.__name__.lower()
        raise FleetError(f"the fleet's bucket holds something that is no {what}: {error}") from error


def key(word: str, name: str) -> str:
    """The key of a gate or camera.

    A key has letters, digits, ``-``, ``_``, ``=``, and dots that separate. What else is in a name is written as the
    hexadecimal of its UTF-8, each byte behind a ``=``.
    """
    return f"{word}.{quote(name, safe='').replace('.', '%2E').replace('~', '%7E').replace('%', '=')}"


def parse_key(text: str) -> tuple[str, str]:
    """First word and name of a key."""
    word, _, name = text.partition(".")
    return word, unquote(name.replace("=", "%"))
