"""Which worker gets which shot: credit, leases, trust, and patience with peers. Pure; time comes as an argument."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import msgspec

from facegate.errors import DeliveryError
from facegate.sinks.wire import EncodedShot, Ready

WORKER_TIMEOUT_S = 10.0
"""A worker not heard of for this long is taken for dead; workers send a heartbeat every second or two."""
MAX_WINDOW = 256
MAX_WORKERS = 1024
SLOW_START_WINDOW = 16
"""Shots given to a worker that has not acknowledged any yet: who takes and never answers holds up so many."""
IDLE_WORDS = 1000
"""Messages other than receipts that a peer may send in a minute; a worker needs a hundred."""
MINUTE_S = 60.0
MAX_PEERS = 10_000
MAX_TRACKS = 10_000
"""Remembered with their workers."""


class _Worker(msgspec.Struct, eq=False):
    window: int = 0
    visits: bool = False
    feedback: bool = False
    live: bool = False
    slow_start_limit: int = SLOW_START_WINDOW
    """At most so many in flight, whatever the window: grows with the first acknowledgement, gone with a lease."""
    last_seen: float = 0.0
    pace_s: float = 0.0
    """Recent time for one shot; 0 until the first acknowledgement."""
    in_flight: OrderedDict[str, tuple[EncodedShot, float]] = msgspec.field(default_factory=OrderedDict)
    """shot id -> shot and the time it was given, oldest first."""

    @property
    def credit(self) -> int:
        return min(self.window, self.slow_start_limit) - len(self.in_flight)

    @property
    def wait_s(self) -> float:
        """When a shot that it is given now may be done."""
        return (len(self.in_flight) + 1) * self.pace_s

    @property
    def oldest_s(self) -> float:
        """When the first of those in flight was given."""
        return next(iter(self.in_flight.values()))[1]

    def measure(self, took_s: float) -> None:
        """Learn from a shot that was acknowledged ``took_s`` after it was given."""
        pace_s = took_s / (len(self.in_flight) + 1)
        self.pace_s = pace_s if not self.pace_s else 0.8 * self.pace_s + 0.2 * pace_s


class WorkerPool:
    """The workers of a gate. A shot given to one comes back by exactly one of its methods, or is acknowledged."""

    def __init__(self, lease_s: float) -> None:
        """Nobody yet; a shot that is not acknowledged within ``lease_s`` comes back."""
        self._lease_s = lease_s
        self._workers: dict[bytes, _Worker] = {}
        self._sticky_worker: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        """Who got the last shot of a track; it puts the next one together with it."""

    def __len__(self) -> int:
        return len(self._workers)

    def __iter__(self) -> Iterator[bytes]:
        """Their identities."""
        return iter(self._workers)

    def visit_workers(self) -> list[bytes]:
        """Who wants to know of tracks that have ended."""
        return [identity for identity, worker in self._workers.items() if worker.visits]

    def wanting_live(self) -> list[bytes]:
        """Who wants to know every second which tracks live."""
        return [identity for identity, worker in self._workers.items() if worker.live]

    @property
    def has_feedback_worker(self) -> bool:
        """Whether somebody is there who answers."""
        return any(worker.feedback for worker in self._workers.values())

    def in_flight(self) -> set[tuple[str, int]]:
        """Cameras and tracks of which somebody has an unacknowledged shot."""
        given = (shot for worker in self._workers.values() for shot, _ in worker.in_flight.values())
        return {(shot.camera, shot.track_id) for shot in given}

    def ready(self, identity: bytes, says: Ready, now: float) -> None:
        """A worker is there, says how many shots it takes at a time and what it wants, and is alive.

        Raises:
            DeliveryError: no sensible window, or too many workers.
        """
        if not 0 < says.window <= MAX_WINDOW:
            raise DeliveryError(f"a window of {says.window} is not within 1..{MAX_WINDOW}")
        if identity not in self._workers and len(self._workers) >= MAX_WORKERS:
            raise DeliveryError(f"more than {MAX_WORKERS} workers")
        worker = self._workers.setdefault(identity, _Worker())
        worker.window, worker.visits, worker.feedback, worker.last_seen = (
            says.window,
            says.visits,
            says.feedback,
            now,
        )
        worker.live = says.live

    def assign(self, shot: EncodedShot, now: float) -> bytes | None:
        """Return who is to get a shot, if anybody has credit.

        Whoever has others of the track, so that one worker sees the whole visit; else who will be done first.
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
        """A worker is done with a shot; ``None`` where it has no such one (any more)."""
        worker = self._workers.get(identity)
        if worker is None or shot_id not in worker.in_flight:
            return None
        shot, given = worker.in_flight.pop(shot_id)
        worker.last_seen, worker.slow_start_limit = now, MAX_WINDOW
        worker.measure(now - given)
        return shot

    def remove(self, identity: bytes) -> list[EncodedShot]:
        """Forget a worker; return what it had."""
        worker = self._workers.pop(identity, None)
        return [] if worker is None else [shot for shot, _ in worker.in_flight.values()]

    def timed_out(self, now: float) -> list[bytes]:
        """Who has not been heard of for too long."""
        return [identity for identity, worker in self._workers.items() if now - worker.last_seen > WORKER_TIMEOUT_S]

    def expired_leases(self, now: float) -> list[EncodedShot]:
        """Take back shots whose lease has run out."""
        found: list[EncodedShot] = []
        for worker in self._workers.values():
            known = len(found)
            while worker.in_flight and now - worker.oldest_s >= self._lease_s:
                found.append(worker.in_flight.popitem(last=False)[1][0])
            if len(found) > known:
                # Whoever lets a lease run out gets nothing more until it says that it is ready again; otherwise,
                # having the most credit, it would be handed the same shot for ever.
                worker.window, worker.slow_start_limit = 0, 1
        return found


class MessageRateLimiter:
    """Counts what peers say beside receipts; who says too much in a minute is not listened to until the next."""

    def __init__(self) -> None:
        self._said: dict[bytes, int] = {}
        self._until = 0.0

    def record(self, identity: bytes, now: float) -> bool:
        """Count a word of a peer; return whether it has just become too many."""
        if now >= self._until or len(self._said) >= MAX_PEERS:
            self._said, self._until = {}, now + MINUTE_S
        self._said[identity] = self._said.get(identity, 0) + 1
        return self._said[identity] == IDLE_WORDS

    def is_blocked(self, identity: bytes, now: float) -> bool:
        """Whether a peer is not listened to at the moment."""
        return now < self._until and self._said.get(identity, 0) >= IDLE_WORDS
