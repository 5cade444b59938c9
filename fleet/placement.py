"""Who should watch which camera: rendezvous hashing, weighted by capacity, bounded in load, loath to move. Pure.

Every gate computes the same from the same bucket, so nobody has to be asked. A camera stays with the gate that has
it; one without a gate goes to the gate that ranks it highest among those below their share (Thaler and Ravishankar,
1998; bounded loads: Mirrokni et al., arXiv 1608.01350). Only where a gate is a tenth off its share do cameras move,
one at a time from the fullest to the emptiest, and never further than to the point where both are alike.
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
"""A camera goes where it ranks highest among gates below their share, then among those within this of it."""
MAX_IMBALANCE = 0.10
"""Nothing moves before a gate is this far off its share."""
GROUP_SLACK = 0.25
"""What a group's gate may be over its share before the group is split."""


@lru_cache(maxsize=1 << 16)
def _hash(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")


def ranks(camera: str, seats: Sequence[NodeCapacity]) -> NDArray[np.float64]:
    """How much a camera belongs to each gate: being the highest falls to each as often as its capacity says."""
    gates = np.array([_hash(seat.gate) for seat in seats], np.uint64)
    capacities = np.array([seat.capacity for seat in seats])
    return _ranks(camera, gates, capacities)


def _ranks(camera: str, gates: NDArray[np.uint64], capacities: NDArray[np.float64]) -> NDArray[np.float64]:
    # SplitMix64 (Steele, Lea and Flood, 2014) of both names' hashes: as good as a hash of the two, and all at once.
    mixed = (gates ^ np.uint64(_hash(camera))) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    unit = (((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53
    found: NDArray[np.float64] = -capacities / np.log(unit)
    return found


def place(
    wishes: Sequence[CameraRequest], seats: Sequence[NodeCapacity], owners: Mapping[str, str]
) -> dict[str, str]:
    """Return the gate of each camera; one that no gate can take is left out.

    Args:
        wishes: cameras that are to be watched, by name in any order.
        seats: gates that are there.
        owners: the gate that each camera has now, or is on its way to.
    """
    return _Placing(wishes, seats, owners).place()


class _Placing:
    def __init__(
        self, wishes: Sequence[CameraRequest], seats: Sequence[NodeCapacity], owners: Mapping[str, str]
    ) -> None:
        self._wishes = sorted(wishes, key=lambda wish: wish.camera)
        self._seats = sorted(seats, key=lambda seat: seat.gate)
        self._index = {seat.gate: index for index, seat in enumerate(self._seats)}
        self._owners = owners
        self._gates = np.array([_hash(seat.gate) for seat in self._seats], np.uint64)
        self._capacity = np.array([seat.capacity for seat in self._seats])
        self._room = np.array([seat.max_cameras for seat in self._seats])
        self._load = np.zeros(len(self._seats))
        self._at: list[dict[str, CameraRequest]] = [{} for _ in self._seats]
        self._groups: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self._level = sum(wish.cost for wish in wishes) / max(
            1e-9, sum(seat.capacity for seat in seats if not seat.leaving)
        )

    def place(self) -> dict[str, str]:
        homeless = []
        for wish in self._wishes:
            index = self._index.get(self._owners.get(wish.camera, ""))
            if index is not None and self._seats[index].accepts(wish):
                self._put(wish, index)
            else:
                homeless.append(wish)
        choices = {wish.camera: self._choice(wish) for wish in homeless}
        # Those with the least choice first, or their gates would be full.
        homeless.sort(key=lambda wish: (int(choices[wish.camera].sum()), wish.camera))
        while True:
            left = [wish for wish in homeless if not self._home(wish, choices[wish.camera])]
            self._balance()
            if not left or len(left) == len(homeless):
                return {wish: self._seats[index].gate for index, at in enumerate(self._at) for wish in at}
            homeless = left  # where a gate was full and gave something away there is room now

    def _choice(self, wish: CameraRequest) -> NDArray[np.bool_]:
        """Which gates may take a camera that has none."""
        return np.array([seat.accepts(wish) and not seat.is_silent for seat in self._seats], bool)

    def _home(self, wish: CameraRequest, choice: NDArray[np.bool_]) -> bool:
        index = self._choose(wish, choice)
        if index is not None:
            self._put(wish, index)
        return index is not None

    def _put(self, wish: CameraRequest, index: int) -> None:
        self._at[index][wish.camera] = wish
        self._load[index] += wish.cost
        self._room[index] -= 1
        if wish.group:
            self._groups[wish.group][index] += 1

    def _take(self, wish: CameraRequest, index: int) -> None:
        del self._at[index][wish.camera]
        self._load[index] -= wish.cost
        self._room[index] += 1
        if wish.group:
            self._groups[wish.group][index] -= 1

    def _filled(self, index: int, more: float = 0.0) -> float:
        """Load by capacity."""
        return float((self._load[index] + more) / self._capacity[index])

    def _choose(self, wish: CameraRequest, choice: NDArray[np.bool_]) -> int | None:
        free = choice & (self._room > 0)
        if not free.any():
            return None
        filled = (self._load + wish.cost) / self._capacity
        if wish.group:
            together = [
                (count, index) for index, count in self._groups[wish.group].items() if count and free[index]
            ]
            if together and filled[max(together)[1]] <= self._level * (1 + GROUP_SLACK):
                return max(together)[1]
        for bound in (self._level, self._level * (1 + SLACK)):
            below = free & (filled <= bound + 1e-9)
            if below.any():
                return int(np.where(below, _ranks(wish.camera, self._gates, self._capacity), -1.0).argmax())
        return int(np.where(free, filled, np.inf).argmin())

    def _balance(self) -> None:
        open_seats = [index for index, seat in enumerate(self._seats) if not seat.leaving and not seat.is_silent]
        for _ in self._wishes:
            by_load = sorted(open_seats, key=self._filled)
            if not by_load or not self._off(by_load[0], by_load[-1]) or not self._move_one(by_load):
                return

    def _off(self, emptiest: int, fullest: int) -> bool:
        return (
            self._filled(fullest) > (1 + MAX_IMBALANCE) * self._level
            or self._filled(emptiest) < (1 - MAX_IMBALANCE) * self._level
        )

    def _move_one(self, by_load: list[int]) -> bool:
        """Move a camera from a full gate to an empty one where that brings them closer; return whether one did."""
        for fullest in reversed(by_load):
            for emptiest in by_load:
                if self._filled(fullest) - self._filled(emptiest) <= MAX_IMBALANCE * self._level:
                    break
                wish = self._movable(fullest, emptiest)
                if wish is not None:
                    self._take(wish, fullest)
                    self._put(wish, emptiest)
                    return True
        return False

    def _movable(self, fullest: int, emptiest: int) -> CameraRequest | None:
        to = self._seats[emptiest]
        if self._room[emptiest] <= 0:
            return None
        before = self._filled(fullest)
        found = [
            wish
            for wish in self._at[fullest].values()
            if self._filled(emptiest, wish.cost) < before - 1e-9 and to.accepts(wish)
        ]
        # A group is split last.
        return max(found, key=lambda wish: (not wish.group, float(ranks(wish.camera, [to])[0])), default=None)
