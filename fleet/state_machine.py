"""What one gate does in the fleet: holds a session, and by it the leases of its cameras. Pure; time is an argument.

**A session** is one key that its gate renews every ``RENEW_S``; a lease is a key that names a gate and its session.
So a gate with many cameras writes once, and at rest nobody writes anything else. Every write is conditional on the
revision that its writer knows: the bucket's order decides who was first.

**Fencing.** A gate may watch until ``HOLD_S`` after it *sent* the last renewal that it knows to have arrived, by
its own clock. Another one ends the session no sooner than ``TAKE_S`` after it *heard* of the last renewal, by its
own clock, and by a write that fails if there has been another renewal meanwhile. Sending comes before hearing, and
a clock need only run as fast as the other's within the difference of the two, so a camera is never watched twice.
No clock is compared with another host's, and it does not matter for how long either process did not run: who wakes
up late finds its time over, or its write refused. What a gate gives up it does not watch again by the same lease,
as the write that does so may arrive late.

**Who takes what** every gate computes alike (:mod:`facegate.fleet.placement`); where two differ for a moment
because one has heard less, the bucket lets one of them win.
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

RENEW_S = 2.0
HOLD_S = 5.5
TAKE_S = 6.5
FRESH_S = 0.5
"""A camera is let go of only so soon after the bucket has answered: giving it away takes a write."""
JOIN_S = 0.5
"""A gate that is new takes nothing for so long: others may be coming up with it."""
SETTLE_S = 2.0
"""Nothing moves for balance until gates have neither come nor gone for so long."""
NEXT_S = 1.0
"""A camera that its gate has not taken for so long is for the next one, and so on."""
TURN_S = 0.2
"""So much later than the one before it does each gate try to end a dead one's session."""


class Term:
    """Until when what is held by one session may be watched. Another thread may ask it at every frame.

    It belongs to its session: that a gate has a new one says nothing of what it watched by the one before.
    """

    def __init__(self) -> None:
        self.until = float("-inf")
        """By this host's monotonic clock."""


