"""Handoff of leases: a node stops watching the camera, then writes. Pure.

Once that write is in flight, another node may have the camera at any time: it is not watched under that lease
again, unless the write was certainly not made.
"""

from __future__ import annotations

from collections.abc import Mapping

from facegate.fleet.pending_writes import Write


class LeaseHandoff:
    """Handoffs of one node; leases are identified by their revisions."""

    def __init__(self) -> None:
        self._released: dict[str, int] = {}
        self._in_flight: dict[str, Write] = {}
        """The first write that gave each lease up; it may arrive at any time."""

    def is_held(self, camera: str, revision: int) -> bool:
        """Whether the camera may still be watched."""
        return not self.was_released(camera, revision) and not self.in_flight(camera, revision)

    def was_released(self, camera: str, revision: int) -> bool:
        """Whether the lease is given up as soon as the camera is no longer watched."""
        return self._released.get(camera) == revision

    def in_flight(self, camera: str, revision: int) -> bool:
        """Whether a write that gives the lease up is in flight."""
        write = self._in_flight.get(camera)
        return write is not None and write.expected == revision

    def release(self, leases: Mapping[str, int], may_release: bool) -> bool:
        """Release exactly these leases; return whether some have to wait.

        Args:
            leases: leases that other nodes are to have.
            may_release: whether further leases may be released now.
        """
        self._released = {
            camera: revision
            for camera, revision in leases.items()
            if may_release or self.was_released(camera, revision)
        }
        return len(self._released) < len(leases)

    def begin(self, camera: str, write: Write) -> None:
        """Record that the write is in flight."""
        if not self.in_flight(camera, write.expected):
            self._in_flight[camera] = write

    def write_rejected(self, camera: str, write: Write) -> None:
        """Record that the write was certainly not made."""
        if self._in_flight.get(camera) is write:
            del self._in_flight[camera]
            self._released.pop(camera, None)
