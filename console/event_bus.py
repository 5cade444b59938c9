"""What happens, on its way to everybody who has a page open; who does not keep up is told to look anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

MAX_QUEUED = 200


class ConsoleEvent(msgspec.Struct, frozen=True):
    """One of them."""

    kind: str
    data: bytes
    """JSON."""


RESYNC = ConsoleEvent("anew", b"{}")
"""Some were left out: load again what is shown."""


class EventBus:
    """Of one event loop; :meth:`publish` may be called from any thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: set[asyncio.Queue[ConsoleEvent | None]] = set()

    def begin(self) -> None:
        """Called on the loop, once."""
        self._loop = asyncio.get_running_loop()

    def end(self) -> None:
        """Let all listeners go."""
        for queue in self._listeners:
            _put(queue, None)

    @property
    def has_subscribers(self) -> bool:
        """Whether anybody listens."""
        return bool(self._listeners)

    def publish(self, kind: str, what: Any) -> None:
        """Tell everybody who listens now."""
        if self._loop is not None and self._listeners:
            event = ConsoleEvent(kind, msgspec.json.encode(what))
            self._loop.call_soon_threadsafe(self._publish, event)

    def _publish(self, event: ConsoleEvent) -> None:
        for queue in self._listeners:
            _put(queue, event)

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[asyncio.Queue[ConsoleEvent | None]]:
        """A queue of events; ``None`` is its end."""
        queue: asyncio.Queue[ConsoleEvent | None] = asyncio.Queue(MAX_QUEUED)
        self._listeners.add(queue)
        try:
            yield queue
        finally:
            self._listeners.discard(queue)


def _put(queue: asyncio.Queue[ConsoleEvent | None], event: ConsoleEvent | None) -> None:
    if queue.full():
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(RESYNC)
    queue.put_nowait(event)
