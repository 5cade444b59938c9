"""A bucket, gates and what lies between them, in simulated time: replies get lost, clocks differ, processes stop.

The bucket is one order of conditional writes, as the leader of a stream makes it. Gates are real
:class:`facegate.fleet.state_machine.Member` s; around each is what the agent does, without its threads.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from random import Random

from facegate.fleet.pending_writes import Write
from facegate.fleet.records import CAMERA, GATE, CameraRequest, Lease, NodeSession, NodeStatus, decode, parse_key
from facegate.fleet.state_machine import RENEW_S, Member, Term

LOOK_S = 0.2
START_S, STOP_S = 0.1, 0.3
"""Time that a node needs to start and to stop watching a camera."""


class SimulatedBucket:
    """One order of conditional writes."""

    def __init__(self) -> None:
        self.revision = 0
        self.keys: dict[str, tuple[bytes, int]] = {}
        self.writes: Counter[str] = Counter()

    def write(self, write: Write) -> int | None:
        """Its new revision, or ``None`` where another one was expected."""
        self.writes[write.key.split(".")[0]] += 1
        if self.keys.get(write.key, (b"", 0))[1] != write.expected:
            return None
        return self.put(write.key, write.value)

    def put(self, key: str, value: bytes) -> int:
        """Whatever it was before."""
        self.revision += 1
        self.keys[key] = (value, self.revision)
        return self.revision

    def owners(self) -> dict[str, str]:
        """Of each camera that has one."""
        sessions = {
            parse_key(key)[1]: decode(value, NodeSession).session
            for key, (value, _) in self.keys.items()
            if key.startswith(GATE)
        }
        found = {}
        for key, (value, _) in self.keys.items():
            if key.startswith(CAMERA):
                lease = decode(value, Lease)
                if lease.session and sessions.get(lease.gate) == lease.session:
                    found[parse_key(key)[1]] = lease.gate
        return found


class SimulatedGate:
    """A process: its member, its clock, its connection, and what it watches."""

    def __init__(self, world: World, name: str, about: NodeStatus, offset_s: float, rate: float) -> None:
        self.world, self.name, self.about = world, name, about
        self._offset_s, self._rate = offset_s, rate
        self.member = Member(name, lambda: f"{name}#{next(world.sessions)}", world.placing)
        self.connected = False
        self.cut = False
        """The network between it and the bucket passes nothing."""
        self.stopped = self.dead = False
        self.slow_s = 0.0
        self.loses_replies = False
        self.deaf = False
        """Stall the watch of this connection; writes are still answered."""
        self.watching: dict[str, tuple[float, Term]] = {}
        """Cameras, when (simulated) each was begun, and by which term."""
        self._stopping: dict[str, float] = {}
        self._connection = 0
        self._last_heard = 0.0
        self._heard_until = 0.0
        self._parked: list[Callable[[], None]] = []

    def clock(self) -> float:
        """This host's monotonic time."""
        return self._offset_s + self._rate * self.world.now

    def sees(self) -> set[str]:
        """Cameras whose frames it takes at this moment: every frame asks whether it may."""
        if self.dead or self.stopped:
            return set()
        now = self.clock()
        return {
            camera
            for camera, (begun, term) in self.watching.items()
            if self.world.now >= begun + START_S and now < term.until
        }

    def look(self) -> None:
        """What the agent does every ``LOOK_S``."""
        now = self.clock()
        if self.connected and (self.member.stale or self.world.now - self._last_heard > 2 * RENEW_S):
            self.disconnect()
        if not self.connected:
            self._connect()
        wanted = self.member.watch(now)
        ended = {camera for camera, (_, term) in self.watching.items() if term is not self.member.term}
        for camera in (set(self.watching) - set(wanted)) | ended:
            self._stopping.setdefault(camera, self.world.now + STOP_S)
        for camera, at in list(self._stopping.items()):
            if self.world.now >= at:
                del self._stopping[camera]
                self.watching.pop(camera, None)
        for camera in set(wanted) - set(self.watching):
            self.watching[camera] = (self.world.now, self.member.term)
        if self.connected:
            for write in self.member.step(now, self.about, self.world.requests, set(self.watching)):
                self._send(write)

    def disconnect(self) -> None:
        """The connection is given up."""
        self.connected = False
        self._connection += 1
        self.member.cut_off()

    def _connect(self) -> None:
        if self.cut or self.world.leaderless:
            return
        self.connected, self.deaf = True, False
        self._last_heard = self.world.now
        self._connection += 1
        snapshot = sorted(self.world.bucket.keys.items(), key=lambda item: item[1][1])

        def told() -> None:
            for key, (value, revision) in snapshot:
                self.member.on_update(key, value, revision, self.clock())
            self.member.synced(self.clock())

        self._later(told, self._lag())

    def _send(self, write: Write) -> None:
        connection = self._connection

        def not_made() -> None:
            if self._connection == connection:
                self._last_heard = self.world.now
                self.member.write_rejected(write, self.clock())

        def arrives() -> None:
            if self.cut and self.world.random.random() < 0.5:
                return  # else it was on its way already
            if self.world.leaderless:
                self._later(not_made, self._lag())
                return
            revision = self.world.bucket.write(write)
            if revision is not None:
                self.world.publish(write.key, write.value, revision)
            if self.loses_replies and self.world.random.random() < 0.5:
                return

            def answered() -> None:
                if self._connection == connection:
                    self._last_heard = self.world.now
                    self.member.write_observed(write, revision, self.clock())

            self._later(answered, self._lag())

        self.world.at(self.world.now + self._lag(), arrives)

    def hears(self, key: str, value: bytes, revision: int) -> None:
        """The bucket's news, in order."""
        if not self.connected or self.deaf:
            return
        connection = self._connection

        def told() -> None:
            if self._connection == connection:
                self.member.on_update(key, value, revision, self.clock())

        self._later(told, self._lag())

    def _later(self, act: Callable[[], None], lag_s: float) -> None:
        """In the order in which it was sent, and not while the process is stopped or cut off."""
        self._heard_until = max(self._heard_until, self.world.now + lag_s)

        def when_awake() -> None:
            if self.dead:
                return
            if self.stopped or self.cut:
                self._parked.append(act)
            else:
                for parked in self._parked:
                    parked()
                self._parked.clear()
                act()

        self.world.at(self._heard_until, when_awake)

    def unpark(self) -> None:
        """What came while it was stopped or cut off is read now."""
        waiting, self._parked = self._parked, []
        for act in waiting:
            act()

    def _lag(self) -> float:
        return self.world.random.uniform(0.001, 0.02) + self.slow_s * self.world.random.random()


