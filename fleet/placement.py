"""Who should watch which camera: rendezvous hashing, weighted by capacity, bounded in load, loath to move. Pure.

Every gate computes the same from the same bucket, so nobody has to be asked. A camera stays with the gate that has
it; one without a gate goes to the gate that ranks it highest among those below their share (Thaler and Ravishankar,
1998; bounded loads: Mirrokni et al., arXiv 1608.01350). Only where a gate is a tenth off its share do cameras move,
one at a time from the fullest to the emptiest, and never further than to the point where both are alike.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b

from facegate.fleet.records import Seat, Wish

SLACK = 0.05
"""A camera goes where it ranks highest among gates below their share, then among those within this of it."""
OFF = 0.10
"""Nothing moves before a gate is this far off its share."""
GROUP_SLACK = 0.25
"""What a group's gate may be over its share before the group is split."""


@lru_cache(maxsize=1 << 19)
def _unit(camera: str, gate: str) -> float:
    """A number in (0, 1) that only depends on these two."""
    digest = blake2b(f"{camera}\0{gate}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") + 1) / (2**64 + 2)


def rank(camera: str, seat: Seat) -> float:
    """How much a camera belongs to a gate: being the highest falls to each as often as its capacity says."""
    return -seat.capacity / math.log(_unit(camera, seat.gate))


def place(wishes: Sequence[Wish], seats: Sequence[Seat], owners: Mapping[str, str]) -> dict[str, str]:
    """Return the gate of each camera; one that no gate can take is left out.

    Args:
        wishes: cameras that are to be watched, by name in any order.
        seats: gates that are there.
        owners: the gate that each camera has now, or is on its way to.
    """
    return _Placing(wishes, seats, owners).place()


class _Placing:
    def __init__(self, wishes: Sequence[Wish], seats: Sequence[Seat], owners: Mapping[str, str]) -> None:
        self._wishes = sorted(wishes, key=lambda wish: wish.camera)
        self._seats = {seat.gate: seat for seat in sorted(seats, key=lambda seat: seat.gate)}
        self._owners = owners
        self._at: dict[str, dict[str, Wish]] = {gate: {} for gate in self._seats}
        self._load = dict.fromkeys(self._seats, 0.0)
        self._groups: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
        open_seats = [seat for seat in self._seats.values() if not seat.leaving]
        self._level = sum(wish.cost for wish in wishes) / max(1e-9, sum(seat.capacity for seat in open_seats))

    def place(self) -> dict[str, str]:
        homeless = []
        for wish in self._wishes:
            seat = self._seats.get(self._owners.get(wish.camera, ""))
            if seat is not None and seat.takes(wish):
                self._put(wish, seat.gate)
            else:
                homeless.append(wish)
        choices = {
            wish.camera: [seat for seat in self._seats.values() if seat.takes(wish) and not seat.quiet]
            for wish in homeless
        }
        # Those with the least choice first, or their gates would be full.
        homeless.sort(key=lambda wish: (len(choices[wish.camera]), wish.camera))
        while True:
            left = [wish for wish in homeless if not self._home(wish, choices[wish.camera])]
            self._balance()
            if not left or len(left) == len(homeless):
                return {camera: gate for gate, cameras in self._at.items() for camera in cameras}
            homeless = left  # where a gate was full and gave something away there is room now

    def _home(self, wish: Wish, choice: list[Seat]) -> bool:
        seat = self._choose(wish, choice)
        if seat is not None:
            self._put(wish, seat.gate)
        return seat is not None

    def _put(self, wish: Wish, gate: str) -> None:
        self._at[gate][wish.camera] = wish
        self._load[gate] += wish.cost
        if wish.group:
            self._groups[wish.group][gate] += 1

    def _take(self, wish: Wish, gate: str) -> None:
        del self._at[gate][wish.camera]
        self._load[gate] -= wish.cost
        if wish.group:
            self._groups[wish.group][gate] -= 1

    def _filled(self, gate: str, more: float = 0.0) -> float:
        """Load by capacity."""
        return (self._load[gate] + more) / self._seats[gate].capacity

    def _choose(self, wish: Wish, seats: list[Seat]) -> Seat | None:
        free = [seat for seat in seats if len(self._at[seat.gate]) < seat.most]
        if not free:
            return None
        if wish.group:
            known = self._groups[wish.group]
            together = [seat for seat in free if known[seat.gate]]
            home = max(together, key=lambda seat: (known[seat.gate], seat.gate), default=None)
            if home is not None and self._filled(home.gate, wish.cost) <= self._level * (1 + GROUP_SLACK):
                return home
        for bound in (self._level, self._level * (1 + SLACK)):
            below = [seat for seat in free if self._filled(seat.gate, wish.cost) <= bound + 1e-9]
            if below:
                return max(below, key=lambda seat: rank(wish.camera, seat))
        return min(free, key=lambda seat: (self._filled(seat.gate, wish.cost), seat.gate))

    def _balance(self) -> None:
        gates = [gate for gate, seat in self._seats.items() if not seat.leaving and not seat.quiet]
        for _ in self._wishes:
            by_load = sorted(gates, key=lambda gate: (self._filled(gate), gate))
            if not by_load or not self._off(by_load[0], by_load[-1]) or not self._move_one(by_load):
                return

    def _off(self, emptiest: str, fullest: str) -> bool:
        return self._filled(fullest) > (1 + OFF) * self._level or self._filled(emptiest) < (1 - OFF) * self._level

    def _move_one(self, by_load: list[str]) -> bool:
        """Move a camera from a full gate to an empty one where that brings them closer; return whether one did."""
        for fullest in reversed(by_load):
            for emptiest in by_load:
                if self._filled(fullest) - self._filled(emptiest) <= OFF * self._level:
                    break
                wish = self._movable(fullest, emptiest)
                if wish is not None:
                    self._take(wish, fullest)
                    self._put(wish, emptiest)
                    return True
        return False

    def _movable(self, fullest: str, emptiest: str) -> Wish | None:
        to = self._seats[emptiest]
        if len(self._at[emptiest]) >= to.most:
            return None
        before = self._filled(fullest)
        found = [
            wish
            for wish in self._at[fullest].values()
            if self._filled(emptiest, wish.cost) < before - 1e-9 and to.takes(wish)
        ]
        # A group is split last.
        return max(found, key=lambda wish: (not wish.group, rank(wish.camera, to), wish.camera), default=None)
