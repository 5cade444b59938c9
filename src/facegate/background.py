"""Objects with a thread of their own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from threading import Event, Thread
from typing import ClassVar, Self


class BackgroundThread(ABC):
    """Runs :meth:`_run` in a daemon thread while its context is open."""

    join_timeout_s: ClassVar[float | None] = None
    """Maximum seconds to wait for the end of the thread; as long as it takes by default."""

    def __init__(self, name: str) -> None:
        self._stop = Event()
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the thread and wait for it; idempotent."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(self.join_timeout_s)

    @abstractmethod
    def _run(self) -> None:
        """Work until ``_stop`` is set."""
