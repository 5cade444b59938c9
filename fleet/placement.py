"""Placement of cameras: rendezvous hashing, weighted by capacity, with bounded loads and few moves. Pure.

Every node computes the same plan from the same bucket, without coordination. A camera stays on its node; one
without a node goes to the one that ranks it highest among those below their share (Thaler and Ravishankar, 1998;
bounded loads: Mirrokni et al., arXiv 1608.01350). Cameras move only if a node is 10 % off its share: one at a time,
from the fullest to the emptiest, until both are equally full.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from facegate.fleet.records import CameraRequest, NodeCapacity

SLACK = 0.05
"""Relative excess over its share up to which a node is considered if none is below its share."""
MAX_IMBALANCE = 0.10
"""Relative deviation of a node from its share that starts moves."""
GROUP_SLACK = 0.25
"""Relative excess over its share up to which a node keeps a group together."""


@lru_cache(maxsize=1 << 16)
def _hash(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")


def ranks(camera: str, nodes: Sequence[NodeCapacity]) -> NDArray[np.float64]:
    """Rank of each node for a camera, ``(N,)``: each is highest with a probability proportional to its capacity."""
    gates = np.array([_hash(node.gate) for node in nodes], np.uint64)
    capacities = np.array([node.capacity for node in nodes])
    return _ranks(camera, gates, capacities)


def _ranks(camera: str, gates: NDArray[np.uint64], capacities: NDArray[np.float64]) -> NDArray[np.float64]:
    # SplitMix64 (Steele, Lea and Flood, 2014) of both names' hashes replaces a hash of the pair; vectorized.
    mixed = (gates ^ np.uint64(_hash(camera))) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    unit = (((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53
    found: NDArray[np.float64] = -capacities / np.log(unit)
    return found


def place(
    requests: Sequence[CameraRequest], nodes: Sequence[NodeCapacity], owners: Mapping[str, str]
) -> dict[str, str]:
    """Return the node of each camera; cameras that no node can take are omitted.

    Args:
        requests: cameras to watch, in any order.
        nodes: live nodes.
        owners: current or next node of each camera.
    """
    return _Placing(requests, nodes, owners).place()


class _Placing:
    def __init__(
        self, requests: Sequence[CameraRequest], nodes: Sequence[NodeCapacity], owners: Mapping[str, str]
    ) -> None:
        self._requests = sorted(requests, key=lambda request: request.camera)
        self._nodes = sorted(nodes, key=lambda node: node.gate)
        self._index = {node.gate: index for index, node in enumerate(self._nodes)}
        self._owners = owners
        self._gates = np.array([_hash(node.gate) for node in self._nodes], np.uint64)
        self._capacity = np.array([node.capacity for node in self._nodes])
        self._room = np.array([node.max_cameras for node in self._nodes])
        self._load = np.zeros(len(self._nodes))
        self._at: list[dict[str, CameraRequest]] = [{} for _ in self._nodes]
        self._groups: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self._level = sum(request.cost for request in requests) / max(
            1e-9, sum(node.capacity for node in nodes if not node.leaving)
        )

    def place(self) -> dict[str, str]:
        unplaced = []
        for request in self._requests:
            index = self._index.get(self._owners.get(request.camera, ""))
            if index is not None and self._nodes[index].accepts(request):
                self._put(request, index)
            else:
                unplaced.append(request)
        choices = {request.camera: self._choice(request) for request in unplaced}
        # Those with the fewest choices first, before their nodes are full.
        unplaced.sort(key=lambda request: (int(choices[request.camera].sum()), request.camera))
        while True:
            left = [request for request in unplaced if not self._try_place(request, choices[request.camera])]
            self._balance()
            if not left or len(left) == len(unplaced):
                return {request: self._nodes[index].gate for index, at in enumerate(self._at) for request in at}
            unplaced = left  # balancing may have made room on a full node

    def _choice(self, request: CameraRequest) -> NDArray[np.bool_]:
        """Mask of the nodes that may take a camera without a node."""
        return np.array([node.accepts(request) and not node.is_silent for node in self._nodes], bool)

    def _try_place(self, request: CameraRequest, choice: NDArray[np.bool_]) -> bool:
        index = self._choose(request, choice)
        if index is not None:
            self._put(request, index)
        return index is not None

    def _put(self, request: CameraRequest, index: int) -> None:
        self._at[index][request.camera] = request
        self._load[index] += request.cost
        self._room[index] -= 1
        if request.group:
            self._groups[request.group][index] += 1

    def _take(self, request: CameraRequest, index: int) -> None:
        del self._at[index][request.camera]
        self._load[index] -= request.cost
        self._room[index] += 1
        if request.group:
            self._groups[request.group][index] -= 1

    def _filled(self, index: int, more: float = 0.0) -> float:
        """Load divided by capacity."""
        return float((self._load[index] + more) / self._capacity[index])

    def _choose(self, request: CameraRequest, choice: NDArray[np.bool_]) -> int | None:
        free = choice & (self._room > 0)
        if not free.any():
            return None
        filled = (self._load + request.cost) / self._capacity
        if request.group:
            together = [
                (count, index) for index, count in self._groups[request.group].items() if count and free[index]
            ]
            if together and filled[max(together)[1]] <= self._level * (1 + GROUP_SLACK):
                return max(together)[1]
        for bound in (self._level, self._level * (1 + SLACK)):
            below = free & (filled <= bound + 1e-9)
            if below.any():
                return int(np.where(below, _ranks(request.camera, self._gates, self._capacity), -1.0).argmax())
        return int(np.where(free, filled, np.inf).argmin())

    def _balance(self) -> None:
        open_nodes = [index for index, node in enumerate(self._nodes) if not node.leaving and not node.is_silent]
        for _ in self._requests:
            by_load = sorted(open_nodes, key=self._filled)
            if not by_load or not self._off(by_load[0], by_load[-1]) or not self._move_one(by_load):
                return

    def _off(self, emptiest: int, fullest: int) -> bool:
        return (
            self._filled(fullest) > (1 + MAX_IMBALANCE) * self._level
            or self._filled(emptiest) < (1 - MAX_IMBALANCE) * self._level
        )

    def _move_one(self, by_load: list[int]) -> bool:
        """Move one camera from a fuller to an emptier node if that brings them closer; return whether one moved."""
        for fullest in reversed(by_load):
            for emptiest in by_load:
                if self._filled(fullest) - self._filled(emptiest) <= MAX_IMBALANCE * self._level:
                    break
                request = self._movable(fullest, emptiest)
                if request is not None:
                    self._take(request, fullest)
                    self._put(request, emptiest)
                    return True
        return False

    def _movable(self, fullest: int, emptiest: int) -> CameraRequest | None:
        to = self._nodes[emptiest]
        if self._room[emptiest] <= 0:
            return None
        before = self._filled(fullest)
        found = [
            request
            for request in self._at[fullest].values()
            if self._filled(emptiest, request.cost) < before - 1e-9 and to.accepts(request)
        ]
        # A group is split last.
        return max(
            found, key=lambda request: (not request.group, float(ranks(request.camera, [to])[0])), default=None
        )
