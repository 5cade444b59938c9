"""The store's file."""

from __future__ import annotations

from facegate.database import Database
from facegate.errors import StoreError

_FIRST = """
CREATE TABLE shots (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    shot_id TEXT NOT NULL UNIQUE,
    visit TEXT NOT NULL,
    camera TEXT NOT NULL,
    seen REAL NOT NULL,
    quality INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    reason TEXT NOT NULL,
    name TEXT,
    header BLOB NOT NULL
) STRICT;
CREATE INDEX shots_by_visit ON shots (visit);
CREATE INDEX shots_by_camera ON shots (camera, id);
CREATE INDEX shots_by_name ON shots (name, id) WHERE name IS NOT NULL;
CREATE INDEX shots_by_time ON shots (seen);
CREATE TABLE crops (
    shot INTEGER PRIMARY KEY REFERENCES shots ON DELETE CASCADE,
    jpeg BLOB NOT NULL
) STRICT;
CREATE TABLE visits (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    visit TEXT NOT NULL UNIQUE,
    camera TEXT NOT NULL,
    track_id INTEGER NOT NULL,
    first REAL NOT NULL,
    last REAL NOT NULL,
    shots INTEGER NOT NULL DEFAULT 0,
    best TEXT,
    quality INTEGER NOT NULL DEFAULT 0,
    answered INTEGER NOT NULL DEFAULT 0,
    name TEXT,
    similarity REAL,
    margin REAL,
    fpir REAL,
    ended INTEGER NOT NULL DEFAULT 0,
    revision INTEGER NOT NULL
) STRICT;
CREATE INDEX visits_by_camera ON visits (camera, id);
CREATE INDEX visits_by_name ON visits (name, id) WHERE name IS NOT NULL;
CREATE INDEX visits_by_time ON visits (last);
CREATE INDEX visits_by_revision ON visits (revision);
CREATE TABLE tracks (
    visit TEXT PRIMARY KEY,
    camera TEXT NOT NULL,
    first REAL NOT NULL,
    last REAL NOT NULL,
    track BLOB NOT NULL
) STRICT;
CREATE INDEX tracks_by_camera ON tracks (camera, last);
CREATE INDEX tracks_by_time ON tracks (last);
CREATE TABLE revision (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    number INTEGER NOT NULL
) STRICT;
INSERT INTO revision VALUES (1, 0)
"""
_PIECES = """
CREATE TABLE pieces (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    piece TEXT NOT NULL UNIQUE
) STRICT
"""
"""Segments of recordings in the order in which retention first saw them: their times may be wrong."""

_ERASED = """
CREATE TABLE erased (
    visit TEXT PRIMARY KEY,
    at REAL NOT NULL
) STRICT;
CREATE INDEX visits_open ON visits (id) WHERE NOT ended
"""
"""Tombstones: late data of an erased visit is refused."""

_FILTERED = """
DROP INDEX shots_by_camera;
DROP INDEX shots_by_name;
DROP INDEX shots_by_time;
DROP INDEX visits_by_camera;
DROP INDEX visits_by_name;
CREATE INDEX shots_by_time ON shots (seen, id, quality, camera, name, reason);
CREATE INDEX shots_by_camera ON shots (camera, seen, id, quality, name, reason);
CREATE INDEX shots_by_name ON shots (name, seen, id, quality, camera, reason) WHERE name IS NOT NULL;
CREATE INDEX visits_by_start ON visits (first, id, quality, camera, name);
CREATE INDEX visits_by_camera ON visits (camera, first, id, quality, name);
CREATE INDEX visits_by_name ON visits (name, first, id, quality, camera) WHERE name IS NOT NULL
"""
"""Lists are in order of time; each index holds every column that a list is filtered by."""

_SCENES = """
CREATE TABLE scenes (
    shot INTEGER PRIMARY KEY REFERENCES shots ON DELETE CASCADE,
    jpeg BLOB NOT NULL
) STRICT
"""
"""Whole pictures of the best shots of visits."""

_CLIPS = """
CREATE TABLE clips (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    visit TEXT NOT NULL UNIQUE,
    camera TEXT NOT NULL,
    began REAL NOT NULL,
    offset_s REAL NOT NULL,
    seconds REAL NOT NULL,
    codec TEXT NOT NULL,
    mp4 BLOB NOT NULL
) STRICT;
CREATE INDEX clips_by_time ON clips (began);
CREATE INDEX clips_by_camera ON clips (camera, began)
"""
"""Seconds of video around visits."""

_CORRECTED = "ALTER TABLE visits ADD COLUMN corrected REAL"
"""When somebody corrected the name, Unix time."""

_TEMPLATES = """
CREATE TABLE templates (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    visit INTEGER NOT NULL REFERENCES visits ON DELETE CASCADE,
    recognizer TEXT NOT NULL,
    vector BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX templates_by_visit ON templates (visit);
CREATE INDEX templates_by_recognizer ON templates (recognizer, visit);
CREATE TABLE template_index (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    through INTEGER NOT NULL,
    generation INTEGER NOT NULL
) STRICT;
INSERT INTO template_index VALUES (1, 0, random());
CREATE TABLE removed_templates (
    id INTEGER PRIMARY KEY
) STRICT;
CREATE TRIGGER template_removed AFTER DELETE ON templates
WHEN OLD.id <= (SELECT through FROM template_index)
BEGIN
    INSERT OR IGNORE INTO removed_templates VALUES (OLD.id);
END
"""
"""One template per visit. Files of an index hold those up to ``through`` too; removed ones must leave them.

The generation changes when the file is replaced by a backup, in which ids may mean other templates.
"""
_STRANGERS = """
ALTER TABLE visits ADD COLUMN unknown_id INTEGER;
ALTER TABLE visits ADD COLUMN seen_before INTEGER;
ALTER TABLE visits ADD COLUMN first_seen REAL;
CREATE INDEX visits_by_unknown_id ON visits (unknown_id) WHERE unknown_id IS NOT NULL
"""
_CONFIRMED = """
CREATE TABLE confirmations (
    visit INTEGER NOT NULL REFERENCES visits ON DELETE CASCADE,
    who TEXT NOT NULL,
    name TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (visit, who)
) WITHOUT ROWID, STRICT
"""
"""Users who have confirmed the name of a visit."""
NEW_GENERATION = "UPDATE template_index SET generation = random()"


class StoreFile(Database):
    """A connection to the store. For one thread at a time."""

    what = "store"
    remedy = "'facegate run ... --data FOLDER' or 'facegate serve' creates one"
    application = 0x66675354
    steps = (_FIRST, _PIECES, _ERASED, _FILTERED, _SCENES, _CORRECTED, _CLIPS, _TEMPLATES, _STRANGERS, _CONFIRMED)
    pragmas = ("synchronous=NORMAL", "foreign_keys=ON", "secure_delete=ON")
    failure = StoreError

    def _next_revision(self) -> int:
        """Allocate the revision of a change, within its transaction."""
        row = self._db.execute("UPDATE revision SET number = number + 1 RETURNING number").fetchone()
        return int(row[0])
