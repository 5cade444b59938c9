"""A SQLite file of ours: opened, told from other files, brought to the newest version, changed in whole steps."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

from facegate.errors import FacegateError

BUSY_S = 10.0


class Database:
    """One connection to a file; its owner closes it. Of one thread at a time. Many processes may have one each."""

    what: ClassVar[str]
    """What messages call the file."""
    remedy: ClassVar[str]
    """What to do where there is none; ``{path}`` is filled in."""
    application: ClassVar[int]
    """Tells this kind of file from other SQLite files."""
    steps: ClassVar[tuple[str, ...]]
    """Statements that bring an empty file to version 1, that one to version 2, and so on."""
    pragmas: ClassVar[tuple[str, ...]]
    """Of every connection."""
    failure: ClassVar[type[FacegateError]]
    """What is raised."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """Open ``path``.

        Args:
            path: the file; two more appear beside it while it is open.
            create: make it where it is missing.

        Raises:
            FacegateError: missing, something else, damaged, of a later version, or not writable.
        """
        self._path = path
        if not create and not path.is_file():
            raise self.failure(f"no {self.what} at {path}: {self.remedy.format(path=path)}")
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # faces: for this user alone
            self._db = sqlite3.connect(path, isolation_level=None, timeout=BUSY_S, check_same_thread=False)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def _prepare(self) -> None:
        newest = len(self.steps)
        version, application = self._pragma("user_version"), self._pragma("application_id")
        tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables and application != self.application:
            raise self.failure(f"{self._path} is a database but no {self.what}: give another file")
        if version > newest:
            raise self.failure(f"{self.what} {self._path} is of version {version}; this facegate reads {newest}")
        for pragma in ("auto_vacuum=INCREMENTAL", "journal_mode=WAL", *self.pragmas):
            self._db.execute(f"PRAGMA {pragma}")
        if version < newest:
            with self._transaction():
                # Whoever waited for another process to do this finds it done.
                for step in self.steps[self._pragma("user_version") :]:
                    for statement in step.split(";"):
                        self._db.execute(statement)
                self._db.execute(f"PRAGMA application_id={self.application}")
                self._db.execute(f"PRAGMA user_version={newest}")

    def close(self) -> None:
        """Close the file; more than once is fine."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing; waits for other writers."""
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
            reason: Any = getattr(error, "strerror", None) or str(error)
            raise self.failure(f"{self.what} {self._path} cannot be used: {reason.lower()}") from error
