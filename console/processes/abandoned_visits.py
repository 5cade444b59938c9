"""Ends open visits in the store that no worker will end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from facegate.recognition.worker.open_visits import OpenVisits
from facegate.store.reader import StoreReader
from facegate.store.writer import StoreWriter

ABANDONED_S = 8.0
"""A visit that no worker holds open ends after this long without a change, seconds."""
WORKER_AWAY_S = 60.0
"""The same for a visit held open by a worker that does not run: it may be restarting."""


class AbandonedVisits:
    """Ends abandoned visits, by the monotonic clock alone; not thread-safe."""

    def __init__(self, store: StoreReader, path: Path, names: Path, worker_runs: Callable[[], bool]) -> None:
        """Configure.

        Args:
            store: reader of the store.
            path: path of the store.
            names: folder with the open visits of workers.
            worker_runs: returns whether the worker runs.
        """
        self._store = store
        self._path = path
        self._names = names
        self._worker_runs = worker_runs
        self._since: dict[str, tuple[tuple[int, float], float]] = {}
        """Last state of each open visit, and since when it has not changed."""

    def end(self, now: float) -> list[str]:
        """End visits that are abandoned at ``now`` (monotonic seconds); return their IDs.

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
        abandoned = [
            visit for visit, seconds in quiet.items() if visit not in held or (away and seconds >= WORKER_AWAY_S)
        ]
        if abandoned:
            with StoreWriter(self._path) as store:
                store.end_visits(abandoned)
        return abandoned
