"""Reads the store: pages of shots and visits, single tracks, and changes."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any, Generic, TypeVar

import msgspec

from facegate.store.records import StoredShot, StoredVisit, TrackRecord
from facegate.store.schema import StoreFile

MAX_SCANNED_ROWS = 100_000
"""Maximum number of rows scanned per page; a page of rare matches may be short and still have a next one."""
Item = TypeVar("Item")
_SHOT = ", ".join(StoredShot.__struct_fields__)
_PERIOD = {
    # A track is stored while it is live; its times are those of all faces, not only of those that were sent.
    "first": "min(first, coalesce((SELECT t.first FROM tracks t WHERE t.visit = visits.visit), first))",
    "last": "max(last, coalesce((SELECT t.last FROM tracks t WHERE t.visit = visits.visit), last))",
}
VISIT_COLUMNS = ", ".join(_PERIOD.get(field, field) for field in StoredVisit.__struct_fields__)


class VisitFilter(msgspec.Struct, frozen=True):
    """Conditions on shots or visits; ``None`` matches everything. Times are Unix times (UTC)."""

    camera: str | None = None
    name: str | None = None
    known: bool | None = None
    """With a name (``True``) or without."""
    since: float | None = None
    until: float | None = None
    min_quality: int | None = None
    max_quality: int | None = None
    shadow: bool | None = None
    """For shots: samples of dropped faces (``True``), or delivered ones."""

    def conditions(self, time: str) -> tuple[list[str], list[Any]]:
        """SQL conditions and their parameters; ``time`` is the name of the time column."""
        filters: list[tuple[str, Any]] = [
            ("camera = ?", self.camera),
            ("name = ?", self.name),
            (f"{time} >= ?", self.since),
            (f"{time} < ?", self.until),
            ("quality >= ?", self.min_quality),
            ("quality <= ?", self.max_quality),
        ]
        conditions = [sql for sql, value in filters if value is not None]
        if self.known is not None:
            conditions.append("name IS NOT NULL" if self.known else "name IS NULL")
        if self.shadow is not None:
            conditions.append("reason = 'shadow'" if self.shadow else "reason != 'shadow'")
        return conditions, [value for _, value in filters if value is not None]


class Page(msgspec.Struct, Generic[Item], frozen=True):
    """One page, newest first."""

    items: list[Item]
    next: int | None
    """Cursor of the next page; ``None`` on the last one."""


class StoreReader(StoreFile):
    """A reader. Thread-safe; queries run one at a time."""

    def _prepare(self) -> None:
        self._query_lock = Lock()
        self._data_version = 0
        super()._prepare()

    def shots(self, visit_filter: VisitFilter, before: int | None = None, limit: int = 50) -> Page[StoredShot]:
        """Shots, newest first.

        Args:
            visit_filter: the filter.
            before: ``next`` of the previous page; the newest page by default.
            limit: maximum number of items.
        """
        rows, following = self._page("shots", _SHOT, "seen", visit_filter, before, limit)
        return Page([StoredShot(*row) for row in rows], following)

    def visits(self, visit_filter: VisitFilter, before: int | None = None, limit: int = 50) -> Page[StoredVisit]:
        """Visits, newest first; see :meth:`shots`."""
        rows, following = self._page("visits", VISIT_COLUMNS, "last", visit_filter, before, limit)
        return Page([visit_of(row) for row in rows], following)

    def shot(self, shot_id: str) -> StoredShot | None:
        """One shot."""
        rows = self._rows(f"SELECT {_SHOT} FROM shots WHERE shot_id = ?", [shot_id])
        return StoredShot(*rows[0]) if rows else None

    def crop(self, shot_id: str) -> bytes | None:
        """JPEG of a shot's crop."""
        rows = self._rows("SELECT jpeg FROM crops JOIN shots ON shots.id = shot WHERE shot_id = ?", [shot_id])
        return bytes(rows[0][0]) if rows else None

    def visit(self, visit: str) -> StoredVisit | None:
        """One visit."""
        rows = self._rows(f"SELECT {VISIT_COLUMNS} FROM visits WHERE visit = ?", [visit])
        return visit_of(rows[0]) if rows else None

    def shots_of(self, visit: str) -> list[StoredShot]:
        """The shots of a visit, oldest first."""
        return [
            StoredShot(*row)
            for row in self._rows(f"SELECT {_SHOT} FROM shots WHERE visit = ? ORDER BY id", [visit])
        ]

    def track(self, visit: str) -> TrackRecord | None:
        """The decision history of a track."""
        rows = self._rows("SELECT track FROM tracks WHERE visit = ?", [visit])
        return msgspec.msgpack.decode(rows[0][0], type=TrackRecord) if rows else None

    def tracks(self, camera: str, since: float, limit: int) -> list[TrackRecord]:
        """A camera's tracks since a Unix time, newest first, including those without a shot."""
        rows = self._rows(
            "SELECT track FROM tracks WHERE camera = ? AND last >= ? ORDER BY last DESC LIMIT ?",
            [camera, since, limit],
        )
        return [msgspec.msgpack.decode(row[0], type=TrackRecord) for row in rows]

    def tracks_of(self, name: str) -> list[TrackRecord]:
        """The tracks of a person's visits."""
        rows = self._rows(
            "SELECT track FROM tracks JOIN visits ON tracks.visit = visits.visit WHERE name = ?", [name]
        )
        return [msgspec.msgpack.decode(row[0], type=TrackRecord) for row in rows]

    def changes(self, since: int, limit: int = 200) -> list[StoredVisit]:
        """Visits changed since a revision, oldest change first."""
        rows = self._rows(
            f"SELECT {VISIT_COLUMNS} FROM visits WHERE revision > ? ORDER BY revision LIMIT ?", [since, limit]
        )
        return [visit_of(row) for row in rows]

    def touched(self) -> bool:
        """Whether another connection has written since the last call; cheap."""
        before, self._data_version = self._data_version, int(self._rows("PRAGMA data_version", [])[0][0])
        return before != self._data_version

    def revision(self) -> int:
        """Revision of the newest change."""
        return int(self._rows("SELECT number FROM revision", [])[0][0])

    def names_of(self, visits: Sequence[str]) -> dict[str, str]:
        """Names of those of these visits that have one."""
        marks = ",".join("?" * len(visits))
        rows = self._rows(
            f"SELECT visit, name FROM visits WHERE visit IN ({marks}) AND name IS NOT NULL", list(visits)
        )
        return dict(rows)

    def open_visits(self, limit: int = 10_000) -> dict[str, tuple[int, float]]:
        """Visits not ended, oldest first: revision, and Unix time when their track was last seen, or 0."""
        rows = self._rows(
            "SELECT visits.visit, revision, coalesce(tracks.last, 0) FROM visits "
            "LEFT JOIN tracks ON tracks.visit = visits.visit WHERE NOT ended ORDER BY id LIMIT ?",
            [limit],
        )
        return {visit: (revision, last) for visit, revision, last in rows}

    def count(self) -> dict[str, int]:
        """Number of shots and of visits."""
        shots, visits = self._rows("SELECT (SELECT count(*) FROM shots), (SELECT count(*) FROM visits)", [])[0]
        return {"shots": shots, "visits": visits}

    def _page(
        self, table: str, columns: str, time: str, visit_filter: VisitFilter, before: int | None, limit: int
    ) -> tuple[list[Any], int | None]:
        newest = self._rows(f"SELECT max(id) FROM {table}", [])[0][0] or 0
        start = newest + 1 if before is None else min(before, newest + 1)
        conditions, values = visit_filter.conditions(time)
        if not conditions or set(conditions) == {"camera = ?"} or "name = ?" in conditions:
            least = 0  # served by an index
        else:
            least = max(0, start - MAX_SCANNED_ROWS)
        where = " AND ".join(["id < ?", "id >= ?", *conditions])
        rows = self._rows(
            f"SELECT {columns} FROM {table} WHERE {where} ORDER BY id DESC LIMIT ?", [start, least, *values, limit]
        )
        if len(rows) == limit:
            return rows, int(rows[-1][0])
        return rows, least if least > 0 else None

    def _rows(self, sql: str, values: Sequence[Any]) -> list[Any]:
        with self._query_lock, self._errors():
            return self._db.execute(sql, values).fetchall()


def visit_of(row: Any) -> StoredVisit:
    """Decode a row of ``VISIT_COLUMNS``."""
    fields = dict(zip(StoredVisit.__struct_fields__, row, strict=True))
    return StoredVisit(**fields | {"answered": bool(fields["answered"]), "ended": bool(fields["ended"])})
