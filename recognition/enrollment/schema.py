"""Schema of a gallery's SQLite file, and encoding of crops."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import structlog

from facegate.database import Database
from facegate.detectors.align import CROP_SIZE
from facegate.errors import GalleryError
from facegate.pipeline.records import Image
from facegate.recognition.enrollment.names import another_name, is_person_name, name_key

log = structlog.get_logger(__name__)

APPLICATION = 0x66675042
"""SQLite application id of a gallery."""
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


_NAME_KEYS = """
ALTER TABLE people ADD COLUMN key TEXT NOT NULL DEFAULT '';
CREATE UNIQUE INDEX people_by_key ON people (key) WHERE key != ''
"""
"""Unique keys of names; existing rows get theirs when the file is opened."""

_STRANGERS = """
ALTER TABLE unknowns ADD COLUMN stranger INTEGER;
ALTER TABLE unknowns ADD COLUMN appearance INTEGER;
CREATE INDEX unknowns_by_stranger ON unknowns (stranger) WHERE stranger IS NOT NULL;
CREATE TABLE strangers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    first REAL NOT NULL,
    visits INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE stranger_negatives (
    stranger INTEGER NOT NULL REFERENCES strangers ON DELETE CASCADE,
    face INTEGER NOT NULL REFERENCES unknowns ON DELETE CASCADE,
    PRIMARY KEY (stranger, face)
) WITHOUT ROWID, STRICT
"""
"""Unknown visitors with a number, and faces that are known not to be theirs.

The appearance of a face is the number that it had before unknown visitors were merged.
"""

_LISTS = """
CREATE TABLE lists (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    color TEXT NOT NULL,
    fpir REAL
) STRICT;
CREATE TABLE list_members (
    list INTEGER NOT NULL REFERENCES lists ON DELETE CASCADE,
    person INTEGER NOT NULL REFERENCES people ON DELETE CASCADE,
    reason TEXT NOT NULL,
    expires REAL,
    PRIMARY KEY (list, person)
) WITHOUT ROWID, STRICT;
CREATE INDEX list_members_by_person ON list_members (person)
"""
"""Watch lists."""

_CORRECTIONS = """
CREATE TABLE corrections (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    visit TEXT NOT NULL,
    at REAL NOT NULL,
    person INTEGER REFERENCES people ON DELETE CASCADE,
    before INTEGER REFERENCES people ON DELETE SET NULL,
    digest TEXT
) STRICT;
CREATE INDEX corrections_by_visit ON corrections (visit);
CREATE INDEX corrections_by_person ON corrections (person);
CREATE INDEX corrections_by_before ON corrections (before)
"""
"""Corrections of visits by people: who it was, or nobody who is known."""

_POSES = "ALTER TABLE pictures ADD COLUMN pose TEXT"
"""``front``, ``left`` or ``right``; unknown for pictures enrolled before."""


_LEGAL_BASES = """
ALTER TABLE people ADD COLUMN basis TEXT NOT NULL DEFAULT '';
ALTER TABLE people ADD COLUMN basis_since REAL;
ALTER TABLE people ADD COLUMN basis_until REAL
"""
"""Why people may be recognized, and from when until when."""


class GalleryFile(Database):
    """A connection to the file; its owner closes it. For one thread at a time."""

    what = "gallery"
    remedy = "'facegate gallery add {path} FOLDER' creates one"
    application = APPLICATION
    steps = (_SCHEMA, _NAME_KEYS, _CORRECTIONS, _POSES, _STRANGERS, _LISTS, _LEGAL_BASES)
    pragmas = (
        "synchronous=FULL",  # enrollment is rare and manual
        "foreign_keys=ON",
        "secure_delete=ON",  # removed people leave no pixels in the file
    )
    failure = GalleryError

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """Open the file; see :class:`~facegate.database.Database`."""
        super().__init__(path, create=create)
        try:
            self._make_names_unique()
        except BaseException:
            self.close()
            raise

    def _make_names_unique(self) -> None:
        """Normalize names of an older gallery; people with the same name are renamed."""
        with self._errors():
            if self._db.execute("SELECT 1 FROM people WHERE key = '' LIMIT 1").fetchone() is None:
                return
        with self._transaction():
            rows = self._db.execute("SELECT id, name FROM people WHERE key = '' ORDER BY id").fetchall()
            keys = dict(self._db.execute("SELECT key, name FROM people WHERE key != ''").fetchall())
            stay: dict[str, int] = {}
            for row, name in rows:
                if is_person_name(name) and name_key(name) not in keys:
                    keys[name_key(name)] = name
                    stay[name] = row
            for row, name in rows:
                if stay.get(name) == row:
                    self._spell(row, name)
            for row, name in rows:
                if stay.get(name) != row:
                    new = another_name(name, keys, row)
                    _log_renamed(self._path, name, new, keys.get(name_key(name)))
                    keys[name_key(new)] = new
                    self._spell(row, new)
            self._db.execute("UPDATE revision SET number = number + 1")

    def _spell(self, row: int, name: str) -> None:
        self._db.execute("UPDATE people SET name = ?, key = ? WHERE id = ?", (name, name_key(name), row))


def _log_renamed(path: Path, name: str, new: str, owner: str | None) -> None:
    if owner is None:
        log.info("name corrected", gallery=str(path), name=name, corrected=new)
        return
    remedy = "if they are one person: facegate gallery merge"
    log.warning("duplicate name renamed", gallery=str(path), name=owner, other=name, renamed_to=new, remedy=remedy)


def encode_crop(crop: Image) -> bytes:
    """Encode a crop as PNG, lossless."""
    ok, coded = cv2.imencode(".png", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))
    assert ok
    return coded.tobytes()


def decode_crop(coded: object, path: Path) -> Image:
    """Decode the result of :func:`encode_crop`, ``(112, 112, 3)`` uint8 RGB.

    Raises:
        GalleryError: it is damaged.
    """
    picture = None
    if isinstance(coded, bytes) and len(coded) <= MAX_CROP_BYTES:
        picture = cv2.imdecode(np.frombuffer(coded, np.uint8), cv2.IMREAD_COLOR)
    if picture is None or picture.shape != (CROP_SIZE, CROP_SIZE, 3):
        raise GalleryError(f"gallery {path} is damaged: a crop cannot be read")
    image: Image = np.ascontiguousarray(picture[:, :, ::-1])
    return image
