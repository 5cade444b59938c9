"""Files of a data folder, and checks of their integrity."""

from __future__ import annotations

import fcntl
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Literal

import msgspec

from facegate.audit.log import AuditLog
from facegate.database import connect, is_open
from facegate.errors import StoreError, os_errors, os_reason
from facegate.paths import replacing
from facegate.recognition.enrollment.schema import GalleryFile
from facegate.sinks import spool
from facegate.store.schema import StoreFile

State = Literal["sound", "missing", "empty", "damaged", "foreign", "newer", "unusable"]
SMALL_BYTES = 256_000_000
"""Up to this size all pages are checked before a file is used; larger files only by the doctor and backups."""
SHARED_FIRST, SHARED_SIZE = 0x40000002, 510
"""Byte range that SQLite locks while a file is open."""
DAMAGED = ".damaged-"
LOCATIONS = "locations.json"
"""File of a data folder: where its console keeps gallery and configuration."""


class Kind(msgspec.Struct, frozen=True):
    """A kind of SQLite file."""

    what: str
    application: int
    version: int
    """Newest supported version."""
    append_only: bool = False
    """Rows keep their identity, so that rows salvaged from a damaged file can be merged into a backup."""


GALLERY = Kind("gallery", GalleryFile.application, len(GalleryFile.steps))
STORE = Kind("store", StoreFile.application, len(StoreFile.steps), append_only=True)
SPOOL = Kind("spool", spool.APPLICATION, spool.VERSION)
ACCOUNTS = Kind("accounts file", 0x66674143, 2)
ALARMS = Kind("file of alarms", 0x6667414C, 1)
AUDIT = Kind("audit log", AuditLog.application, len(AuditLog.steps), append_only=True)
NOTIFICATIONS = Kind("file of notifications", 0x66674E4F, 1)


class DataFile(msgspec.Struct, frozen=True):
    """A file of a data folder."""

    name: str
    """Its path in a backup."""
    path: Path
    kind: Kind | None
    """``None`` if it is not a database."""


class Locations(msgspec.Struct, frozen=True):
    """Files of a console that may be outside its data folder."""

    gallery: Path
    config: Path


def _to_path(kind: type, text: str) -> Path:
    return Path(text)


def remember_locations(data: Path, locations: Locations) -> None:
    """Write where a console keeps its files, for :func:`locate`.

    Raises:
        StoreError: it cannot be written.
    """
    with os_errors(StoreError, f"cannot write {data / LOCATIONS}"), replacing(data / LOCATIONS, 0o600) as part:
        part.write_bytes(msgspec.json.encode(locations, enc_hook=str))


def locate(data: Path, gallery: Path | None = None, config: Path | None = None) -> Locations:
    """Where a console keeps its files: as given, as its last start has written, or in the data folder."""
    try:
        known = msgspec.json.decode((data / LOCATIONS).read_bytes(), type=Locations, dec_hook=_to_path)
    except (OSError, msgspec.DecodeError):
        known = Locations(data / "people.db", data / "facegate.yaml")
    return Locations(gallery or known.gallery, config or known.config)


class Finding(msgspec.Struct, frozen=True):
    """Result of examining a file."""

    state: State
    reason: str = ""


def data_files(data: Path, gallery: Path | None = None, config: Path | None = None) -> list[DataFile]:
    """Existing files of a console's data folder, without recordings.

    Args:
        data: the data folder.
        gallery: the gallery; see :func:`locate` for the default.
        config: the configuration; likewise.
    """
    known = locate(data, gallery, config)
    found = [
        DataFile("people.db", known.gallery, GALLERY),
        DataFile("store.db", data / "store.db", STORE),
        DataFile("accounts.db", data / "accounts.db", ACCOUNTS),
        DataFile("audit.db", data / "audit.db", AUDIT),
        DataFile("alarms.db", data / "alarms.db", ALARMS),
        DataFile("notifications.db", data / "notifications.db", NOTIFICATIONS),
        *(
            DataFile(str(path.relative_to(data)), path, SPOOL)
            for pattern in ("*.spool", "names/*.spool")
            for path in sorted(data.glob(pattern))
        ),
        DataFile("facegate.yaml", known.config, None),
        *(
            DataFile(str(path.relative_to(data)), path, None)
            for pattern in ("secrets/*", "*.json", "*/*.json")
            for path in sorted(data.glob(pattern))
            if path.relative_to(data).parts[0] not in ("backups", LOCATIONS)
        ),
    ]
    return [file for file in found if file.path.is_file()]


