"""Bounded channels between stages: the only place where records queue.

A channel has one lane per producer and one consumer. A lane either blocks its producer when full (lossless) or
overwrites its oldest record and counts it (live cameras keep the newest frame with a capacity of one). The
consumer takes from the lanes in turn, so a busy camera cannot starve the others.

End of stream travels through: when every lane is closed and empty, ``take`` raises :class:`EndOfStream`.
``abort`` wakes all waiters with :class:`Aborted`; queued records are discarded.
"""

from __future__ import annotations

from collections import deque
from threading import Condition
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")


class EndOfStream(Exception):  # noqa: N818 - a signal, not an error
    """Every producer has finished and nothing is left."""


class Aborted(Exception):  # noqa: N818 - a signal, not an error
    """The run is being aborted; every waiter must return."""


class Lane(Generic[T]):
    """The producer's end of a channel."""

    def __init__(self, channel: Channel[T], capacity: int, overwrite: bool) -> None:
        self._channel = channel
        self._capacity = capacity
        self._overwrite = overwrite
        self._items: deque[T] = deque()
        self._closed = False
        self.overwritten = 0

    def resize(self, capacity: int, *, overwrite: bool) -> None:
        """Change what a full lane does; what is queued stays."""
        with self._channel.changed:
            self._capacity, self._overwrite = capacity, overwrite
            self._channel.changed.notify_all()

    def put(self, item: T) -> None:
        """Queue ``item``; waits while full, or replaces the oldest on an overwriting lane."""
        changed = self._channel.changed
        with changed:
            if self._overwrite and len(self._items) >= self._capacity:
                self._items.popleft()
                self.overwritten += 1
            changed.wait_for(lambda: self._channel.aborted or len(self._items) < self._capacity)
            if self._channel.aborted:
                raise Aborted
            self._items.append(item)
            changed.notify_all()

    @property
    def full(self) -> bool:
        """Whether the next :meth:`put` would wait or overwrite."""
        return len(self._items) >= self._capacity

    def drained(self) -> None:
        """Wait until the consumer has taken everything, after :meth:`close`."""
        changed = self._channel.changed
        with changed:
            changed.wait_for(lambda: self._channel.aborted or not self._items)

    def close(self, last: T | None = None) -> None:
        """Mark the end of the stream; ``last`` is queued beyond the capacity and overwrites nothing."""
        with self._channel.changed:
            if last is not None:
                self._items.append(last)
            self._closed = True
            self._channel.changed.notify_all()


class Channel(Generic[T]):
    """A bounded queue with one lane per producer and one consumer."""

    def __init__(self) -> None:
        self.changed = Condition()
        self.aborted = False
        self._lanes: deque[Lane[T]] = deque()

    def lane(self, capacity: int, *, overwrite: bool = False) -> Lane[T]:
        """Add a producer. The stream ends when every lane is closed and empty, so add the first before taking."""
        lane = Lane(self, capacity, overwrite)
        with self.changed:
            self._lanes.append(lane)
        return lane

    def abort(self) -> None:
        """Wake every waiter with :class:`Aborted`."""
        with self.changed:
            self.aborted = True
            self.changed.notify_all()

    def take(self, limit: int = 1, timeout_s: float | None = None) -> list[T]:
        """Return 1 to ``limit`` records, one lane after the other; an empty list only after ``timeout_s``.

        Raises:
            EndOfStream: all lanes are closed and empty.
            Aborted: the run is being aborted.
        """
        deadline = None if timeout_s is None else monotonic() + timeout_s
        with self.changed:
            while True:
                if self.aborted:
                    raise Aborted
                items = self._take_in_turn(limit)
                if items:
                    self.changed.notify_all()
                    return items
                if all(lane._closed for lane in self._lanes):
                    raise EndOfStream
                left = None if deadline is None else deadline - monotonic()
                if left is not None and left <= 0:
                    return []
                self.changed.wait(left)

    def _take_in_turn(self, limit: int) -> list[T]:
        items: list[T] = []
        idle = 0
        while len(items) < limit and idle < len(self._lanes):
            lane = self._lanes[0]
            self._lanes.rotate(-1)
            if lane._items:
                items.append(lane._items.popleft())
                idle = 0
            elif lane._closed and len(self._lanes) > 1:
                self._lanes.pop()  # a camera that has ended
            else:
                idle += 1
        return items
