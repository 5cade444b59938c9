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
    nodes = [
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
    requests = [
        CameraRequest(
            camera=f"c{i}",
            cost=draw(costs),
            hosts=tuple(draw(st.sets(hosts, max_size=1))),
            tags=tuple(draw(st.sets(st.just("gpu")))),
            group=draw(st.sampled_from(["", "", "hall"])),
        )
        for i in range(draw(st.integers(0, 30)))
    ]
    owners = {request.camera: f"g{draw(st.integers(0, 7))}" for request in requests if draw(st.booleans())}
    return requests, nodes, owners


@settings(max_examples=200)
@given(fleets())
def test_all_that_can_be_placed_is_and_placing_again_moves_nothing(
    fleet: tuple[list[CameraRequest], list[NodeCapacity], dict[str, str]],
) -> None:
    requests, nodes, owners = fleet
    plan = place(requests, nodes, owners)
    by_name = {node.gate: node for node in nodes}
    for request in requests:
        if request.camera in plan:
            assert by_name[plan[request.camera]].accepts(request)
        else:
            held = list(plan.values())
            assert all(held.count(node.gate) >= node.max_cameras for node in nodes if node.accepts(request))
    for node in nodes:
        began = sum(owner == node.gate for owner in owners.values())
        assert list(plan.values()).count(node.gate) <= max(node.max_cameras, began)
    assert place(list(reversed(requests)), list(reversed(nodes)), owners) == plan, "order does not matter"
    assert place(requests, nodes, plan) == plan


@settings(max_examples=50)
@given(st.lists(st.floats(20.0, 200.0), min_size=2, max_size=8), st.integers(0, 1000))
def test_the_load_follows_capacity(capacities: list[float], salt: int) -> None:
    nodes = [NodeCapacity(f"g{i}", "h", (), capacity, 10_000) for i, capacity in enumerate(capacities)]
    requests = [CameraRequest(f"{salt}-{i}", 1.0) for i in range(int(sum(capacities)))]
    level = len(requests) / sum(capacities)
    loads = dict.fromkeys((node.gate for node in nodes), 0.0)
    for gate in place(requests, nodes, {}).values():
        loads[gate] += 1.0
    for node in nodes:
        assert abs(loads[node.gate] / node.capacity - level) <= MAX_IMBALANCE * level + 1.0 / node.capacity


def test_a_death_moves_the_dead_ones_cameras_and_a_join_the_newcomers_share() -> None:
    nodes = [NodeCapacity(f"g{i}", "h", (), 100.0, 64) for i in range(20)]
    requests = [CameraRequest(f"c{i}", 5.0) for i in range(400)]
    before = place(requests, nodes, {})
    after = place(requests, nodes[1:], before)
    moved = {camera for camera in before if before[camera] != after[camera]}
    assert moved == {camera for camera, gate in before.items() if gate == "g0"}
    joined = place(requests, [*nodes, NodeCapacity("new", "h", (), 100.0, 64)], before)
    moved = {camera for camera in before if before[camera] != joined[camera]}
    assert {joined[camera] for camera in moved} == {"new"} and 17 <= len(moved) <= 20


def test_a_drained_gate_gives_all_away() -> None:
    nodes = [NodeCapacity(f"g{i}", "h", (), 100.0, 64) for i in range(4)]
    requests = [CameraRequest(f"c{i}", 5.0) for i in range(40)]
    plan = place(requests, nodes, {})
    drained = place(requests, [msgspec.structs.replace(nodes[0], leaving=True), *nodes[1:]], plan)
    assert "g0" not in drained.values() and len(drained) == 40
    assert all(drained[camera] == gate for camera, gate in plan.items() if gate != "g0")


def test_a_group_stays_together() -> None:
    nodes = [NodeCapacity(f"g{i}", "h", (), 100.0, 64) for i in range(4)]
    requests = [CameraRequest(f"c{i}", 5.0, group="hall" if i < 5 else "") for i in range(40)]
    plan = place(requests, nodes, {})
    (home,) = {plan[f"c{i}"] for i in range(5)}
    again = place(requests, [node for node in nodes if node.gate != home], plan)
    assert len({again[f"c{i}"] for i in range(5)}) == 1
