"""The SQLite file of a gallery: opened, versioned, changed in whole steps."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np

from facegate.detectors.align import CROP_SIZE
from facegate.errors import GalleryError
from facegate.pipeline.records import Image

VERSION = 1
APPLICATION = 0x66675042
"""Tells this file from other SQLite files."""
BUSY_S = 10.0
MAX_CROP_BYTES = 256 * 1024

_SCHEMA = """
CREATE TABLE IF NOT EXISTS people (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    added REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS pictures (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    person INTEGER NOT NULL REFERENCES people ON DELETE CASCADE,
    kind TEXT NOT NULL,
    source TEXT NOT NULL,
    digest TEXT NOT NULL,
    crop BLOB NOT NULL,
    quality INTEGER NOT NULL,
    width REAL NOT NULL,
    turn REAL NOT NULL,
    faces INTEGER NOT NULL,
    accepted INTEGER NOT NULL,
    used INTEGER NOT NULL DEFAULT 1,
    added REAL NOT NULL,
    UNIQUE (person, kind, digest)
) STRICT;
CREATE TABLE IF NOT EXISTS embeddings (
    picture INTEGER NOT NULL REFERENCES pictures ON DELETE CASCADE,
    version TEXT NOT NULL,
    vector BLOB NOT NULL,
    PRIMARY KEY (version, picture)
) WITHOUT ROWID, STRICT;
CREATE INDEX IF NOT EXISTS embeddings_by_picture ON embeddings (picture);
CREATE TABLE IF NOT EXISTS unusable (
    digest TEXT PRIMARY KEY,
    reason TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS unknowns (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    visit TEXT NOT NULL UNIQUE,
    camera TEXT NOT NULL,
    seen REAL NOT NULL,
    quality INTEGER NOT NULL,
    crop BLOB NOT NULL,
    version TEXT NOT NULL,
    vector BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS revision (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    number INTEGER NOT NULL
) STRICT;
INSERT OR IGNORE INTO revision VALUES (1, 0);
"""


class GalleryFile:
    """One connection to the file; its owner closes it. Of one thread at a time."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """Open ``path``.

        Args:
            path: the file; two more appear beside it while it is open.
            create: make it where it is missing.

        Raises:
            GalleryError: missing, no gallery, damaged, of another version, or not writable.
        """
        self._path = path
        if not create and not path.is_file():
            raise GalleryError(f"no gallery at {path}: 'facegate gallery add {path} FOLDER' makes one")
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
        version, application = self._pragma("user_version"), self._pragma("application_id")
        tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables and application != APPLICATION:
            raise GalleryError(f"{self._path} is a database but no gallery: give another file")
        if version not in (0, VERSION):
            raise GalleryError(f"gallery {self._path} is of version {version}; this facegate reads {VERSION}")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")  # enrolment is rare and made by hand
        self._db.execute("PRAGMA foreign_keys=ON")
        self._db.execute("PRAGMA secure_delete=ON")  # removed people leave no pixels in the file
        if version == 0:
            with self._transaction():
                for statement in _SCHEMA.split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA application_id={APPLICATION}")
                self._db.execute(f"PRAGMA user_version={VERSION}")

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
            raise GalleryError(f"gallery {self._path} cannot be used: {reason.lower()}") from error


def encode_crop(crop: Image) -> bytes:
    """Lossless."""
    ok, coded = cv2.imencode(".png", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))
    assert ok
    return coded.tobytes()


def decode_crop(coded: object, path: Path) -> Image:
    """What :func:`encode_crop` made, ``(112, 112, 3)`` uint8 RGB.

    Raises:
        GalleryError: it is not.
    """
    picture = None
    if isinstance(coded, bytes) and len(coded) <= MAX_CROP_BYTES:
        picture = cv2.imdecode(np.frombuffer(coded, np.uint8), cv2.IMREAD_COLOR)
    if picture is None or picture.shape != (CROP_SIZE, CROP_SIZE, 3):
        raise GalleryError(f"gallery {path} is damaged: a crop cannot be read")
    image: Image = np.ascontiguousarray(picture[:, :, ::-1])
    return image
