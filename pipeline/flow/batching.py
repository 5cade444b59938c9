"""Batching: one frame of each live camera per batch; a file's frame is a batch of its own.

The last bits of a network's output depend on the other items of its batch. A file's frames are therefore processed
one by one, so that two runs over a file give bit-identical numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from typing import TypeVar

T = TypeVar("T")


def rounds(items: Sequence[T], live: Set[str], camera_of: Callable[[T], str]) -> Iterator[list[T]]:
    """Split items of a channel into batches; each camera's order is kept.

    Args:
        items: in order of arrival.
        live: names of the live cameras.
        camera_of: returns the camera of an item.
    """
    together: dict[str, T] = {}
    for item in items:
        camera = camera_of(item)
        if camera not in live:
            yield [item]
            continue
        if camera in together:
            yield list(together.values())
            together = {}
        together[camera] = item
    if together:
        yield list(together.values())
