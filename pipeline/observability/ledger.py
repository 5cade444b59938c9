"""The ledger: checks that every observed face ends in exactly one outcome.

The invariant ``observed == sum(outcomes)`` holds at the end of every run. Faces still undecided when a run is
stopped or fails end as ``stopped``; at a regular end there must be none, which :meth:`Ledger.close` checks.
"""

from __future__ import annotations

from collections import Counter
from threading import Lock

from facegate.errors import FacegateError
from facegate.pipeline.records import Face, Outcome


class AccountingError(FacegateError):
    """A face had no outcome, or two."""


class Ledger:
    """Counts faces and outcomes per camera; thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._open: dict[str, set[str]] = {}
        self._observed: Counter[str] = Counter()
        self._outcomes: dict[str, Counter[Outcome]] = {}

    def observe(self, face: Face) -> None:
        """Record a newly detected face."""
        camera = face.frame.camera
        with self._lock:
            undecided = self._open.setdefault(camera, set())
            if face.face_id in undecided:
                raise AccountingError(f"face {face.face_id} of camera {camera} was observed twice")
            undecided.add(face.face_id)
            self._observed[camera] += 1

    def settle(self, face: Face, outcome: Outcome) -> None:
        """Record the one outcome of an observed face."""
        camera = face.frame.camera
        with self._lock:
            undecided = self._open.get(camera, set())
            if face.face_id not in undecided:
                raise AccountingError(
                    f"face {face.face_id} of camera {camera} got a second outcome ({outcome}) or was never observed"
                )
            undecided.remove(face.face_id)
            self._outcomes.setdefault(camera, Counter())[outcome] += 1

    def close(self, *, interrupted: bool) -> None:
        """Check the invariant at the end of a run.

        Args:
            interrupted: the run was stopped or failed; undecided faces end as ``stopped``.

        Raises:
            AccountingError: a regular run ended with undecided faces.
        """
        with self._lock:
            undecided = {camera: faces for camera, faces in self._open.items() if faces}
            if undecided and not interrupted:
                total = sum(len(faces) for faces in undecided.values())
                raise AccountingError(f"{total} observed faces ended without an outcome")
            for camera, faces in undecided.items():
                self._outcomes.setdefault(camera, Counter())[Outcome.STOPPED] += len(faces)
                faces.clear()

    def observed(self, camera: str | None = None) -> int:
        """Return the number of faces detected by one camera, or by all."""
        with self._lock:
            return self._observed.total() if camera is None else self._observed[camera]

    def outcomes(self, camera: str | None = None) -> dict[str, int]:
        """Return the count of each outcome that occurred, for one camera or for all."""
        with self._lock:
            counters = self._outcomes.values() if camera is None else [self._outcomes.get(camera, Counter())]
            total: Counter[Outcome] = Counter()
            for counter in counters:
                total += counter
            return {outcome.value: total[outcome] for outcome in Outcome if total[outcome]}
