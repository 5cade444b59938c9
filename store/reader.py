"""Reads the store: pages of shots and visits, single tracks, and changes."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any, Generic, TypeVar

import msgspec

from facegate.store.records import StoredShot, StoredVisit, TrackRecord, VisitClip
from facegate.store.schema import StoreFile

MAX_SCANNED_ROWS = 30_000
"""Maximum number of index entries scanned per page; a page of rare matches may be short and have a next one."""
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
    cameras: tuple[str, ...] | None = None
    """Any of these."""
    name: str | None = None
    known: bool | None = None
    """With a name (``True``) or without."""
    since: float | None = None
    until: float | None = None
    min_quality: int | None = None
    max_quality: int | None = None
    min_unknown_quality: int | None = None
    """Minimum quality of those without a name."""
    shadow: bool | None = None
    """For shots: samples of dropped faces (``True``), or delivered ones."""

    def conditions(self, time: str) -> tuple[list[str], list[Any]]:
        """All conditions, and their values; see :meth:`order`."""
        (first, values), (rest, more) = self.order(time), self.rest()
        return [*first, *rest], [*values, *more]

    def order(self, time: str) -> tuple[list[str], list[Any]]:
        """Conditions that an index serves in the order of the list, and their values.

        Args:
            time: name of the time column.
        """
        return _sql(
            ("name = ?", self.name),
            ("camera = ?", self.camera if self.name is None else None),
            (f"{time} >= ?", self.since),
            (f"{time} < ?", self.until),
        )

    def rest(self) -> tuple[list[str], list[Any]]:
        """The other conditions, and their values."""
        known, shadow = self.known, self.shadow
        return _sql(
            ("camera = ?", self.camera if self.name is not None else None),
            ("quality >= ?", self.min_quality),
            ("quality <= ?", self.max_quality),
            ("(name IS NOT NULL) = ?", known),
            ("(reason = 'shadow') = ?", shadow),
            (
                "camera IN (SELECT value FROM json_each(?))",
                None if self.cameras is None else msgspec.json.encode(self.cameras).decode(),
            ),
            ("(name IS NOT NULL OR quality >= ?)", self.min_unknown_quality),
        )


def _sql(*given: tuple[str, Any]) -> tuple[list[str], list[Any]]:
    return [sql for sql, value in given if value is not None], [value for _, value in given if value is not None]


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
        """Visits, those that began last first; see :meth:`shots`. The filter is on times of first shots."""
        rows, following = self._page("visits", VISIT_COLUMNS, "first", visit_filter, before, limit)
        return Page([visit_of(row) for row in rows], following)

    def shot(self, shot_id: str) -> StoredShot | None:
        """One shot."""
        rows = self._rows(f"SELECT {_SHOT} FROM shots WHERE shot_id = ?", [shot_id])
        return StoredShot(*rows[0]) if rows else None

    def crop(self, shot_id: str) -> bytes | None:
        """JPEG of a shot's crop."""
        rows = self._rows("SELECT jpeg FROM crops JOIN shots ON shots.id = shot WHERE shot_id = ?", [shot_id])
        return bytes(rows[0][0]) if rows else None

    def scene(self, shot_id: str) -> bytes | None:
        """JPEG of the whole picture of a shot, if it is the best of its visit and is stored."""
        rows = self._rows("SELECT jpeg FROM scenes JOIN shots ON shots.id = shot WHERE shot_id = ?", [shot_id])
        return bytes(rows[0][0]) if rows else None

    def scene_of(self, visit: str) -> str | None:
        """``shot_id`` of the shot of a visit whose whole picture is stored."""
        rows = self._rows("SELECT shot_id FROM shots JOIN scenes ON shot = shots.id WHERE visit = ?", [visit])
        return rows[0][0] if rows else None

    def clip(self, visit: str, *, video: bool = True) -> VisitClip | None:
        """Seconds of video around a visit; without ``video``, only what is known about them."""
        columns = f"visit, camera, began, offset_s, seconds, codec, {'mp4' if video else 'NULL'}"
        rows = self._rows(f"SELECT {columns} FROM clips WHERE visit = ?", [visit])
        if not rows:
            return None
        fields = dict(zip(VisitClip.__struct_fields__, rows[0], strict=True))
        return VisitClip(**fields | {"mp4": fields["mp4"] or b""})

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

    def oldest_unmatched(self) -> float | None:
        """Unix time of the last shot of the oldest visit without a name; ``None`` if there is none."""
        rows = self._rows("SELECT last FROM visits WHERE name IS NULL ORDER BY last LIMIT 1", [])
        return float(rows[0][0]) if rows else None

    def count(self) -> dict[str, int]:
        """Number of shots and of visits."""
        shots, visits = self._rows("SELECT (SELECT count(*) FROM shots), (SELECT count(*) FROM visits)", [])[0]
        return {"shots": shots, "visits": visits}

    def has_name(self, name: str) -> bool:
        """Whether a visit has a name."""
        return bool(self._rows("SELECT 1 FROM visits WHERE name = ? LIMIT 1", [name]))

    def names(self, cameras: Sequence[str] | None = None) -> list[str]:
        """Names of visits, sorted: of all, which is one step in an index for each, or of some cameras."""
        if cameras is not None:
            marks = ",".join("?" * len(cameras))
            found = f"SELECT DISTINCT name FROM visits WHERE camera IN ({marks}) AND name IS NOT NULL ORDER BY name"
            return [name for (name,) in self._rows(found, cameras)]
        rows = self._rows(
            "WITH RECURSIVE names (name) AS (SELECT min(name) FROM visits UNION ALL "
            "SELECT (SELECT min(name) FROM visits WHERE visits.name > names.name) FROM names "
            "WHERE name IS NOT NULL) SELECT name FROM names WHERE name IS NOT NULL",
            [],
        )
        return [name for (name,) in rows]

    def visits_by_name(self) -> dict[str, tuple[int, float]]:
        """Number of visits of each name, and Unix time of the last one's beginning."""
        rows = self._rows("SELECT name, count(*), max(first) FROM visits WHERE name IS NOT NULL GROUP BY name", [])
        return {name: (count, last) for name, count, last in rows}

    def _page(
        self, table: str, columns: str, time: str, visit_filter: VisitFilter, before: int | None, limit: int
    ) -> tuple[list[Any], int | None]:
        conditions, values = visit_filter.order(time)
        if before is not None:
            # The row may be gone; the list goes on with the one stored before it.
            cursor = self._rows(f"SELECT {time}, id FROM {table} WHERE id <= ? ORDER BY id DESC LIMIT 1", [before])
            if not cursor:
                return [], None
            at, row = cursor[0]
            conditions, values = [*conditions, f"({time}, id) < (?, ?)"], [*values, at, row + (row != before)]
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        rest, more = visit_filter.rest()
        newest = f"FROM {table} {where} ORDER BY {time} DESC, id DESC"
        found = self._rows(
            f"SELECT id FROM (SELECT id, quality, camera, name{', reason' * (table == 'shots')} {newest} "
            f"LIMIT {MAX_SCANNED_ROWS}) {'WHERE ' * bool(rest)}{' AND '.join(rest)} LIMIT ?",
            [*values, *more, limit],
        )
        ids = [row for (row,) in found]
        marks = ",".join("?" * len(ids))
        rows = self._rows(f"SELECT {columns} FROM {table} WHERE id IN ({marks}) ORDER BY {time} DESC, id DESC", ids)
        if len(ids) == limit:
            return rows, ids[-1]
        last = self._rows(f"SELECT id {newest} LIMIT 1 OFFSET {MAX_SCANNED_ROWS - 1}", values)
        return rows, last[0][0] if last else None

    def _rows(self, sql: str, values: Sequence[Any]) -> list[Any]:
        with self._query_lock, self._errors():
            return self._db.execute(sql, values).fetchall()


def visit_of(row: Any) -> StoredVisit:
    """Decode a row of ``VISIT_COLUMNS``."""
    fields = dict(zip(StoredVisit.__struct_fields__, row, strict=True))
    return StoredVisit(**fields | {"answered": bool(fields["answered"]), "ended": bool(fields["ended"])})