def examine(path: Path, kind: Kind, *, full: bool = False) -> Finding:
    """Check whether a file can be used, without writing to it.

    Args:
        path: the file; may be in use.
        kind: its expected kind.
        full: check all pages regardless of size, and indexes.
    """
    try:
        size = path.stat().st_size
    except OSError:
        return Finding("missing")
    if size == 0:
        return Finding("empty", "the file is empty")
    try:
        with closing(connect(path, read_only=True)) as db:
            version, application, tables = (
                db.execute(statement).fetchone()[0]
                for statement in (
                    "PRAGMA user_version",
                    "PRAGMA application_id",
                    "SELECT count(*) FROM sqlite_master",
                )
            )
            unmarked = kind is SPOOL and application == 0 and version
            if tables and application != kind.application and not unmarked:
                return Finding("foreign", f"a database, but not a {kind.what}")
            if version > kind.version:
                return Finding("newer", f"version {version} is above the supported {kind.version}")
            if full or size <= SMALL_BYTES:
                check = "integrity_check(10)" if full else "quick_check(1)"
                messages = [row[0] for row in db.execute(f"PRAGMA {check}")]
                if messages != ["ok"]:
                    return Finding("damaged", _short(messages[0]))
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_IOERR_SHORT_READ")):
            return Finding("damaged", str(error))
        return Finding("unusable", str(error))
    except OSError as error:
        return Finding("unusable", os_reason(error))
    return Finding("sound")


def _short(message: str) -> str:
    return " ".join(message.split()).removeprefix("*** in database main *** ")[:120]


def in_use(path: Path) -> bool:
    """Whether another process has a database open."""
    if is_open(path):
        return False  # a check would drop this process's locks
    try:
        with path.open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, SHARED_SIZE, SHARED_FIRST)
    except BlockingIOError:
        return True
    except OSError:
        return False  # missing, or not for this user
    return False


def set_aside(path: Path) -> Path:
    """Rename a file with its write-ahead log, so that another can replace it; return its new path.

    Raises:
        StoreError: the file is in use, or cannot be renamed.
    """
    if is_open(path):
        raise StoreError(f"{path} is in use by this process and was not renamed: close it first")
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = path.with_name(f"{path.name}{DAMAGED}{stamp}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}{DAMAGED}{stamp}-{number}")
    try:
        with path.open("r+b") as file:
            # Keep others out during the rename: a process with the old file open would delete the new one's log.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, SHARED_SIZE, SHARED_FIRST)
            path.rename(aside)
            for end in ("-wal", "-shm"):
                beside = path.with_name(path.name + end)
                if beside.exists():
                    beside.rename(aside.with_name(aside.name + end))
    except BlockingIOError:
        raise StoreError(f"{path} is in use by another process: stop it, then try again") from None
    except OSError as error:
        raise StoreError(f"cannot rename {path}: {os_reason(error)}") from error
    return aside


def note(aside: Path, line: str) -> None:
    """Write why a file was set aside, beside it; see :func:`notes`."""
    aside.with_name(aside.name + ".txt").write_text(line + "\n", encoding="utf-8")


def notes(*folders: Path) -> list[str]:
    """Read the notes of files set aside in these folders."""
    found = sorted({path for folder in folders for path in folder.glob(f"*{DAMAGED}*.txt")})
    return [path.read_text(encoding="utf-8", errors="replace").strip() for path in found]
