"""Assignment of shots to workers: credit, leases, slow start, rate limits. Pure; time is an argument."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import msgspec

from facegate.errors import DeliveryError
from facegate.sinks.wire import EncodedShot, Ready

WORKER_TIMEOUT_S = 10.0
"""A worker silent for this long is considered dead; workers send a heartbeat every second or two."""
MAX_WINDOW = 256
MAX_WORKERS = 1024
SLOW_START_WINDOW = 16
"""Maximum shots in flight to a worker that has not acknowledged any: bounds what a stuck worker holds up."""
MAX_IDLE_MESSAGES = 1000
"""Messages other than acknowledgements that a peer may send per minute; a worker needs about 100."""
MINUTE_S = 60.0
MAX_PEERS = 10_000
MAX_TRACKS = 10_000
"""Tracks whose last worker is remembered."""


class _Worker(msgspec.Struct, eq=False):
    window: int = 0
    visits: bool = False
    feedback: bool = False
    live: bool = False
    slow_start_limit: int = SLOW_START_WINDOW
    """Bound of shots in flight below the window; lifted by the first acknowledgement, reset by an expired lease."""
    last_seen: float = 0.0
    pace_s: float = 0.0
    """Moving average of the time per shot, s; 0 until the first acknowledgement."""
    in_flight: OrderedDict[str, tuple[EncodedShot, float]] = msgspec.field(default_factory=OrderedDict)
    """Shot id -> shot and the monotonic time it was assigned, oldest first."""

    @property
    def credit(self) -> int:
        return min(self.window, self.slow_start_limit) - len(self.in_flight)

    @property
    def wait_s(self) -> float:
        """Expected time until a shot assigned now is done, s."""
        return (len(self.in_flight) + 1) * self.pace_s

    @property
    def oldest_s(self) -> float:
        """Monotonic time at which the oldest shot in flight was assigned."""
        return next(iter(self.in_flight.values()))[1]

    def measure(self, took_s: float) -> None:
        """Update ``pace_s`` with a shot that was acknowledged after ``took_s``."""
        pace_s = took_s / (len(self.in_flight) + 1)
        self.pace_s = pace_s if not self.pace_s else 0.8 * self.pace_s + 0.2 * pace_s


class WorkerPool:
    """The workers of a gate. Exactly one method returns each assigned shot, or it is acknowledged."""

    def __init__(self, lease_s: float) -> None:
        """Create an empty pool; a shot that is not acknowledged within ``lease_s`` is taken back."""
        self._lease_s = lease_s
        self._workers: dict[bytes, _Worker] = {}
        self._sticky_worker: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        """Worker that got the last shot of a track; it gets the next one too, to group them into a visit."""

    def __len__(self) -> int:
        return len(self._workers)

    def __iter__(self) -> Iterator[bytes]:
        """Identities of the workers."""
        return iter(self._workers)

    def visit_workers(self) -> list[bytes]:
        """Workers that subscribed to ended tracks."""
        return [identity for identity, worker in self._workers.items() if worker.visits]

    def live_workers(self) -> list[bytes]:
        """Workers that subscribed to live tracks."""
        return [identity for identity, worker in self._workers.items() if worker.live]

    @property
    def has_feedback_worker(self) -> bool:
        """Whether any worker sends feedback."""
        return any(worker.feedback for worker in self._workers.values())

    def in_flight(self) -> set[tuple[str, int]]:
        """Camera and track of each unacknowledged shot."""
        assigned = (shot for worker in self._workers.values() for shot, _ in worker.in_flight.values())
        return {(shot.camera, shot.track_id) for shot in assigned}

    def ready(self, identity: bytes, message: Ready, now: float) -> None:
        """Handle a worker's READY: its window and subscriptions, and a heartbeat.

        Raises:
            DeliveryError: invalid window, or too many workers.
        """
        if not 0 < message.window <= MAX_WINDOW:
            raise DeliveryError(f"window {message.window} is not within 1..{MAX_WINDOW}")
        if identity not in self._workers and len(self._workers) >= MAX_WORKERS:
            raise DeliveryError(f"more than {MAX_WORKERS} workers")
        worker = self._workers.setdefault(identity, _Worker())
        worker.window, worker.visits, worker.feedback, worker.last_seen = (
            message.window,
            message.visits,
            message.feedback,
            now,
        )
        worker.live = message.live

    def assign(self, shot: EncodedShot, now: float) -> bytes | None:
        """Assign a shot to a worker with credit; return its identity, ``None`` if there is none.

        Prefers the worker of the track, so that one sees the whole visit; else the one that will be done first.
        """
        track = (shot.camera, shot.track_id)
        owner = self._workers.get(self._sticky_worker.get(track, b""))
        if owner is not None and owner.credit > 0:
            owner.in_flight[shot.shot_id] = (shot, now)
            return self._sticky_worker[track]
        best: tuple[float, int, bytes] | None = None
        for identity, worker in self._workers.items():
            if worker.credit > 0:
                offer = (worker.wait_s, len(worker.in_flight), identity)
                best = offer if best is None else min(best, offer)
        if best is None:
            return None
        self._workers[best[2]].in_flight[shot.shot_id] = (shot, now)
        self._sticky_worker[track] = best[2]
        self._sticky_worker.move_to_end(track)
        if len(self._sticky_worker) > MAX_TRACKS:
            self._sticky_worker.popitem(last=False)
        return best[2]

    def acknowledge(self, identity: bytes, shot_id: str, now: float) -> EncodedShot | None:
        """Complete a shot and return it; ``None`` if it is not assigned to this worker."""
        worker = self._workers.get(identity)
        if worker is None or shot_id not in worker.in_flight:
            return None
        shot, given = worker.in_flight.pop(shot_id)
        worker.last_seen, worker.slow_start_limit = now, MAX_WINDOW
        worker.measure(now - given)
        return shot

    def remove(self, identity: bytes) -> list[EncodedShot]:
        """Remove a worker; return its unacknowledged shots."""
        worker = self._workers.pop(identity, None)
        return [] if worker is None else [shot for shot, _ in worker.in_flight.values()]

    def timed_out(self, now: float) -> list[bytes]:
        """Workers that have been silent for longer than ``WORKER_TIMEOUT_S``."""
        return [identity for identity, worker in self._workers.items() if now - worker.last_seen > WORKER_TIMEOUT_S]

    def expired_leases(self, now: float) -> list[EncodedShot]:
        """Take back and return shots whose lease has expired."""
        found: list[EncodedShot] = []
        for worker in self._workers.values():
            known = len(found)
            while worker.in_flight and now - worker.oldest_s >= self._lease_s:
                found.append(worker.in_flight.popitem(last=False)[1][0])
            if len(found) > known:
                # No credit until its next READY: having the most credit, it would get the same shot forever.
                worker.window, worker.slow_start_limit = 0, 1
        return found


class MessageRateLimiter:
    """Counts messages other than acknowledgements; a peer above the limit is blocked until the next minute."""

    def __init__(self) -> None:
        self._counts: dict[bytes, int] = {}
        self._until = 0.0

    def record(self, identity: bytes, now: float) -> bool:
        """Count a message; return whether the peer has just reached the limit."""
        if now >= self._until or len(self._counts) >= MAX_PEERS:
            self._counts, self._until = {}, now + MINUTE_S
        self._counts[identity] = self._counts.get(identity, 0) + 1
        return self._counts[identity] == MAX_IDLE_MESSAGES

    def is_blocked(self, identity: bytes, now: float) -> bool:
        """Whether messages of a peer are ignored at present."""
        return now < self._until and self._counts.get(identity, 0) >= MAX_IDLE_MESSAGES
