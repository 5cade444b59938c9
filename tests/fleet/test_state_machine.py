"""Gates come, go, stop, wake up, are cut off and answered late: never two for a camera, and soon one for each."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from benchmarks.fleet.world import SimulatedGate, World
from facegate.fleet.pending_writes import UNOBSERVED_S
from facegate.fleet.placement import place
from facegate.fleet.records import DRAIN, PAUSE, CameraRequest, NodeStatus, key
from facegate.fleet.state_machine import HOLD_S, RENEW_S, TAKEOVER_S

CAMERAS, MOST = 9, 6
PROMISED_S = 10.0
HANDED_OVER_S = 2.0
"""A camera that moves, as gates have come, blinks for no longer."""
Index = st.integers(0, 50)


class SimulatedFleet(RuleBasedStateMachine):
    """Whatever happens, in any order."""

    @initialize(seed=st.integers(0, 2**32), gates=st.integers(1, 4))
    def begin(self, seed: int, gates: int) -> None:
        requests = [
            CameraRequest(f"cam.{i}", 1.0 + i % 3, group="hall" if i % 4 == 0 else "") for i in range(CAMERAS)
        ]
        self.world = World(seed, requests, place)
        self.paused: set[str] = set()
        self.healthy_since: dict[str, float] = {}
        self.changed_s = 0.0
        for _ in range(gates):
            self.join(10.0)

    def gate(self, index: int, fits: Any = lambda gate: True) -> SimulatedGate | None:
        gates = [gate for gate in self.world.gates.values() if not gate.dead and fits(gate)]
        return gates[index % len(gates)] if gates else None

    def changed(self) -> None:
        self.changed_s = self.world.now

    @rule(capacity=st.floats(1.0, 30.0))
    def join(self, capacity: float) -> None:
        if sum(not gate.dead for gate in self.world.gates.values()) < 5:
            self.world.join(NodeStatus(host="h", capacity=capacity, max_cameras=MOST))
            self.changed()

    @rule(index=Index)
    def killed_and_started_again_by_its_name(self, index: int) -> None:
        if gate := self.gate(index):
            gate.dead = True
            self.world.join(gate.about, gate.name)
            self.changed()

    @rule(index=Index)
    def killed(self, index: int) -> None:
        if gate := self.gate(index):
            gate.dead = True
            self.changed()

    @rule(index=Index, seconds=st.floats(0.1, 20.0))
    def cut_off(self, index: int, seconds: float) -> None:
        if gate := self.gate(index, lambda gate: not gate.cut):
            gate.cut = True
            self.heal_later(gate, seconds)

    @rule(index=Index, seconds=st.floats(0.1, 20.0))
    def stopped(self, index: int, seconds: float) -> None:
        if gate := self.gate(index, lambda gate: not gate.stopped):
            gate.stopped = True
            self.heal_later(gate, seconds)

    @rule(index=Index, slow_s=st.floats(0.0, 6.0), seconds=st.floats(1.0, 30.0))
    def slow(self, index: int, slow_s: float, seconds: float) -> None:
        if gate := self.gate(index):
            gate.slow_s = slow_s
            self.heal_later(gate, seconds)

    @rule(index=Index, seconds=st.floats(1.0, 30.0))
    def loses_replies(self, index: int, seconds: float) -> None:
        if gate := self.gate(index):
            gate.loses_replies = True
            self.heal_later(gate, seconds)

    @rule(index=Index)
    def hears_nothing_more(self, index: int) -> None:
        if gate := self.gate(index, lambda gate: gate.connected):
            gate.deaf = True
            self.changed()

    @rule(seconds=st.floats(0.1, 9.0))
    def nobody_decides(self, seconds: float) -> None:
        if self.world.leaderless:
            return
        self.world.leaderless = True
        self.changed()

        def elected() -> None:
            self.world.leaderless = False
            self.changed()

        self.world.at(self.world.now + seconds, elected)

    def heal_later(self, gate: SimulatedGate, seconds: float) -> None:
        def heal() -> None:
            gate.cut = gate.stopped = gate.loses_replies = False
            gate.slow_s = 0.0
            if not gate.dead:
                gate.unpark()
            self.changed()

        self.changed()
        self.world.at(self.world.now + seconds, heal)

    @rule(camera=st.integers(0, CAMERAS - 1))
    def pause_or_go_on(self, camera: int) -> None:
        name = f"cam.{camera}"
        self.paused ^= {name}
        self.world.put(key(PAUSE, name), b"1" if name in self.paused else b"")
        self.changed()

    @rule(index=Index, drained=st.booleans())
    def drain(self, index: int, drained: bool) -> None:
        if gate := self.gate(index):
            self.world.put(key(DRAIN, gate.name), b"1" if drained else b"")
            self.changed()

    @rule(seconds=st.floats(0.1, 15.0))
    def wait(self, seconds: float) -> None:
        self.world.run(seconds)

    @invariant()
    def never_watched_twice(self) -> None:
        if hasattr(self, "world"):
            assert self.world.twice_s == 0.0

    @invariant()
    def soon_watched(self) -> None:
        if not hasattr(self, "world") or self.world.now - self.changed_s <= PROMISED_S + 0.1:
            return
        able = [gate for gate in self.world.gates.values() if not self.bad(gate)]
        if self.world.leaderless or any(self.bad(gate) for gate in self.world.gates.values() if not gate.dead):
            return
        if MOST * len(able) < CAMERAS:
            return
        missing = {
            camera
            for camera, since in self.world.unwatched_since.items()
            if camera not in self.paused and self.world.now - since > HANDED_OVER_S
        }
        assert not missing, (self.world.now, self.changed_s, missing)
        assert not self.paused & {camera for gate in able for camera in gate.sees()}

    def bad(self, gate: SimulatedGate) -> bool:
        drained = self.world.bucket.keys.get(key(DRAIN, gate.name), (b"", 0))[0]
        return bool(gate.dead or gate.cut or gate.stopped or gate.loses_replies or gate.slow_s or drained)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            for gate in self.world.gates.values():
                gate.cut = gate.stopped = gate.loses_replies = False
                gate.slow_s = 0.0
                if not gate.dead:
                    gate.unpark()
            self.world.leaderless = False
            self.changed()
            self.world.run(PROMISED_S + 0.2)
            self.never_watched_twice()
            self.soon_watched()


SimulatedFleet.TestCase.settings = settings(
    max_examples=100, stateful_step_count=25, suppress_health_check=list(HealthCheck)
)
test_fleet = SimulatedFleet.TestCase


def settled(seed: int, gates: int = 3) -> World:
    world = World(seed, [CameraRequest(f"c{i}", 1.0) for i in range(12)], place)
    for _ in range(gates):
        world.join(NodeStatus(host="h", capacity=20.0, max_cameras=64))
    world.run(10.0)
    assert not world.unwatched_since
    return world


def longest_gap_s(world: World, seconds: float) -> float:
    end, found = world.now + seconds, 0.0
    while world.now < end:
        world.run(0.1)
        found = max([found, *(world.now - since for since in world.unwatched_since.values())])
    return found


def test_a_gate_that_is_not_told_any_more_what_happens_notices() -> None:
    world = settled(0)
    gate = world.gates["g0"]
    gate.deaf = True
    world.run(RENEW_S + UNOBSERVED_S + 1.0)
    assert not gate.deaf, "it listens anew"
    assert not world.unwatched_since


def test_a_gate_that_is_cut_off_before_it_could_give_a_camera_away_watches_on() -> None:
    world = settled(0)
    gate = world.gates["g0"]
    world.put(key(DRAIN, "g0"), b"1")
    while gate.watching.keys() == gate.member.watch(gate.clock()).keys():
        world.run(0.01)
    gate.disconnect()
    gate.cut = True
    assert gate.member.watch(gate.clock()), "no write that gives them up has been sent"
    assert longest_gap_s(world, 2.0) <= 0.5
    assert longest_gap_s(world, 12.0) < TAKEOVER_S and not world.unwatched_since and world.twice_s == 0.0


@pytest.mark.parametrize("moment", range(0, 24, 2))
def test_cameras_stay_or_arrive_while_nobody_decides(moment: int) -> None:
    world, outage_s = settled(moment), 8.0
    world.join(NodeStatus(host="h", capacity=20.0, max_cameras=64))
    world.run(1.0 + moment / 8)  # cameras are about to go to it, on their way, or there
    world.leaderless = True
    gap_s = longest_gap_s(world, outage_s)
    world.leaderless = False
    assert max(gap_s, longest_gap_s(world, 10.0)) <= outage_s - (HOLD_S - RENEW_S) + 1.0
    assert world.twice_s == 0.0 and set(world.bucket.owners().values()) == {"g0", "g1", "g2", "g3"}


@pytest.mark.parametrize("seed", range(3))
def test_a_death_moves_its_own_cameras_alone_and_a_newcomer_gets_its_share(seed: int) -> None:
    requests = [CameraRequest(f"c{i}", 5.0) for i in range(120)]
    world = World(seed, requests, place)
    for _ in range(6):
        world.join(NodeStatus(host="h", capacity=100.0, max_cameras=64))
    world.run(10.0)
    assert not world.unwatched_since
    before = world.bucket.owners()
    victim = before["c0"]
    own = {camera for camera, gate in before.items() if gate == victim}
    world.gates[victim].dead = True
    world.run(10.0)
    after = world.bucket.owners()
    assert not world.unwatched_since and {camera for camera in before if before[camera] != after[camera]} == own
    new = world.join(NodeStatus(host="h", capacity=100.0, max_cameras=64)).name
    world.run(10.0)
    now = world.bucket.owners()
    moved = {camera for camera in after if after[camera] != now[camera]}
    assert all(now[camera] == new for camera in moved) and 18 <= len(moved) <= 21
    assert not world.unwatched_since and world.twice_s == 0.0
