"""Exchange between nodes: people that a group of cameras has let through, and learned state of cameras.

The first is published on a subject, not stored, and may be lost: then a person is sent twice. The second is a key
of the bucket, written periodically and before the camera is handed off.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock
from time import monotonic

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from facegate.pipeline.gating.factory import LearnedState
from facegate.pipeline.gating.policies import MAX_RECENT_PEOPLE
from facegate.pipeline.records import PeerSighting

SUBJECT = "facegate.sightings"
KEEP_S = 60.0
MAX_MESSAGE_BYTES = 64 * 1024
MAX_AGE_S = 3600.0

log = structlog.get_logger(__name__)


class SightingMessage(msgspec.Struct, frozen=True, array_like=True):
    """A person was let through; MessagePack."""

    gate: str
    model: str
    """Model of the embedding; only embeddings of one model can be compared."""
    group: str
    age_s: float
    """Time since then, s."""
    embedding: bytes
    """Unit length, float16, little-endian."""


class PeerExchange:
    """Queues outgoing and decodes incoming messages; thread-safe. A
    :class:`~facegate.pipeline.gating.factory.FleetPeers`."""

    def __init__(self, gate: str, on_sighting: Callable[[PeerSighting], None]) -> None:
        """Create; ``on_sighting`` is called with every sighting of another node."""
        self.model = ""
        """Model of this node's embeddings; empty while there is no run."""
        self._gate, self._on_sighting = gate, on_sighting
        self._lock = Lock()
        self._met: deque[tuple[float, str, bytes]] = deque(maxlen=MAX_RECENT_PEOPLE)
        self._learned: dict[str, LearnedState] = {}
        self._kept: dict[str, bytes] = {}
        self._kept_s: dict[str, float] = {}

    def on_sighting(self, group: str, embedding: NDArray[np.float32], at_s: float) -> None:
        """See :class:`~facegate.pipeline.gating.factory.FleetPeers`."""
        self._met.append((at_s, group, embedding.astype("<f2").tobytes()))

    def on_learned_state(self, camera: str, learned: LearnedState) -> None:
        """See :class:`~facegate.pipeline.gating.factory.FleetPeers`."""
        with self._lock:
            self._learned[camera] = learned

    def outgoing(self) -> list[bytes]:
        """Remove and return the messages to send."""
        now = monotonic()
        taken = [self._met.popleft() for _ in range(len(self._met))]
        return [
            msgspec.msgpack.encode(SightingMessage(self._gate, self.model, group, round(now - at_s, 3), embedding))
            for at_s, group, embedding in taken
        ]

    def on_message(self, message: bytes) -> None:
        """Handle a message; invalid ones are logged and ignored."""
        if len(message) > MAX_MESSAGE_BYTES:
            return
        try:
            sighting = msgspec.msgpack.decode(message, type=SightingMessage)
            unit = np.frombuffer(sighting.embedding, "<f2").astype("<f4")
        except (msgspec.DecodeError, ValueError) as error:
            log.error("invalid peer message ignored", reason=str(error))
            return
        if sighting.gate == self._gate or sighting.model != self.model or not 0 <= sighting.age_s <= MAX_AGE_S:
            return
        self._on_sighting(PeerSighting(sighting.group, unit.tobytes(), monotonic() - sighting.age_s))

    def states_to_save(self, camera: str | None = None) -> dict[str, bytes]:
        """States to write now: of one camera that is about to be handed off, or of all that are due."""
        now, found = monotonic(), {}
        with self._lock:
            for name in list(self._learned) if camera is None else [camera]:
                due = camera is not None or now - self._kept_s.get(name, float("-inf")) >= KEEP_S
                if name not in self._learned or not due:
                    continue
                value = msgspec.json.encode(self._learned.pop(name))
                if value != self._kept.get(name):
                    found[name] = self._kept[name] = value
                    self._kept_s[name] = now
        return found

    def state_saved(self, camera: str, value: bytes) -> None:
        """Record a learned state found in the bucket."""
        self._kept[camera] = value

    def initial_state(self, camera: str) -> LearnedState | None:
        """State that a camera has learned on another node, or ``None``."""
        value = self._kept.get(camera)
        if not value or len(value) > MAX_MESSAGE_BYTES:
            return None
        try:
            return msgspec.json.decode(value, type=LearnedState)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.error("invalid learned state ignored", camera=camera, reason=str(error))
            return None
