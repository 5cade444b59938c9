"""Placement: everybody has a place, nobody moves for nothing, and the load follows capacity."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from facegate.fleet.placement import MAX_IMBALANCE, place
from facegate.fleet.records import CameraRequest, NodeCapacity

costs = st.sampled_from([1.0, 5.0, 10.0])
hosts = st.sampled_from(["a", "b", "c"])


@st.composite
def fleets(draw: st.DrawFn) -> tuple[list[CameraRequest], list[NodeCapacity], dict[str, str]]:
    seats = [
        NodeCapacity(
            gate=f"g{i}",
            host=draw(hosts),
            tags=tuple(draw(st.sets(st.sampled_from(["gpu", "dmz"])))),
            capacity=draw(st.floats(5.0, 200.0)),
            max_cameras=draw(st.integers(0, 20)),
            leaving=draw(st.booleans()) and draw(st.booleans()),
            config_error=frozenset(draw(st.sets(st.sampled_from(["c0", "c1"])))),
        )
        for i in range(draw(st.integers(0, 6)))
    ]
    wishes = [
        CameraRequest(
            camera=f"c{i}",
            cost=draw(costs),
            hosts=tuple(draw(st.sets(hosts, max_size=1))),
            tags=tuple(draw(st.sets(st.just("gpu")))),
            group=draw(st.sampled_from(["", "", "hall"])),
        )
        for i in range(draw(st.integers(0, 30)))
    ]
    owners = {wish.camera: f"g{draw(st.integers(0, 7))}" for wish in wishes if draw(st.booleans())}
    return wishes, seats, owners


@settings(max_examples=200)
@given(fleets())
def test_all_that_can_be_placed_is_and_placing_again_moves_nothing(
    fleet: tuple[list[CameraRequest], list[NodeCapacity], dict[str, str]],
) -> None:
    wishes, seats, owners = fleet
    plan = place(wishes, seats, owners)
    by_name = {seat.gate: seat for seat in seats}
    for wish in wishes:
        if wish.camera in plan:
            assert by_name[plan[wish.camera]].accepts(wish)
        else:
            held = list(plan.values())
            assert all(held.count(seat.gate) >= seat.max_cameras for seat in seats if seat.accepts(wish))
    for seat in seats:
        began = sum(owner == seat.gate for owner in owners.values())
        assert list(plan.values()).count(seat.gate) <= max(seat.max_cameras, began)
    assert place(list(reversed(wishes)), list(reversed(seats)), owners) == plan, "order does not matter"
    assert place(wishes, seats, plan) == plan


@settings(max_examples=50)
@given(st.lists(st.floats(20.0, 200.0), min_size=2, max_size=8), st.integers(0, 1000))
def test_the_load_follows_capacity(capacities: list[float], salt: int) -> None:
    seats = [NodeCapacity(f"g{i}", "h", (), capacity, 10_000) for i, capacity in enumerate(capacities)]
    wishes = [CameraRequest(f"{salt}-{i}", 1.0) for i in range(int(sum(capacities)))]
    level = len(wishes) / sum(capacities)
    loads = dict.fromkeys((seat.gate for seat in seats), 0.0)
    for gate in place(wishes, seats, {}).values():
        loads[gate] += 1.0
    for seat in seats:
        assert abs(loads[seat.gate] / seat.capacity - level) <= MAX_IMBALANCE * level + 1.0 / seat.capacity


def test_a_death_moves_the_dead_ones_cameras_and_a_join_the_newcomers_share() -> None:
    seats = [NodeCapacity(f"g{i}", "h", (), 100.0, 64) for i in range(20)]
    wishes = [CameraRequest(f"c{i}", 5.0) for i in range(400)]
    before = place(wishes, seats, {})
    after = place(wishes, seats[1:], before)
    moved = {camera for camera in before if before[camera] != after[camera]}
    assert moved == {camera for camera, gate in before.items() if gate == "g0"}
    joined = place(wishes, [*seats, NodeCapacity("new", "h", (), 100.0, 64)], before)
    moved = {camera for camera in before if before[camera] != joined[camera]}
    assert {joined[camera] for camera in moved} == {"new"} and 17 <= len(moved) <= 20


def test_a_drained_gate_gives_all_away() -> None:
    seats = [NodeCapacity(f"g{i}", "h", (), 100.0, 64) for i in range(4)]
    wishes = [CameraRequest(f"c{i}", 5.0) for i in range(40)]
    plan = place(wishes, seats, {})
    drained = place(wishes, [msgspec.structs.replace(seats[0], leaving=True), *seats[1:]], plan)
    assert "g0" not in drained.values() and len(drained) == 40
    assert all(drained[camera] == gate for camera, gate in plan.items() if gate != "g0")


def test_a_group_stays_together() -> None:
    seats = [NodeCapacity(f"g{i}", "h", (), 100.0, 64) for i in range(4)]
    wishes = [CameraRequest(f"c{i}", 5.0, group="hall" if i < 5 else "") for i in range(40)]
    plan = place(wishes, seats, {})
    (home,) = {plan[f"c{i}"] for i in range(5)}
    again = place(wishes, [seat for seat in seats if seat.gate != home], plan)
    assert len({again[f"c{i}"] for i in range(5)}) == 1
