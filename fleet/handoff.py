"""Leases that a gate gives up: it lets go of the camera, then it writes. Pure.

From the moment at which that write is on its way another gate may have the camera, however long it takes: by that
lease it is not watched again, unless the write was certainly not made.
"""

from __future__ import annotations

from collections.abc import Mapping

from facegate.fleet.pending_writes import Write


class LeaseHandoff:
    """Of one gate; leases are told apart by their revisions."""

    def __init__(self) -> None:
        self._let_go: dict[str, int] = {}
        self._given: dict[str, Write] = {}
        """The first write that gave each lease up, which may have arrived or arrive at any time."""

    def is_held(self, camera: str, revision: int) -> bool:
        """Whether the camera may still be watched."""
        return not self.was_released(camera, revision) and not self.in_flight(camera, revision)

    def was_released(self, camera: str, revision: int) -> bool:
        """Whether the lease is to be given up as soon as nobody watches the camera any more."""
        return self._let_go.get(camera) == revision

    def in_flight(self, camera: str, revision: int) -> bool:
        """Whether a write that gives the lease up is on its way."""
        write = self._given.get(camera)
        return write is not None and write.expected == revision

    def release(self, leases: Mapping[str, int], now_is_the_time: bool) -> bool:
        """Let go of the cameras of these leases, and of no other; return whether some have to wait.

        Args:
            leases: what others are to have.
            now_is_the_time: whether more may be let go of now.
        """
        self._let_go = {
            camera: revision
            for camera, revision in leases.items()
            if now_is_the_time or self.was_released(camera, revision)
        }
        return len(self._let_go) < len(leases)

    def begin(self, camera: str, write: Write) -> None:
        """The write is on its way."""
        if not self.in_flight(camera, write.expected):
            self._given[camera] = write

    def write_rejected(self, camera: str, write: Write) -> None:
        """The write was certainly not made."""
        if self._given.get(camera) is write:
            del self._given[camera]
            self._let_go.pop(camera, None)
