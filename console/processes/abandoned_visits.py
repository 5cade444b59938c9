"""Visits in the store that no worker will end: its worker has lost them, or gate and worker are gone for good."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from facegate.recognition.worker.open_visits import OpenVisits
from facegate.store.reader import StoreReader
from facegate.store.writer import StoreWriter

ABANDONED_S = 8.0
"""A visit ends after this long without news that no worker holds open."""
WORKER_AWAY_S = 60.0
"""Likewise one that a worker holds open which does not run: it may be on its way."""


class AbandonedVisits:
    """Ends them; of one thread at a time. Counts on a monotonic clock alone: the host's may leap."""

    def __init__(self, store: StoreReader, path: Path, names: Path, worker_runs: Callable[[], bool]) -> None:
        """Configure.

        Args:
            store: reads the store.
            path: of the store.
            names: the folder in which workers keep their open visits.
            worker_runs: whether the worker that owns them is there.
        """
        self._store = store
        self._path = path
        self._names = names
        self._worker_runs = worker_runs
        self._since: dict[str, tuple[tuple[int, float], float]] = {}
        """For each open visit what was known of it last, and since when that has not changed."""

    def end(self, now: float) -> list[str]:
        """End what is abandoned at a monotonic time; return these visits.

        Raises:
            FacegateError: a file cannot be read or written.
        """
        since = {}
        for visit, known in self._store.open_visits().items():
            before = self._since.get(visit)
            since[visit] = before if before is not None and before[0] == known else (known, now)
        self._since = since
        quiet = {visit: now - at for visit, (_, at) in since.items() if now - at >= ABANDONED_S}
        if not quiet:
            return []
        held: set[str] = set()
        for file in sorted(self._names.glob("*.visits")):
            with OpenVisits(file) as kept:
                held |= kept.open_ids()
        away = not self._worker_runs()
        over = [
            visit for visit, seconds in quiet.items() if visit not in held or (away and seconds >= WORKER_AWAY_S)
        ]
        if over:
            with StoreWriter(self._path) as store:
                store.end_visits(over)
        return over
