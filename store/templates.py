"""Reads the templates of visits, for search and its index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facegate.pipeline.records import Floats
from facegate.store.reader import VISIT_COLUMNS, StoreReader, VisitFilter, visit_of
from facegate.store.records import StoredVisit, VisitTemplate

CHUNK = 500
"""Rows per query by id."""
_STALE = (
    "ended AND NOT EXISTS (SELECT 1 FROM templates t WHERE t.recognizer = ? AND t.visit = visits.id) "
    "AND EXISTS (SELECT 1 FROM shots s JOIN crops ON crops.shot = s.id WHERE s.visit = visits.visit)"
)


class TemplateReader(StoreReader):
    """A reader of templates. Thread-safe; queries run one at a time."""

    def after(self, recognizer: str, row: int, limit: int) -> tuple[NDArray[np.int64], Floats]:
        """Ids ``(N,)`` above ``row`` in ascending order, and templates ``(N, D)`` of a recognizer."""
        # "+" keeps SQLite from using the index of recognizers, which has another order.
        return _matrix(
            self._rows(
                "SELECT id, vector FROM templates WHERE id > ? AND +recognizer = ? ORDER BY id LIMIT ?",
                [row, recognizer, limit],
            )
        )

    def between(self, recognizer: str, first: int, last: int, limit: int) -> tuple[NDArray[np.int64], Floats]:
        """Ids and templates of a recognizer from ``first`` to ``last``; see :meth:`after`."""
        return _matrix(
            self._rows(
                "SELECT id, vector FROM templates WHERE id BETWEEN ? AND ? AND +recognizer = ? ORDER BY id LIMIT ?",
                [first, last, recognizer, limit],
            )
        )

    def vectors(self, recognizer: str, ids: Sequence[int]) -> tuple[NDArray[np.int64], Floats]:
        """Those of these templates that exist; see :meth:`after`."""
        rows = []
        for part in _chunks(sorted(ids)):
            marks = ",".join("?" * len(part))
            rows += self._rows(
                f"SELECT id, vector FROM templates WHERE id IN ({marks}) AND +recognizer = ?", [*part, recognizer]
            )
        return _matrix(sorted(rows))

    def fitting(self, recognizer: str, visit_filter: VisitFilter, limit: int) -> list[int]:
        """Ids of up to ``limit`` templates of visits that fit a filter, newest first."""
        conditions, values = _conditions(visit_filter)
        where = " AND ".join(["t.recognizer = ?", *conditions])
        rows = self._rows(
            f"SELECT t.id FROM visits JOIN templates t ON t.visit = visits.id WHERE {where} "
            "ORDER BY visits.id DESC LIMIT ?",
            [recognizer, *values, limit],
        )
        return [row for (row,) in rows]

    def visits_with(self, ids: Sequence[int], visit_filter: VisitFilter) -> dict[int, StoredVisit]:
        """Visits of templates that exist and fit a filter, by template."""
        conditions, values = _conditions(visit_filter)
        found = {}
        for part in _chunks(list(ids)):
            marks = ",".join("?" * len(part))
            owners = self._rows(f"SELECT visit, id FROM templates WHERE id IN ({marks})", part)
            where = " AND ".join([f"id IN (SELECT visit FROM templates WHERE id IN ({marks}))", *conditions])
            visits = self._rows(f"SELECT {VISIT_COLUMNS} FROM visits WHERE {where}", [*part, *values])
            templates = dict(owners)
            found.update({templates[row[0]]: visit_of(row) for row in visits if row[0] in templates})
        return found

    def template_of(self, visit: str, recognizer: str) -> Floats | None:
        """Template ``(D,)`` of a visit; ``None`` if it has none of this recognizer."""
        _, found = _matrix(
            self._rows(
                "SELECT t.id, vector FROM visits JOIN templates t ON t.visit = visits.id "
                "WHERE visits.visit = ? AND recognizer = ?",
                [visit, recognizer],
            )
        )
        return found[0] if len(found) else None

    def of_visit(self, visit: str) -> VisitTemplate | None:
        """The template of a visit, by whatever recognizer."""
        rows = self._rows(
            "SELECT visits.visit, recognizer, vector FROM visits JOIN templates t ON t.visit = visits.id "
            "WHERE visits.visit = ?",
            [visit],
        )
        return VisitTemplate(*rows[0]) if rows else None

    def templates_of(self, recognizer: str, rows: Sequence[int]) -> dict[int, Floats]:
        """Templates ``(D,)`` of a recognizer by row id of their visits; visits without one are left out."""
        found: dict[int, Floats] = {}
        for part in _chunks(list(rows)):
            marks = ",".join("?" * len(part))
            ids, vectors = _matrix(
                self._rows(
                    f"SELECT visit, vector FROM templates WHERE visit IN ({marks}) AND +recognizer = ?",
                    [*part, recognizer],
                )
            )
            found.update(zip(ids.tolist(), vectors, strict=True))
        return found

    def newest_recognizer(self) -> str | None:
        """Recognizer of the newest template; ``None`` if there are no templates."""
        rows = self._rows("SELECT recognizer FROM templates ORDER BY id DESC LIMIT 1", [])
        return str(rows[0][0]) if rows else None

    def has_more_than(self, count: int) -> bool:
        """Whether there are more templates than ``count``."""
        rows = self._rows("SELECT count(*) FROM (SELECT 1 FROM templates LIMIT ?)", [count + 1])
        return bool(rows[0][0] > count)

    def stale(self, recognizer: str, after: int, limit: int) -> list[tuple[int, str]]:
        """Row and id of ended visits after row ``after`` that have a crop, but no template of this recognizer."""
        return self._rows(
            f"SELECT id, visit FROM visits WHERE {_STALE} AND id > ? ORDER BY id LIMIT ?",
            [recognizer, after, limit],
        )

    def count_stale(self, recognizer: str) -> int:
        """Number of visits that :meth:`stale` finds."""
        return int(self._rows(f"SELECT count(*) FROM visits WHERE {_STALE}", [recognizer])[0][0])

    def removed(self) -> list[int]:
        """Ids of removed templates that the files of an index may still hold."""
        return [row for (row,) in self._rows("SELECT id FROM removed_templates ORDER BY id", [])]

    def indexed(self) -> tuple[int, int]:
        """Id up to which the files of an index may hold templates, and the generation of the store's ids."""
        through, generation = self._rows("SELECT through, generation FROM template_index", [])[0]
        return through, generation

    def set_indexed(self, through: int) -> None:
        """Record that the files of an index hold templates up to this id.

        Raises:
            StoreError: the store cannot be written.
        """
        with self._query_lock, self._transaction():
            self._db.execute("UPDATE template_index SET through = ?", (through,))

    def clear_removed(self, ids: Sequence[int]) -> None:
        """Record that no file of an index holds these templates.

        Raises:
            StoreError: the store cannot be written.
        """
        with self._query_lock, self._transaction():
            self._db.executemany("DELETE FROM removed_templates WHERE id = ?", [(row,) for row in ids])


def _conditions(visit_filter: VisitFilter) -> tuple[list[str], list[Any]]:
    (order, values), (rest, more) = visit_filter.order("first"), visit_filter.rest()
    return [*order, *rest], [*values, *more]


def _matrix(rows: Sequence[tuple[int, bytes]]) -> tuple[NDArray[np.int64], Floats]:
    ids = np.fromiter((row for row, _ in rows), np.int64, len(rows))
    joined = np.frombuffer(b"".join(vector for _, vector in rows), "<f2").astype(np.float32)
    return ids, joined.reshape(len(rows), -1 if len(joined) else 0)


def _chunks(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), CHUNK):
        yield ids[start : start + CHUNK]
