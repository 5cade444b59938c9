"""Recovery: replaces a damaged file by a backup, or by what can be read of it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import structlog

from facegate.database import connect
from facegate.maintenance.backups import install, newest_with, read_manifest
from facegate.maintenance.files import DataFile, Finding, Kind, examine, note, set_aside

MAX_ROW = 1 << 40

log = structlog.get_logger(__name__)


class Salvaged(msgspec.Struct, frozen=True):
    """Rows salvaged from a damaged file."""

    rows: dict[str, int]
    """Number of new rows by table."""
    whole: bool
    """Whether all pages were readable."""


def heal(file: DataFile, backups: Sequence[Path], found: Finding | None = None) -> str | None:
    """Replace a damaged file before it is used; return one line on what was done, ``None`` if it is sound.

    Args:
        file: a database.
        backups: folders of automatic backups, best first.
        found: result of an earlier examination.

    Raises:
        StoreError: the file is in use.
    """
    assert file.kind is not None
    found = examine(file.path, file.kind) if found is None else found
    sources = [source for folder in backups if (source := newest_with(folder, file.name, file.kind)) is not None]
    if found.state != "damaged" and not (found.state == "empty" and sources):
        return None
    aside = set_aside(file.path)
    line = _replace(file, file.kind, found, aside, sources[0] if sources else None)
    note(aside, line)
    log.error("damaged file replaced", file=str(file.path), what=line)
    return line


def heal_all(files: Sequence[DataFile], backups: Sequence[Path]) -> list[str]:
    """:func:`heal` for all databases among ``files``."""
    return [line for file in files if file.kind and (line := heal(file, backups)) is not None]


def _replace(file: DataFile, kind: Kind, found: Finding, aside: Path, source: Path | None) -> str:
    begin = f"{file.path} was damaged ({found.reason}) and was renamed to {aside.name}; "
    if source is not None:
        install(source, file.path, kind)
        made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(_made(source, file)))
        if not kind.append_only:
            return f"{begin}replaced by the backup of {made}; later changes are lost"
        rows = sum(salvage(aside, file.path).rows.values())
        return f"{begin}replaced by the backup of {made} and {rows} newer rows read from the damaged file"
    read = salvage(aside, file.path)
    if not read.rows:
        return f"{begin}there is no backup, and nothing could be read from it: its content is lost"
    kept = ", ".join(f"{number} of {table}" for table, number in read.rows.items())
    return f"{begin}there is no backup; rows read from it: {kept}; the rest is lost"


def _made(source: Path, file: DataFile) -> float:
    folder = source
    for _ in Path(file.name).parts:
        folder = folder.parent
    return read_manifest(folder).made


def salvage(damaged: Path, target: Path) -> Salvaged:
    """Copy all readable rows of a damaged database into another, created if missing.

    Existing rows of the target are not changed.

    Args:
        damaged: the damaged file, not in use; it is not changed.
        target: a file of the same kind, or a missing one.
    """
    rows: dict[str, int] = {}
    try:
        with closing(connect(damaged, read_only=True)) as source:
            source.execute("PRAGMA writable_schema=ON")  # allows reading a truncated file
            schema = source.execute(
                "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
            ).fetchall()
            if not schema:
                return Salvaged({}, whole=False)
            marks = {name: source.execute(f"PRAGMA {name}").fetchone()[0] for name in MARKS}
            whole = True
            with closing(connect(target, create=True)) as into:
                into.execute("PRAGMA auto_vacuum=INCREMENTAL")
                into.execute("BEGIN IMMEDIATE")
                new = not into.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
                if new:
                    for _, _, sql in sorted(schema, key=lambda row: row[0] != "table"):
                        into.execute(sql)
                    for name, value in marks.items():
                        into.execute(f"PRAGMA {name}={value}")
                there = {name for (name,) in into.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
                for table in [name for kind, name, _ in schema if kind == "table" and name in there]:
                    copied, complete = _copy_rows(source, into, table)
                    whole = whole and complete
                    if copied:
                        rows[table] = copied
                into.execute("COMMIT")
    except sqlite3.Error:
        return Salvaged({}, whole=False)
    return Salvaged(rows, whole)


MARKS = ("user_version", "application_id")


def _copy_rows(source: sqlite3.Connection, into: sqlite3.Connection, table: str) -> tuple[int, bool]:
    reader = _Reader(source, table)
    before = into.total_changes
    for row in reader.rows():
        places = ", ".join("?" * len(row))
        try:
            into.execute(f"INSERT OR IGNORE INTO {table} VALUES ({places})", row)
        except sqlite3.Error:
            reader.whole = False  # wrong types or number of columns: not a valid row
    return into.total_changes - before, reader.whole


class _Reader:
    """Rows of a table, including those behind an unreadable page."""

    def __init__(self, source: sqlite3.Connection, table: str) -> None:
        self._source = source
        self._table = table
        self.whole = True

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """All readable rows; some may come twice."""
        at, step = -1, 1
        while at < MAX_ROW:
            try:
                for row in self._source.execute(
                    f"SELECT rowid, * FROM {self._table} WHERE rowid > ? ORDER BY rowid", (at,)
                ):
                    at, step = row[0], 1
                    yield row[1:]
                return
            except sqlite3.OperationalError as error:
                if "rowid" in str(error):
                    yield from self._without_rowid()
                    return
                self.whole = False
            except sqlite3.DatabaseError:
                self.whole = False
            at, step = at + step, 2 * step
        try:  # rows passed over by a stride
            for row in self._source.execute(f"SELECT rowid, * FROM {self._table} ORDER BY rowid DESC"):
                yield row[1:]
        except sqlite3.Error:
            return

    def _without_rowid(self) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._source.execute(f"SELECT * FROM {self._table}")
        except sqlite3.Error:
            self.whole = False
