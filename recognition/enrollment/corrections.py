"""Corrections of visits: who somebody says it was, kept in the gallery's file, where every worker reads them."""

from __future__ import annotations

from time import time

import msgspec

from facegate.errors import GalleryError
from facegate.recognition.enrollment.gallery_store import GalleryStore

UNDO_S = 86_400.0
MAX_AGE_S = 400 * 86_400.0
"""Older ones are deleted: no worker remembers their visits."""


class Correction(msgspec.Struct, frozen=True):
    """What somebody said about a visit."""

    name: str | None
    """Who it was; ``None``: not the person of ``before``."""
    before: str | None
    """Name of the visit before."""
    at: float
    """Unix time (UTC)."""


class CorrectionStore(GalleryStore):
    """Corrections in a gallery's file, beside its people."""

    def correct(
        self, visit: str, name: str | None, before: str | None, digest: str | None = None, at: float | None = None
    ) -> Correction:
        """Record who a visit was; the last correction of a visit counts.

        Args:
            visit: id of the visit.
            name: an enrolled person, or ``None``.
            before: name of the visit so far.
            digest: of the picture that was enrolled with the correction and is removed when it is undone.
            at: Unix time, by default now.

        Raises:
            GalleryError: ``name`` is not enrolled.
        """
        person = None if name is None else self._id(name)
        at = time() if at is None else at
        with self._change():
            self._db.execute("DELETE FROM corrections WHERE at < ?", (at - MAX_AGE_S,))
            self._db.execute(
                "INSERT INTO corrections (visit, at, person, before, digest) "
                "VALUES (?, ?, ?, (SELECT id FROM people WHERE name = ?), ?)",
                (visit, at, person, before, digest),
            )
        return Correction(None if name is None else self.spelling(name), before, at)

    def undo(self, visit: str, now: float) -> Correction:
        """Take the last correction of a visit back, with the pictures that it enrolled.

        A person whom it created is removed with their only picture.

        Args:
            visit: id of the visit.
            now: Unix time.

        Raises:
            GalleryError: there is no correction, or it is older than a day.
        """
        with self._errors():
            row = self._db.execute(
                "SELECT id, at, digest, person, before FROM corrections WHERE visit = ? ORDER BY id DESC LIMIT 1",
                (visit,),
            ).fetchone()
        if row is None:
            raise GalleryError(f"visit {visit} has not been corrected; reload the page")
        number, at, digest, person, before = row
        if now - at > UNDO_S:
            raise GalleryError("a correction can be undone for a day only; correct the visit again")
        found = Correction(self._name(person), self._name(before), at)
        with self._change():
            for kind, whose in (("enrolled", person), ("negative", before)):
                self._db.execute(
                    "DELETE FROM pictures WHERE person = ? AND kind = ? AND digest = ? AND added >= ?",
                    (whose, kind, digest, at),
                )
            self._db.execute("DELETE FROM corrections WHERE id = ?", (number,))
            self._db.execute(
                "DELETE FROM people WHERE id = ?1 AND added >= ?2 "
                "AND NOT EXISTS (SELECT 1 FROM pictures WHERE person = ?1)",
                (person, at),
            )
        return found

    def of_visit(self, visit: str) -> Correction | None:
        """The correction that counts for a visit."""
        with self._errors():
            row = self._db.execute(
                "SELECT person, before, at FROM corrections WHERE visit = ? ORDER BY id DESC LIMIT 1", (visit,)
            ).fetchone()
        return None if row is None else Correction(self._name(row[0]), self._name(row[1]), row[2])

    def _name(self, person: int | None) -> str | None:
        with self._errors():
            row = self._db.execute("SELECT name FROM people WHERE id = ?", (person,)).fetchone()
        return None if row is None else str(row[0])
