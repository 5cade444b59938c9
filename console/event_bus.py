"""Distributes events to open pages; a page that falls behind gets ``resync`` instead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

MAX_QUEUED = 200


class ConsoleEvent(msgspec.Struct, frozen=True):
    """An event."""

    kind: str
    data: bytes
    """JSON."""


RESYNC = ConsoleEvent("resync", b"{}")
"""Events were dropped: the page must reload its data."""


class EventBus:
    """Event bus of one event loop; :meth:`publish` is thread-safe."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._subscribers: set[asyncio.Queue[ConsoleEvent | None]] = set()

    def begin(self) -> None:
        """Bind to the running event loop."""
        self._loop = asyncio.get_running_loop()

    def end(self) -> None:
        """End all subscriptions."""
        for queue in self._subscribers:
            _put(queue, None)

    @property
    def has_subscribers(self) -> bool:
        """Whether there is a subscription."""
        return bool(self._subscribers)

    def publish(self, kind: str, payload: Any) -> None:
        """Send an event to all current subscribers."""
        if self._loop is not None and self._subscribers:
            event = ConsoleEvent(kind, msgspec.json.encode(payload))
            self._loop.call_soon_threadsafe(self._publish, event)

    def _publish(self, event: ConsoleEvent) -> None:
        for queue in self._subscribers:
            _put(queue, event)

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[asyncio.Queue[ConsoleEvent | None]]:
        """Subscribe; ``None`` in the queue marks the end."""
        queue: asyncio.Queue[ConsoleEvent | None] = asyncio.Queue(MAX_QUEUED)
        self._subscribers.add(queue)
        try:
            yield queue
        finally:
            self._subscribers.discard(queue)


def _put(queue: asyncio.Queue[ConsoleEvent | None], event: ConsoleEvent | None) -> None:
    if queue.full():
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(RESYNC)
    queue.put_nowait(event)
