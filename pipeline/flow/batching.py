"""What is looked at or scored together: of live cameras one frame each, of a file one frame alone.

The last bits of a network's output depend on what shares its batch. A file's frames therefore share theirs with
nothing: two runs over a file give the same numbers, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from typing import TypeVar

T = TypeVar("T")


def rounds(items: Sequence[T], live: Set[str], camera_of: Callable[[T], str]) -> Iterator[list[T]]:
    """Split what was taken from a channel into batches; each camera's order is kept.

    Args:
        items: in the order in which they came.
        live: names of the live cameras.
        camera_of: the camera of an item.
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
