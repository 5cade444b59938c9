"""State machine of a node: holds a session, and through it the leases of its cameras. Pure; time is an argument.

***A session** is one key that its node renews every ``RENEW_S``; a lease is a key that names a node and its
session. So a node with many cameras renews one key, and nothing else is written at rest. Every write is conditional
on the revision that its writer knows: the bucket's order decides who was first.

***Fencing.** A node may watch until ``HOLD_S`` after it *sent* the last renewal known to have arrived, by its own
clock. Another node ends the session no sooner than ``TAKEOVER_S`` after it *observed* the last renewal, by its own
clock, and by a write that fails after another renewal. Sending precedes observing, and clock rates need to agree
only within the difference of the two, so a camera is never watched twice. Clocks of different hosts are never
compared, and suspended processes are safe: they resume with an expired term, or their write is refused. A camera
that was given up is not watched again under the same lease, as that write may arrive late.

***Placement** is computed by every node (:mod:`facegate.fleet.placement`); if two differ because one has observed
less, the bucket accepts one of their writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from itertools import chain

import msgspec

from facegate.fleet.bucket_view import BucketView, NodeRecord
from facegate.fleet.handoff import LeaseHandoff
from facegate.fleet.pending_writes import PendingWrites, Write
from facegate.fleet.placement import place, ranks
from facegate.fleet.records import (
    CAMERA,
    GATE,
    CameraRequest,
    Lease,
    NodeCapacity,
    NodeSession,
    NodeStatus,
    key,
    parse_key,
)

RENEW_S, HOLD_S, TAKEOVER_S = 2.0, 5.5, 6.5
ANSWER_MAX_AGE_S = 0.5
"""Cameras are released only within this time of an answer of the bucket, as the handoff needs a write."""
JOIN_S = 0.5
"""Delay before a new node claims cameras, as others may be joining too."""
SETTLE_S = 2.0
"""Time without joins and leaves before cameras move for balance."""
CLAIM_INTERVAL_S = 1.0
"""Time after which an unclaimed camera may be claimed by the next node in rank, and so on."""
STAGGER_S = 0.2
"""Stagger between the nodes' attempts to end a dead node's session."""


class Term:
    """End of the time in which a session's cameras may be watched. Read by other threads at every frame.

    Each session has its own: a new session does not extend the term of the previous one.
    """

    def __init__(self) -> None:
        self.until = float("-inf")
        """Monotonic time of this host."""


class Member:
    """A node. Call :meth:`step` often, send the writes it returns, and report every answer and update to it."""

    def __init__(
        self,
        gate: str,
        make_session: Callable[[], str],
        placing: Callable[
            [Sequence[CameraRequest], Sequence[NodeCapacity], Mapping[str, str]], dict[str, str]
        ] = place,
    ) -> None:
        """Create.

        Args:
            gate: unique name of this node.
            make_session: returns a unique session id.
            placing: the placement function.
        """
        self.gate = gate
        self.view = BucketView()
        self.term = Term()
        """Term of the current or next session."""
        self._make_session = make_session
        self._placing = placing
        self._session, self._seq = "", 0
        self._sent: dict[int, float] = {}
        self._next_renewal_s = float("-inf")
        self._joined_s: float | None = None
        self._synced = False
        self._steady_since: float | None = None
        """Time since which this node's renewals have been observed without a gap."""
        self._writes = PendingWrites()
        self._plan: dict[str, str] = {}
        self._planned_for: object = None
        self._nodes: list[NodeCapacity] = []
        self._mine: NodeCapacity | None = None
        self._free: list[CameraRequest] = []
        self._giving = LeaseHandoff()
        self._held: dict[str, int] = {}
        self._held_for: object = None
        self.stale = False
        """Whether the watch has stalled and must be restarted."""

    def cut_off(self) -> None:
        """Handle the loss of the connection or a stalled watch."""
        self._synced = False
        self._writes.forget()
        self._giving.release({}, False)
        self.stale = False
        self.view.restart()

    def on_update(self, name: str, value: bytes, revision: int, now: float) -> None:
        """Handle an update of a key.

        Raises:
            FleetError: the value is invalid.
        """
        self._writes.observed_revision(revision)
        self._on_update(name, value, revision, now)

    def _on_update(self, name: str, value: bytes, revision: int, now: float) -> None:
        self.view.on_update(name, value, revision, now)
        if name == key(GATE, self.gate):
            self._check_session(now)

    def synced(self, now: float) -> None:
        """Handle the end of the initial values."""
        self.view.complete(now)
        self._synced = True
        self._next_renewal_s = now
        self._check_session(now)

    def write_observed(self, write: Write, revision: int | None, now: float) -> None:
        """Handle the answer to a write: its revision, or ``None`` if it was refused."""
        self._writes.answered(write, revision, now)
        if revision is not None and self._synced:
            self._on_update(write.key, write.value, revision, now)

    def write_rejected(self, write: Write, now: float) -> None:
        """Handle a write that was certainly not made, for lack of a leader."""
        if not self._writes.write_rejected(write, now):
            return
        word, name = parse_key(write.key)
        if word == CAMERA:
            self._giving.write_rejected(name, write)
        elif write.key == key(GATE, self.gate):
            self._next_renewal_s = now

    def held_leases(self) -> dict[str, int]:
        """Cameras whose leases this node holds, with the leases' revisions."""
        if not self._session:
            return {}
        if self._held_for != (self.view.changes, self._session):
            self._held_for = (self.view.changes, self._session)
            self._held = {
                camera: seen.revision
                for camera, seen in self.view.leases.items()
                if seen.value.session == self._session and seen.value.gate == self.gate
            }
        return self._held

    def watch(self, now: float) -> dict[str, int]:
        """Cameras to watch now, with their leases: held within the term and not being handed off."""
        if now >= self.term.until:
            return {}
        return {
            camera: revision
            for camera, revision in self.held_leases().items()
            if self._giving.is_held(camera, revision)
        }

    def step(
        self, now: float, about: NodeStatus, requests: Sequence[CameraRequest], watching: Set[str]
    ) -> list[Write]:
        """Return the writes to send now.

        Args:
            now: this host's monotonic time.
            about: status of this node.
            requests: cameras of the configuration ``about.config``.
            watching: cameras that are or may be watched: they are not handed off yet.
        """
        self._writes.forget_lost(now)
        if not self._synced:
            return []
        self.stale = self._writes.stale(now, self._revision)
        if now > self.term.until - HOLD_S + 2 * RENEW_S:
            self._steady_since = None
        writes = [self._renew_session(now, about)]
        if self._session and now < self.term.until:
            self._replan(now, requests, about.config)
            self._release(now)
            writes += chain(self._endings(now), self._hand_off(now, watching), self._claim(now, about.max_cameras))
        return self._writes.send(writes)

    @property
    def unclaimed_cameras(self) -> bool:
        """Whether it has no session, as another node has one under its name."""
        return self._joined_s is None

    def leave(self, now: float) -> list[Write]:
        """End the session at once; return the writes for that. Nothing may be watched from here on."""
        own, session = self.view.gates.get(self.gate), self._session
        self._forget_session()
        if not session or own is None or own.value.session != session:
            return []
        return [Write(key(GATE, self.gate), b"", own.revision, now)]

    def _check_session(self, now: float) -> None:
        own = self.view.gates.get(self.gate)
        if not self._session or own is None:
            return
        if own.value.session == self._session:
            sent = self._sent.get(own.value.seq)
            if sent is not None and sent + HOLD_S > self.term.until:
                self.term.until = sent + HOLD_S
                self._sent = {seq: at for seq, at in self._sent.items() if seq >= own.value.seq}
            if self._steady_since is None:
                self._steady_since = now
            if self._joined_s is None:
                self._joined_s = now
        elif self._joined_s is not None or own.value.alive:
            self._forget_session()

    def _forget_session(self) -> None:
        """Drop a session that was ended, or whose name another node uses."""
        self._session, self._joined_s, self._steady_since = "", None, None
        self.term.until = float("-inf")
        self.term = Term()
        self._sent.clear()

    def _renew_session(self, now: float, about: NodeStatus) -> Write | None:
        name = key(GATE, self.gate)
        own = self.view.gates.get(self.gate)
        if own is not None and own.value.alive and own.value.session != self._session:
            # A previous process of this name, which may still be watching.
            return (
                Write(name, b"", own.revision, now) if self._expired_sessions(own, now, now - own.since) else None
            )
        if now < self._next_renewal_s or name in self._writes:
            return None
        if not self._session:
            self._session, self._seq = self._make_session(), 0
        self._seq += 1
        self._sent[self._seq] = now
        self._next_renewal_s = now + RENEW_S
        value = NodeSession(session=self._session, seq=self._seq, **msgspec.structs.asdict(about))
        return Write(name, msgspec.json.encode(value), 0 if own is None else own.revision, now)

    def _expired_sessions(self, seen: NodeRecord[NodeSession], now: float, steady_s: float) -> bool:
        """Whether a session may be ended: not renewed for long enough while this node was observing."""
        return min(now - seen.since, steady_s) >= TAKEOVER_S

    def _endings(self, now: float) -> list[Write]:
        """Writes that end sessions of dead nodes, staggered so that not all nodes write at once."""
        if self._steady_since is None:
            return []
        steady_s = now - self._steady_since
        found = []
        for name, seen in self.view.alive():
            if name == self.gate or not self._expired_sessions(seen, now, steady_s):
                continue
            healthy = [node for node in self._nodes if node.gate != name and not node.is_silent]
            if min(now - seen.since, steady_s) >= TAKEOVER_S + STAGGER_S * min(self._turn(name, healthy), 5):
                found.append(Write(key(GATE, name), b"", seen.revision, now))
        return found

    def _late(self, gate: str, now: float) -> bool:
        """Whether a node's renewal is overdue."""
        seen = self.view.gates.get(gate)
        return gate != self.gate and (seen is None or now - seen.since > 2 * RENEW_S)

    def _replan(self, now: float, requests: Sequence[CameraRequest], config: int) -> None:
        settled = now - self.view.members_since >= SETTLE_S
        quiet = frozenset(name for name, _ in self.view.alive() if self._late(name, now))
        basis = (self.view.changes, config, settled, quiet)
        if basis == self._planned_for:
            return
        self._planned_for = basis
        active = [request for request in requests if request.camera not in self.view.paused]
        self._nodes = [
            NodeCapacity(
                gate=name,
                host=seen.value.host,
                tags=seen.value.tags,
                capacity=max(seen.value.capacity, 1e-3),
                max_cameras=seen.value.max_cameras,
                leaving=name in self.view.drained,
                is_silent=name in quiet,
                config_error=frozenset(seen.value.config_error),
            )
            for name, seen in self.view.alive()
        ]
        owners = {}
        for request in active:
            owner = self.view.owner(request.camera)
            if owner is not None:
                owners[request.camera] = owner
        plan = self._placing(active, self._nodes, owners)
        if not settled:
            # Move only what has to.
            takes = {node.gate: node for node in self._nodes}
            plan |= {
                request.camera: owner
                for request in active
                if (owner := self.view.owner(request.camera)) is not None and takes[owner].accepts(request)
            }
        self._plan = plan
        self._mine = next((node for node in self._nodes if node.gate == self.gate), None)
        self._free = [request for request in active if self.view.owner(request.camera) is None]

    def _release(self, now: float) -> None:
        """Stop watching cameras that other nodes are to have.

        A handoff needs a write: without a leader, cameras stay.
        """
        others = {
            camera: revision
            for camera, revision in self.held_leases().items()
            if self._plan.get(camera) != self.gate
        }
        if self._giving.release(others, now - self._writes.answered_s <= ANSWER_MAX_AGE_S):
            sent_s = self._next_renewal_s - RENEW_S
            self._next_renewal_s = min(self._next_renewal_s, max(now, sent_s + 2 * ANSWER_MAX_AGE_S))

    def _hand_off(self, now: float, watching: Set[str]) -> list[Write]:
        """Writes that hand off released cameras, once they are no longer watched."""
        found = []
        for camera, revision in self.held_leases().items():
            name = key(CAMERA, camera)
            if self._giving.was_released(camera, revision) and camera not in watching and name not in self._writes:
                write = Write(name, msgspec.json.encode(self._next_lease(camera)), revision, now)
                found.append(write)
                self._giving.begin(camera, write)
        return found

    def _next_lease(self, camera: str) -> Lease:
        """Lease of the camera's next node under its current session, so that it need not write to claim it."""
        seen = self.view.gates.get(self._plan.get(camera, ""))
        return Lease() if seen is None else Lease(gate=self._plan[camera], session=seen.value.session)

    def _claim(self, now: float, limit: int) -> list[Write]:
        if self._joined_s is None or now - self._joined_s < JOIN_S or self._mine is None or self._mine.leaving:
            return []
        room = limit - len(self.held_leases()) - self._writes.is_pending(CAMERA)
        found: list[Write] = []
        value = msgspec.json.encode(Lease(gate=self.gate, session=self._session))
        for camera, revision in self.held_leases().items():
            # Planned here again before the handoff was observed: a new lease, which that write cannot end.
            if self._giving.in_flight(camera, revision) and self._plan.get(camera) == self.gate:
                found.append(Write(key(CAMERA, camera), value, revision, now))
        for request in self._free:
            name = key(CAMERA, request.camera)
            if len(found) < room and name not in self._writes and self._is_my_turn(request, self._mine, now):
                seen = self.view.leases.get(request.camera)
                found.append(Write(name, value, 0 if seen is None else seen.revision, now))
        return found

    def _is_my_turn(self, request: CameraRequest, own: NodeCapacity, now: float) -> bool:
        planned = self._plan.get(request.camera)
        if planned == self.gate:
            return True
        if not own.accepts(request):
            return False
        free_since = self._free_since(request.camera)
        if now - free_since < CLAIM_INTERVAL_S:
            return False
        others = [
            node for node in self._nodes if node.accepts(request) and not node.is_silent and node.gate != planned
        ]
        return now - free_since >= CLAIM_INTERVAL_S * (1 + self._turn(request.camera, others))

    def _turn(self, name: str, nodes: Sequence[NodeCapacity]) -> int:
        """Number of these nodes ranked above this one for a camera or node of this name."""
        values = ranks(name, nodes)
        own = next((value for node, value in zip(nodes, values, strict=True) if node.gate == self.gate), -1.0)
        return int((values > own).sum())

    def _free_since(self, camera: str) -> float:
        """Time since which the camera has had no node, as far as observed."""
        since = self._steady_since or 0.0
        seen = self.view.leases.get(camera)
        if seen is None:
            return max(since, self.view.members_since)
        owner = self.view.gates.get(seen.value.gate) if seen.value.session else None
        return max(since, seen.since, 0.0 if owner is None else owner.since)

    def _revision(self, name: str) -> int:
        word, of = parse_key(name)
        seen = self.view.gates.get(of) if word == GATE else self.view.leases.get(of)
        return 0 if seen is None else seen.revision
