"""People, their pictures and embeddings in one SQLite file, ``people.db``.

What is enrolled is kept as aligned crops (lossless), so another recogniser embeds them anew. Every change is one
transaction: a person is there with all pictures of an ``add`` or not at all, whoever is killed when. Several
processes may read and write; :meth:`People.changed` tells a reader when somebody else has.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import time
from typing import Any

import cv2
import msgspec
import numpy as np

from facegate.detectors.align import CROP_SIZE
from facegate.errors import GalleryError
from facegate.pipeline.records import Floats, Image
from facegate.recognition.people.records import Embedded, Kind, Look, Person, Picture, check_name

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
"""


_COLUMNS = "pictures.id, name, kind, source, digest, quality, width, turn, faces, accepted"


class People:
    """One file; its owner closes it. Of one thread."""

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
        self._seen = self._data_version()

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

    def __enter__(self) -> People:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def changed(self) -> bool:
        """Whether another process or owner has changed the file since this was last asked."""
        before, self._seen = self._seen, self._data_version()
        return self._seen != before

    def people(self) -> list[Person]:
        """Everybody, by name."""
        with self._errors():
            rows = self._db.execute(
                "SELECT name, count(*) FILTER (WHERE kind = 'enrolled'), "
                "count(*) FILTER (WHERE kind = 'negative'), people.added "
                "FROM people LEFT JOIN pictures ON person = people.id GROUP BY people.id ORDER BY name"
            ).fetchall()
        return [Person(*row) for row in rows]

    def pictures(self, name: str | None = None) -> list[Picture]:
        """Pictures of a person, or of all, in the order of names and of being added.

        Raises:
            GalleryError: there is no such person.
        """
        where = "" if name is None else f"WHERE person = {self._id(name)}"
        with self._errors():
            rows = self._db.execute(
                f"SELECT {_COLUMNS} FROM pictures JOIN people ON person = people.id {where} "
                "ORDER BY name, pictures.id"
            ).fetchall()
        fields = Picture.__struct_fields__
        return msgspec.convert([dict(zip(fields, row, strict=True)) for row in rows], list[Picture], strict=False)

    def crop(self, row: int) -> Image:
        """The aligned crop of a picture, ``(112, 112, 3)`` uint8 RGB.

        Raises:
            GalleryError: it is gone, or damaged.
        """
        with self._errors():
            found = self._db.execute("SELECT crop FROM pictures WHERE id = ?", (row,)).fetchone()
        if found is None:
            raise GalleryError("a picture was removed from the gallery in the meantime")
        return _decode(found[0], self._path)

    def add(self, name: str, looks: Sequence[Look], *, kind: Kind = "enrolled", accepted: bool = False) -> int:
        """Add pictures to a person, who is made where missing; all or none. Return how many were new.

        Raises:
            GalleryError: the name cannot be one.
        """
        check_name(name)
        new, now = 0, time()
        with self._transaction():
            self._db.execute("INSERT OR IGNORE INTO people (name, added) VALUES (?, ?)", (name, now))
            person = self._id(name)
            for look in looks:
                new += self._db.execute(
                    "INSERT OR IGNORE INTO pictures (person, kind, source, digest, crop, quality, width, turn, "
                    "faces, accepted, added) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        *(person, kind, look.source, look.digest, _encode(look.crop)),
                        *(look.quality, look.width, look.turn, look.faces, accepted, now),
                    ),
                ).rowcount
        return new

    def remove(self, name: str) -> int:
        """Remove a person with all pictures; return how many there were.

        Raises:
            GalleryError: there is no such person.
        """
        with self._transaction():
            person = self._id(name)
            count = self._db.execute("SELECT count(*) FROM pictures WHERE person = ?", (person,)).fetchone()[0]
            self._db.execute("DELETE FROM people WHERE id = ?", (person,))
        with self._errors():
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # nor do they stay in the file beside it
        return int(count)

    def remove_pictures(self, rows: Sequence[int]) -> None:
        """Remove single pictures; a person may be left with none."""
        with self._transaction():
            self._db.executemany("DELETE FROM pictures WHERE id = ?", [(row,) for row in rows])

    def accept(self, rows: Sequence[int]) -> None:
        """Note that pictures are right."""
        with self._transaction():
            self._db.executemany("UPDATE pictures SET accepted = 1 WHERE id = ?", [(row,) for row in rows])

    def use(self, unused: Sequence[int]) -> None:
        """Leave these pictures out of templates, and use all others."""
        with self._transaction():
            self._db.execute("UPDATE pictures SET used = 1 WHERE NOT used")
            self._db.executemany("UPDATE pictures SET used = 0 WHERE id = ?", [(row,) for row in unused])

    def rename(self, name: str, new: str) -> None:
        """Call somebody otherwise.

        Raises:
            GalleryError: there is no such person, somebody has the new name, or it cannot be one.
        """
        check_name(new)
        with self._transaction():
            person = self._id(name)
            if self._db.execute("SELECT 1 FROM people WHERE name = ? AND id != ?", (new, person)).fetchone():
                raise GalleryError(f"there is somebody called {new} already: 'facegate gallery merge' joins two")
            self._db.execute("UPDATE people SET name = ? WHERE id = ?", (new, person))

    def merge(self, name: str, into: str) -> int:
        """Give somebody's pictures to another person, and remove the first; return how many were new to the other.

        Raises:
            GalleryError: one of them is missing, or they are the same.
        """
        with self._transaction():
            source, target = self._id(name), self._id(into)
            if source == target:
                raise GalleryError(f"{name} cannot be merged with themselves")
            moved = self._db.execute(
                "UPDATE OR IGNORE pictures SET person = ? WHERE person = ?", (target, source)
            ).rowcount
            self._db.execute("DELETE FROM people WHERE id = ?", (source,))
        return moved

    def unusable(self) -> dict[str, str]:
        """Why files of these digests cannot be enrolled, as found before."""
        with self._errors():
            return dict(self._db.execute("SELECT digest, reason FROM unusable").fetchall())

    def keep_unusable(self, reasons: Mapping[str, str]) -> None:
        """Remember why files (by their digests) cannot be enrolled, and forget all others."""
        with self._transaction():
            self._db.execute("DELETE FROM unusable")
            self._db.executemany("INSERT INTO unusable VALUES (?, ?)", list(reasons.items()))

    def missing(self, version: str) -> list[int]:
        """Pictures that have no embedding of this recogniser yet."""
        with self._errors():
            rows = self._db.execute(
                "SELECT id FROM pictures WHERE id NOT IN (SELECT picture FROM embeddings WHERE version = ?) "
                "ORDER BY id",
                (version,),
            ).fetchall()
        return [row[0] for row in rows]

    def keep_embeddings(self, version: str, embeddings: Mapping[int, Floats]) -> None:
        """Keep unit embeddings ``(D,)`` of pictures; those of pictures that are gone are left out."""
        with self._transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO embeddings (picture, version, vector) "
                "SELECT id, ?, ? FROM pictures WHERE id = ?",
                [(version, np.asarray(vector, "<f4").tobytes(), row) for row, vector in embeddings.items()],
            )

    def embedded(self, version: str) -> Embedded:
        """All pictures with an embedding of one recogniser.

        Raises:
            GalleryError: they are of different lengths, or not finite: the file is damaged.
        """
        with self._errors():
            names = self._db.execute("SELECT id, name FROM people ORDER BY name").fetchall()
            rows = self._db.execute(
                "SELECT picture, person, kind = 'negative', quality, used, vector FROM embeddings "
                "JOIN pictures ON pictures.id = picture WHERE version = ? ORDER BY picture",
                (version,),
            ).fetchall()
        place = {person: index for index, (person, _) in enumerate(names)}
        length = len(rows[0][-1]) if rows else 0
        if length % 4 or any(len(row[-1]) != length or row[1] not in place for row in rows):
            raise GalleryError(f"gallery {self._path} is damaged: its embeddings differ in length")
        vectors: Floats = np.frombuffer(b"".join(row[-1] for row in rows), "<f4").reshape(len(rows), length // 4)
        if not np.isfinite(vectors).all():
            raise GalleryError(f"gallery {self._path} is damaged: an embedding is not finite")
        return Embedded(
            names=[name for _, name in names],
            rows=np.array([row[0] for row in rows], np.int64),
            people=np.array([place[row[1]] for row in rows], np.int64),
            negative=np.array([row[2] for row in rows], bool),
            quality=np.array([row[3] for row in rows], np.int64),
            used=np.array([row[4] for row in rows], bool),
            vectors=vectors.astype(np.float32, copy=False),
        )

    def _id(self, name: str) -> int:
        with self._errors():
            found = self._db.execute("SELECT id FROM people WHERE name = ?", (name,)).fetchone()
        if found is None:
            raise GalleryError(f"there is no {name} in {self._path}: 'facegate gallery list' tells who is")
        return int(found[0])

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])

    def _data_version(self) -> int:
        with self._errors():
            return self._pragma("data_version")

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


def _encode(crop: Image) -> bytes:
    ok, coded = cv2.imencode(".png", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))
    assert ok
    return coded.tobytes()


def _decode(coded: object, path: Path) -> Image:
    picture = None
    if isinstance(coded, bytes) and len(coded) <= MAX_CROP_BYTES:
        picture = cv2.imdecode(np.frombuffer(coded, np.uint8), cv2.IMREAD_COLOR)
    if picture is None or picture.shape != (CROP_SIZE, CROP_SIZE, 3):
        raise GalleryError(f"gallery {path} is damaged: a crop cannot be read")
    image: Image = np.ascontiguousarray(picture[:, :, ::-1])
    return image