class Member:
    """One gate. Call :meth:`step` often, send what it says, and tell it of every answer and of all news."""

    def __init__(
        self,
        gate: str,
        make_session: Callable[[], str],
        placing: Callable[
            [Sequence[CameraRequest], Sequence[NodeCapacity], Mapping[str, str]], dict[str, str]
        ] = place,
    ) -> None:
        """Begin.

        Args:
            gate: name of this gate; no other may have it.
            make_session: a name that was never used before.
            placing: who should watch what.
        """
        self.gate = gate
        self.view = BucketView()
        self.term = Term()
        """Of the session that this gate has, or is about to have."""
        self._make_session = make_session
        self._placing = placing
        self._session, self._seq = "", 0
        self._sent: dict[int, float] = {}
        self._next_renewal_s = float("-inf")
        self._joined_s: float | None = None
        self._synced = False
        self._steady_since: float | None = None
        """Since when this gate has been heard without a gap: others could have been, too."""
        self._writes = PendingWrites()
        self._plan: dict[str, str] = {}
        self._planned_for: object = None
        self._seats: list[NodeCapacity] = []
        self._mine: NodeCapacity | None = None
        self._free: list[CameraRequest] = []
        self._giving = LeaseHandoff()
        self._held: dict[str, int] = {}
        self._held_for: object = None
        self.stale = False
        """Whether the bucket does not tell all that happens: everything must be heard anew."""

    # What is heard.

    def cut_off(self) -> None:
        """The connection is lost, or its words cannot be trusted any more."""
        self._synced = False
        self._writes.forget()
        self._giving.release({}, False)
        self.stale = False
        self.view.restart()

    def on_update(self, name: str, value: bytes, revision: int, now: float) -> None:
        """The bucket tells of a key.

        Raises:
            FleetError: the value is none that belongs there.
        """
        self._writes.observed_revision(revision)
        self._on_update(name, value, revision, now)

    def _on_update(self, name: str, value: bytes, revision: int, now: float) -> None:
        self.view.on_update(name, value, revision, now)
        if name == key(GATE, self.gate):
            self._check_session(now)

    def synced(self, now: float) -> None:
        """All that the bucket holds has been told."""
        self.view.complete(now)
        self._synced = True
        self._next_renewal_s = now
        self._check_session(now)

    def write_observed(self, write: Write, revision: int | None, now: float) -> None:
        """A write has got its answer: the revision it made, or ``None`` where it was refused."""
        self._writes.answered(write, revision, now)
        if revision is not None and self._synced:
            self._on_update(write.key, write.value, revision, now)

    def write_rejected(self, write: Write, now: float) -> None:
        """A write was certainly not made, and none will be for now: nobody is there who decides."""
        if not self._writes.write_rejected(write, now):
            return
        word, name = parse_key(write.key)
        if word == CAMERA:
            self._giving.write_rejected(name, write)
        elif write.key == key(GATE, self.gate):
            self._next_renewal_s = now

    # What is done.

    def held_leases(self) -> dict[str, int]:
        """The cameras whose leases this gate holds, with the revisions of these: its own until the term's end."""
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
        """What is to be watched now: what is held, may be watched, and is not to be given away."""
        if now >= self.term.until:
            return {}
        return {
            camera: revision
            for camera, revision in self.held_leases().items()
            if self._giving.is_held(camera, revision)
        }

    def step(
        self, now: float, about: NodeStatus, wishes: Sequence[CameraRequest], watching: Set[str]
    ) -> list[Write]:
        """What is to be written now.

        Args:
            now: this host's monotonic time.
            about: what to tell of this gate.
            wishes: cameras of the configuration ``about.config``.
            watching: what is really being watched, or may still be: none of it is given away yet.
        """
        self._writes.forget_lost(now)
        if not self._synced:
            return []
        self.stale = self._writes.stale(now, self._revision)
        if now > self.term.until - HOLD_S + 2 * RENEW_S:
            self._steady_since = None
        writes = [self._renew_session(now, about)]
        if self._session and now < self.term.until:
            self._replan(now, wishes, about.config)
            self._release(now)
            writes += chain(self._endings(now), self._hand_off(now, watching), self._claim(now, about.max_cameras))
        return self._writes.send(writes)

    @property
    def unclaimed_cameras(self) -> bool:
        """Whether it has no session, as another gate has one by its name."""
        return self._joined_s is None

    def leave(self, now: float) -> list[Write]:
        """What ends this gate's session at once; nothing may be watched any more."""
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
                for seq in [seq for seq in self._sent if seq < own.value.seq]:
                    del self._sent[seq]
            if self._steady_since is None:
                self._steady_since = now
            if self._joined_s is None:
                self._joined_s = now
        elif self._joined_s is not None or own.value.alive:
            self._forget_session()

    def _forget_session(self) -> None:
        """Somebody has ended it, or uses this gate's name."""
        self._session, self._joined_s, self._steady_since = "", None, None
        self.term.until = float("-inf")
        self.term = Term()
        self._sent.clear()

    def _renew_session(self, now: float, about: NodeStatus) -> Write | None:
        name = key(GATE, self.gate)
        own = self.view.gates.get(self.gate)
        if own is not None and own.value.alive and own.value.session != self._session:
            # Of this name's last process: it may still be watching.
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
        value = NodeSession(
            session=self._session,
            seq=self._seq,
            host=about.host,
            tags=about.tags,
            capacity=about.capacity,
            max_cameras=about.max_cameras,
            load=about.load,
            config=about.config,
            cameras=dict(about.cameras),
            config_error=dict(about.config_error),
            problem=about.problem,
        )
        return Write(name, msgspec.json.encode(value), 0 if own is None else own.revision, now)

    def _expired_sessions(self, seen: NodeRecord[NodeSession], now: float, steady_s: float) -> bool:
        """Whether a session can have been ended: not renewed for long enough while this gate was listening."""
        return min(now - seen.since, steady_s) >= TAKE_S

    def _endings(self, now: float) -> list[Write]:
        """Sessions of dead gates, in turn, so that not all gates write at once."""
        if self._steady_since is None:
            return []
        steady_s = now - self._steady_since
        found = []
        for name, seen in self.view.alive():
            if name == self.gate or not self._expired_sessions(seen, now, steady_s):
                continue
            healthy = [seat for seat in self._seats if seat.gate != name and not seat.is_silent]
            if min(now - seen.since, steady_s) >= TAKE_S + TURN_S * min(self._turn(name, healthy), 5):
                found.append(Write(key(GATE, name), b"", seen.revision, now))
        return found

    def _late(self, gate: str, now: float) -> bool:
        """Whether a gate has not renewed when it should have."""
        seen = self.view.gates.get(gate)
        return gate != self.gate and (seen is None or now - seen.since > 2 * RENEW_S)

    def _replan(self, now: float, wishes: Sequence[CameraRequest], config: int) -> None:
        settled = now - self.view.members_since >= SETTLE_S
        quiet = frozenset(name for name, _ in self.view.alive() if self._late(name, now))
        basis = (self.view.changes, config, settled, quiet)
        if basis == self._planned_for:
            return
        self._planned_for = basis
        wanted = [wish for wish in wishes if wish.camera not in self.view.paused]
        self._seats = [
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
        for wish in wanted:
            owner = self.view.owner(wish.camera)
            if owner is not None:
                owners[wish.camera] = owner
        plan = self._placing(wanted, self._seats, owners)
        if not settled:
            # Only what has to move does.
            takes = {seat.gate: seat for seat in self._seats}
            plan |= {
                wish.camera: owner
                for wish in wanted
                if (owner := self.view.owner(wish.camera)) is not None and takes[owner].accepts(wish)
            }
        self._plan = plan
        self._mine = next((seat for seat in self._seats if seat.gate == self.gate), None)
        self._free = [wish for wish in wanted if self.view.owner(wish.camera) is None]

    def _release(self, now: float) -> None:
        """Decide which cameras are not watched any more, as others are to have them.

        Giving one away takes a write: while nobody decides on writes, cameras stay.
        """
        others = {
            camera: revision
            for camera, revision in self.held_leases().items()
            if self._plan.get(camera) != self.gate
        }
        if self._giving.release(others, now - self._writes.answered_s <= FRESH_S):
            sent_s = self._next_renewal_s - RENEW_S
            self._next_renewal_s = min(self._next_renewal_s, max(now, sent_s + 2 * FRESH_S))

    def _hand_off(self, now: float, watching: Set[str]) -> list[Write]:
        """Leases of cameras that are another gate's by now, or nobody's, once they are really left alone."""
        found = []
        for camera, revision in self.held_leases().items():
            name = key(CAMERA, camera)
            if self._giving.was_released(camera, revision) and camera not in watching and name not in self._writes:
                write = Write(name, msgspec.json.encode(self._next_lease(camera)), revision, now)
                found.append(write)
                self._giving.begin(camera, write)
        return found

    def _next_lease(self, camera: str) -> Lease:
        """The camera's next gate has it at once, by the session that it has; a gate that needed to write first
        might find that nobody decides."""
        seen = self.view.gates.get(self._plan.get(camera, ""))
        return Lease() if seen is None else Lease(gate=self._plan[camera], session=seen.value.session)

    def _claim(self, now: float, most: int) -> list[Write]:
        if self._joined_s is None or now - self._joined_s < JOIN_S:
            return []
        if self._mine is None or self._mine.leaving:
            return []
        room = most - len(self.held_leases()) - self._writes.is_pending(CAMERA)
        found: list[Write] = []
        value = msgspec.json.encode(Lease(gate=self.gate, session=self._session))
        for camera, revision in self.held_leases().items():
            # Wanted back before it was known to be gone: a new lease, which what is on its way cannot end.
            if self._giving.in_flight(camera, revision) and self._plan.get(camera) == self.gate:
                found.append(Write(key(CAMERA, camera), value, revision, now))
        for wish in self._free:
            name = key(CAMERA, wish.camera)
            if len(found) < room and name not in self._writes and self._is_my_turn(wish, self._mine, now):
                seen = self.view.leases.get(wish.camera)
                found.append(Write(name, value, 0 if seen is None else seen.revision, now))
        return found

    def _is_my_turn(self, wish: CameraRequest, mine: NodeCapacity, now: float) -> bool:
        planned = self._plan.get(wish.camera)
        if planned == self.gate:
            return True
        if not mine.accepts(wish):
            return False
        free_since = self._free_since(wish.camera)
        if now - free_since < NEXT_S:
            return False
        others = [
            seat for seat in self._seats if seat.accepts(wish) and not seat.is_silent and seat.gate != planned
        ]
        return now - free_since >= NEXT_S * (1 + self._turn(wish.camera, others))

    def _turn(self, name: str, seats: Sequence[NodeCapacity]) -> int:
        """How many of these gates come before this one where something concerns this camera or gate."""
        values = ranks(name, seats)
        own = next((value for seat, value in zip(seats, values, strict=True) if seat.gate == self.gate), -1.0)
        return int((values > own).sum())

    def _free_since(self, camera: str) -> float:
        """Since when nobody has had it, as far as this gate knows."""
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
