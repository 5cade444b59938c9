"""A node's view of the bucket: the last revision of every key, and when it was first seen. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic

import msgspec

from facegate.fleet.records import CAMERA, DRAIN, GATE, PAUSE, Lease, NodeSession, Value, decode, parse_key


class NodeRecord(Generic[Value]):
    """Value of a key."""

    __slots__ = ("revision", "since", "value")

    def __init__(self, revision: int, value: Value, since: float) -> None:
        self.revision = revision
        self.value: Value = value
        self.since = since
        """Monotonic time of this host when this revision was first seen."""


class BucketView:
    """The bucket as far as it has been seen."""

    def __init__(self) -> None:
        self.gates: dict[str, NodeRecord[NodeSession]] = {}
        self.leases: dict[str, NodeRecord[Lease]] = {}
        self.drained: set[str] = set()
        self.paused: set[str] = set()
        self.members_since = 0.0
        """When a node last joined, left, or changed its capacity or tags."""
        self.changes = 0
        """Incremented by every change that placement depends on."""
        self._awaited: set[str] | None = None

    def restart(self) -> None:
        """Prepare for a new watch: keys that it does not report have been deleted meanwhile."""
        self._awaited = {f"{GATE}.{name}" for name in self.gates} | {f"{CAMERA}.{name}" for name in self.leases}
        self.drained.clear()
        self.paused.clear()

    def complete(self, now: float) -> None:
        """Handle the end of the initial values."""
        for text in self._awaited or ():
            word, _, name = text.partition(".")
            (self.gates if word == GATE else self.leases).pop(name, None)
        self._awaited = None
        self.members_since = now
        self.changes += 1

    def on_update(self, key: str, value: bytes, revision: int, now: float) -> None:
        """Handle a new value of a key; empty if the key was deleted.

        Raises:
            FleetError: the value is invalid.
        """
        word, name = parse_key(key)
        if self._awaited is not None:
            self._awaited.discard(f"{word}.{name}")
        if word == GATE:
            self._on_session(name, decode(value, NodeSession), revision, now)
        elif word == CAMERA:
            known = self.leases.get(name)
            if known is None or known.revision < revision:
                self.leases[name] = NodeRecord(revision, decode(value, Lease), now)
                self.changes += 1
        elif word in (DRAIN, PAUSE):
            marked = self.drained if word == DRAIN else self.paused
            (marked.add if value else marked.discard)(name)
            self.changes += 1

    def _on_session(self, name: str, session: NodeSession, revision: int, now: float) -> None:
        known = self.gates.get(name)
        if known is not None and known.revision >= revision:
            return
        self.gates[name] = NodeRecord(revision, session, now)
        if known is None or _capabilities(known.value) != _capabilities(session):
            self.members_since = now
            self.changes += 1

    def alive(self) -> Iterator[tuple[str, NodeRecord[NodeSession]]]:
        """Nodes with an active session."""
        return ((name, seen) for name, seen in self.gates.items() if seen.value.alive)

    def owner(self, camera: str) -> str | None:
        """The node that has the camera, or ``None``."""
        seen = self.leases.get(camera)
        if seen is None or not seen.value.session:
            return None
        gate = self.gates.get(seen.value.gate)
        return seen.value.gate if gate is not None and gate.value.session == seen.value.session else None


def _capabilities(session: NodeSession) -> NodeSession:
    """The fields that placement depends on."""
    return msgspec.structs.replace(session, seq=0, load=0.0, config=0, cameras={}, problem="")
