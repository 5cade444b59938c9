"""SQLite files: opening, identification, migration to the newest version, transactions.

SQLite guards its files with POSIX locks, which belong to the process: when a process closes any descriptor of a
file, it loses all its locks on that file, including those of its SQLite connections. Other processes then consider
the file unused and delete its write-ahead log. So SQLite files are opened only by :func:`connect`, and a file that
:func:`is_open` must not be opened, copied or hashed by other means in this process.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock, RLock
from typing import ClassVar, Self
from weakref import WeakSet

from facegate.errors import FacegateError, os_reason

BUSY_S = 10.0
PRIVATE = 0o600
"""Owner-only mode, for faces, names and password hashes. SQLite gives the files beside it the same mode."""

_creating = Lock()
"""Held while a missing file is created and closed again: nobody in this process may open it in between."""


class _Connection(sqlite3.Connection):
    """Knows its file until it is closed."""

    file: tuple[int, int] | None = None
    """Device and inode."""

    def close(self) -> None:
        super().close()
        self.file = None


_connections: WeakSet[_Connection] = WeakSet()
_listing = RLock()


def connect(
    path: Path, *, create: bool = False, read_only: bool = False, timeout_s: float = BUSY_S
) -> sqlite3.Connection:
    """Open a SQLite file, for any thread and in autocommit mode; the caller closes the connection.

    Args:
        path: the file.
        create: create a missing file, for this user only.
        read_only: never write, nor move the write-ahead log into the file.
        timeout_s: maximum time that a statement waits for other connections.

    Raises:
        OSError: the file cannot be created.
        sqlite3.Error: the file cannot be opened.
    """
    with _creating:
        if create:
            # Only a missing file: closing one that SQLite has open would drop its locks.
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, PRIVATE))
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}",
            uri=True,
            isolation_level=None,
            timeout=timeout_s,
            check_same_thread=False,
            factory=_Connection,
        )
    found = path.stat()
    connection.file = (found.st_dev, found.st_ino)
    with _listing:
        _connections.add(connection)
    return connection


def is_open(path: Path) -> bool:
    """Whether this process has a SQLite connection to a file: then it must not be opened by other means."""
    try:
        found = path.stat()
    except OSError:
        return False
    with _listing:
        return any(connection.file == (found.st_dev, found.st_ino) for connection in list(_connections))


class Database:
    """A connection to a file; its owner closes it. For one thread at a time; processes may have one each."""

    what: ClassVar[str]
    """Name of the kind of file in messages."""
    remedy: ClassVar[str]
    """Remedy for a missing file; ``{path}`` is filled in."""
    application: ClassVar[int]
    """SQLite application id of this kind of file."""
    steps: ClassVar[tuple[str, ...]]
    """Migrations: statements from an empty file to version 1, from that to version 2, and so on."""
    pragmas: ClassVar[tuple[str, ...]]
    """Pragmas set on every connection."""
    failure: ClassVar[type[FacegateError]]
    """Class of the errors raised."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """Open ``path``.

        Args:
            path: the file; two more appear beside it while it is open.
            create: create a missing file.

        Raises:
            FacegateError: the file is missing, of another kind, damaged, of a later version, or not writable.
        """
        self._path = path
        if not create and not path.is_file():
            raise self.failure(f"no {self.what} at {path}: {self.remedy.format(path=path)}")
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = connect(path, create=create)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def _prepare(self) -> None:
        newest = len(self.steps)
        self._db.execute("BEGIN")  # one view of the file: another process may be making it
        tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        version, application = self._pragma("user_version"), self._pragma("application_id")
        self._db.execute("COMMIT")
        if tables and not self._is_own(application):
            raise self.failure(f"{self._path} is a database but not a {self.what}: choose another file")
        if version > newest:
            raise self.failure(f"{self.what} {self._path} has version {version}, above {newest}: upgrade facegate")
        for pragma in ("auto_vacuum=INCREMENTAL", *self.pragmas, "journal_mode=WAL"):
            self._db.execute(f"PRAGMA {pragma}")
        if version < newest:
            with self._transaction():
                # Another process may have migrated the file meanwhile.
                for step in self.steps[self._pragma("user_version") :]:
                    for statement in _statements(step):
                        self._db.execute(statement)
                self._db.execute(f"PRAGMA application_id={self.application}")
                self._db.execute(f"PRAGMA user_version={newest}")

    def _is_own(self, application: int) -> bool:
        """Whether a file with this application id is of this kind."""
        return application == self.application

    def close(self) -> None:
        """Close the file; idempotent."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit all or nothing; waits for other writers."""
        with self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
            raise self.failure(f"cannot use {self.what} {self._path}: {os_reason(error)}") from error


def _statements(step: str) -> Iterator[str]:
    """Split a migration at its semicolons, except those within a trigger."""
    statement = ""
    for part in step.split(";"):
        statement += part + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