class World:
    """Everything, and its time."""

    def __init__(
        self, seed: int, requests: Sequence[CameraRequest], placing: Callable[..., dict[str, str]]
    ) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.bucket = SimulatedBucket()
        self.gates: dict[str, SimulatedGate] = {}
        self.requests = tuple(requests)
        self.placing = placing
        self.sessions = count()
        self.leaderless = False
        """No write is made: the bucket's servers have not agreed yet on who decides."""
        self.twice_s = 0.0
        """Camera-seconds with two gates."""
        self.unwatched_since: dict[str, float] = {}
        """Cameras that nobody sees, and since when."""
        self._names = count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, when: float, act: Callable[[], None]) -> None:
        """Let something happen."""
        heapq.heappush(self._events, (when, next(self._order), act))

    def join(self, about: NodeStatus, name: str | None = None) -> SimulatedGate:
        """A gate starts, with a clock of its own."""
        name = name or f"g{next(self._names)}"
        gate = SimulatedGate(self, name, about, self.random.uniform(-5, 5), self.random.uniform(0.99, 1.01))
        self.gates[name] = gate
        self._tick(gate)
        return gate

    def publish(self, key: str, value: bytes, revision: int) -> None:
        """Tell everybody."""
        for gate in self.gates.values():
            gate.hears(key, value, revision)

    def put(self, key: str, value: bytes) -> None:
        """An operator's request."""
        self.publish(key, value, self.bucket.put(key, value))

    def run(self, seconds: float, check_every_s: float = 0.05) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self.now < end:
            until = min(self.now + check_every_s, end)
            while self._events and self._events[0][0] <= until:
                when, _, act = heapq.heappop(self._events)
                self.now = max(self.now, when)
                act()
            self.now = until
            self._check(check_every_s)

    def _tick(self, gate: SimulatedGate) -> None:
        def again() -> None:
            if gate.dead or self.gates.get(gate.name) is not gate:
                return
            if not gate.stopped:
                gate.look()
            self.at(self.now + LOOK_S, again)

        self.at(self.now + self.random.uniform(0, LOOK_S), again)

    def _check(self, step_s: float) -> None:
        seen: Counter[str] = Counter()
        for gate in self.gates.values():
            seen.update(gate.sees())
        self.twice_s += step_s * sum(number - 1 for number in seen.values() if number > 1)
        for request in self.requests:
            if seen[request.camera]:
                self.unwatched_since.pop(request.camera, None)
            else:
                self.unwatched_since.setdefault(request.camera, self.now)
