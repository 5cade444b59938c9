"""A TCP server on loopback with one thread per connection; all threads end with it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Self


class Listener:
    """Accepts connections and runs ``serve`` for each in its own thread."""

    def __init__(self, serve: Callable[[socket.socket], None], port: int = 0) -> None:
        """Bind; nothing is accepted before the context is entered.

        Args:
            serve: called with a connection, which it owns.
            port: a free one by default.
        """
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self.stopping = Event()
        self._lock = Lock()
        self._threads: list[Thread] = []

    def __enter__(self) -> Self:
        self.spawn(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop accepting and wait for every thread; the owner must make them end."""
        self.stop()
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join()

    def stop(self) -> None:
        """Stop accepting."""
        self.stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def spawn(self, target: Callable[..., None], *args: object) -> None:
        """Start a thread that ``__exit__`` waits for."""
        thread = Thread(target=target, args=args, daemon=True)
        with self._lock:
            self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.spawn(self._serve, client)
