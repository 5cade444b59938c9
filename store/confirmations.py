"""Confirmations of visits: people who have verified that a visit has the right name (EU AI Act, Art. 14(5))."""

from __future__ import annotations

import msgspec

from facegate.store.schema import StoreFile


class Confirmation(msgspec.Struct, frozen=True):
    """Somebody has confirmed the name of a visit."""

    who: str
    """Name of a user of the console."""
    at: float
    """Unix time (UTC)."""


class ConfirmationStore(StoreFile):
    """Confirmations in the store. A visit that gets another name has none."""

    def confirmations(self, visit: str) -> list[Confirmation]:
        """Confirmations of the current name of a visit, oldest first.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._errors():
            rows = self._db.execute(
                "SELECT who, at FROM confirmations c JOIN visits ON visits.id = c.visit "
                "WHERE visits.visit = ? AND visits.name = c.name ORDER BY at",
                (visit,),
            ).fetchall()
        return [Confirmation(*row) for row in rows]

    def confirm(self, visit: str, name: str, who: str, at: float) -> bool:
        """Record that somebody has confirmed a name; ``False`` if it is not, or no longer, that of the visit.

        Raises:
            StoreError: the store cannot be written.
        """
        with self._transaction():
            row = self._db.execute("SELECT id FROM visits WHERE visit = ? AND name = ?", (visit, name)).fetchone()
            if row is None:
                return False
            self._db.execute("INSERT OR REPLACE INTO confirmations VALUES (?, ?, ?, ?)", (row[0], who, name, at))
        return True

    def withdraw(self, visit: str, who: str) -> None:
        """Take the confirmation of somebody back.

        Raises:
            StoreError: the store cannot be written.
        """
        with self._transaction():
            self._db.execute(
                "DELETE FROM confirmations WHERE who = ? AND visit = (SELECT id FROM visits WHERE visit = ?)",
                (who, visit),
            )
