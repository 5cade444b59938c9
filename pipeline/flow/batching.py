"""What may share a batch: of live cameras whatever waits, of a file always the same frames.

The last bits of a network's output depend on what shares its batch. A file's batches are therefore made of that
file's frames alone, in groups of a fixed size: two runs over a file give the same numbers, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import Generic, TypeVar

T = TypeVar("T")


class Batcher(Generic[T]):
    """Splits what was taken from a channel into batches; keeps each camera's order."""

    def __init__(self, live: Set[str], size: int, place: Callable[[T], tuple[str, bool]]) -> None:
        """Batch files by ``size``.

        Args:
            live: names of the cameras whose frames wait for nothing; may change.
            size: frames of a file that share a batch.
            place: the camera of an item, and whether it is that camera's last.
        """
        self._live = live
        self._size = size
        self._place = place
        self._files: dict[str, list[T]] = {}

    def split(self, items: Sequence[T]) -> list[list[T]]:
        """Return the batches that are complete now: first all live items, then each full group of a file."""
        live: list[T] = []
        full: list[list[T]] = []
        for item in items:
            camera, last = self._place(item)
            if camera in self._live:
                live.append(item)
                continue
            group = self._files.setdefault(camera, [])
            group.append(item)
            if last or len(group) == self._size:
                full.append(self._files.pop(camera))
        return [live, *full] if live else full
