"""Backups, made while everything runs, and restoring them."""

from __future__ import annotations

import fcntl
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import structlog

from facegate.background import BackgroundThread
from facegate.database import connect
from facegate.errors import FacegateError, StoreError, os_reason
from facegate.maintenance.files import GALLERY, SPOOL, STORE, DataFile, Kind, examine, in_use, set_aside
from facegate.paths import replacing
from facegate.sinks.wire import SOFTWARE
from facegate.store.schema import NEW_GENERATION

FOLDER = "backups"
MANIFEST = "backup.json"
LOCK = "lock"
"""Lock file, held in a data folder by its console, and in a backup folder during a backup."""
PART = ".part"
"""Ending of a backup that is not complete."""
KEPT = 7
INTERVAL_S = 86_400.0
FIRST_S, POLL_INTERVAL_S = 60.0, 600.0
FREE_SPACE_FACTOR = 10
"""An automatic backup skips a file if the disk has no room for this many copies."""

log = structlog.get_logger(__name__)


class Saved(msgspec.Struct, frozen=True):
    """A file of a backup."""

    name: str
    bytes: int


class Manifest(msgspec.Struct, frozen=True):
    """Content of a backup."""

    made: float
    """Unix time (UTC)."""
    software: str
    files: list[Saved]


def copy_database(source: Path, target: Path) -> None:
    """Copy a database into another as one snapshot; both may be in use.

    Raises:
        sqlite3.Error: one of them cannot be used.
        OSError: the target cannot be created.
    """
    with closing(connect(source, read_only=True)) as before, closing(connect(target, create=True)) as after:
        before.backup(after)


def make_backup(files: Sequence[DataFile], folder: Path, now: float) -> Manifest:
    """Copy files into a new folder, which appears only when all copies are sound.

    Args:
        files: see :func:`facegate.maintenance.files.data_files`.
        folder: a new folder.
        now: Unix time.

    Raises:
        StoreError: a file is damaged, or there is no room.
    """
    part = folder.with_name(folder.name + PART)
    try:
        if folder.exists() and any(folder.iterdir()):
            raise StoreError(f"{folder} is not empty: give a new folder")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True, mode=0o700)
        saved = []
        for file in files:
            target = part / file.name
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _copy(file, target)
            saved.append(Saved(file.name, target.stat().st_size))
        manifest = Manifest(now, SOFTWARE, saved)
        (part / MANIFEST).touch(mode=0o600)
        (part / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
        part.replace(folder)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise StoreError(f"cannot back up to {folder}: {os_reason(error)}") from error
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return manifest


def _copy(file: DataFile, target: Path) -> None:
    if file.kind is None:
        target.touch(mode=0o600)
        target.write_bytes(file.path.read_bytes())
        return
    try:
        copy_database(file.path, target)
        with closing(connect(target)) as copy:
            copy.execute("PRAGMA journal_mode=DELETE")  # a single file, without a write-ahead log
    except sqlite3.Error as error:
        raise StoreError(f"cannot back up {file.path}: {error}; see 'facegate doctor'") from error
    found = examine(target, file.kind, full=True)
    if found.state != "sound":
        raise StoreError(f"cannot back up {file.path}: {found.reason}; see 'facegate doctor'")


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a backup.

    Raises:
        StoreError: the folder is not a backup.
    """
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError) as error:
        raise StoreError(f"{folder} is not a backup: give a folder made by 'facegate backup'") from error


def is_newer(manifest: Manifest) -> bool:
    """Whether a backup was made by a newer facegate."""
    made, own = ([int(part) for part in re.findall(r"\d+", text)[:3]] for text in (manifest.software, SOFTWARE))
    return made > own


def restore(folder: Path, files: Sequence[DataFile]) -> Iterator[str]:
    """Restore a backup's files; yields a line for each.

    Args:
        folder: folder of :func:`make_backup`.
        files: destinations of the backup's files; existing databases may be in use.

    Raises:
        StoreError: the backup is damaged (then nothing was changed), or a file cannot be written.
    """
    names = {saved.name for saved in read_manifest(folder).files}
    selected = [file for file in files if file.name in names]
    for file in selected:
        if not (folder / file.name).is_file():
            raise StoreError(f"{folder / file.name} is missing: nothing was restored; use another backup")
        found = examine(folder / file.name, file.kind, full=True) if file.kind else None
        if found is not None and found.state != "sound":
            raise StoreError(f"{folder / file.name} is {found.state} ({found.reason}): nothing was restored")
    for file in selected:
        try:
            file.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            yield _restore_file(folder / file.name, file)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"cannot restore {file.path}: {error}") from error


def _restore_file(source: Path, file: DataFile) -> str:
    if file.kind is None:
        with replacing(file.path, 0o600) as part:
            part.write_bytes(source.read_bytes())
        return f"{file.path}: restored"
    state = examine(file.path, file.kind).state
    if state in ("missing", "sound", "empty"):
        used = in_use(file.path)
        install(source, file.path, file.kind)
        return f"{file.path}: restored" + ("; a running process that uses it takes it over" if used else "")
    aside = set_aside(file.path)
    install(source, file.path, file.kind)
    return f"{file.path}: restored; the {state} file was renamed to {aside.name}"


def install(source: Path, path: Path, kind: Kind) -> None:
    """Copy a sound database to its destination; readers of an existing one see a change.

    Raises:
        sqlite3.Error: the destination cannot be written.
        OSError: the destination cannot be created.
    """
    before = _revision(path, kind)
    copy_database(source, path)
    if kind in (GALLERY, STORE):
        with closing(connect(path)) as db:
            db.execute("UPDATE revision SET number = max(number, ?) + 1", (before,))
            if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'template_index'").fetchone():
                db.execute(NEW_GENERATION)


def _revision(path: Path, kind: Kind) -> int:
    if kind not in (GALLERY, STORE) or not path.is_file():
        return 0
    try:
        with closing(connect(path)) as db:
            return int(db.execute("SELECT number FROM revision").fetchone()[0])
    except sqlite3.Error:
        return 0  # an empty file, or one of an older version


def automatic(folder: Path) -> list[Path]:
    """Automatic backups in a folder, oldest first."""
    return sorted(path.parent for path in folder.glob(f"*-*Z/{MANIFEST}"))


def newest_with(folder: Path, name: str, kind: Kind) -> Path | None:
    """The file ``name`` of the newest automatic backup in which it is sound."""
    for backup in reversed(automatic(folder)):
        if examine(backup / name, kind, full=True).state == "sound":
            return backup / name
    return None


def due(folder: Path, now: float) -> bool:
    """Whether the last automatic backup is older than a day, or its time is implausible."""
    made = [read_manifest(path).made for path in automatic(folder)[-1:]]
    return not made or not -3600 <= now - made[0] < INTERVAL_S


def back_up(folder: Path, files: Sequence[DataFile], now: float, *, at_once: bool = False) -> Path | None:
    """Make an automatic backup if one is due (or ``at_once``), and delete all but the last ``KEPT``.

    Raises:
        StoreError: a file is damaged, or there is no room; earlier backups are kept.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(folder) as locked:
        if not locked or not (at_once or due(folder, now)):
            return None
        free = shutil.disk_usage(folder).free
        selected = []
        for file in files:
            if file.kind is SPOOL:
                continue  # its content is obsolete within minutes
            if FREE_SPACE_FACTOR * file.path.stat().st_size > free:
                log.warning("file not in automatic backup", file=str(file.path), reason="too large for the disk")
                continue
            selected.append(file)
        before = automatic(folder)
        number = int(before[-1].name.partition("-")[0]) + 1 if before else 1
        target = folder / f"{number:06}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}"
        make_backup(selected, target, now)
        for old in [*before, target][:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
        return target


def console_uses(data: Path) -> bool:
    """Whether a console uses this folder, and therefore makes the backups."""
    if not (data / LOCK).is_file():
        return False
    with _locked(data) as locked:
        return not locked


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Try to hold this folder's lock; yields whether that succeeded."""
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keep automatic backups from being made in a folder; waits for one that is being made."""
    if not folder.is_dir():
        yield
        return
    with (folder / LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class BackupKeeper(BackgroundThread):
    """Makes automatic backups; at the end a running one is abandoned."""

    join_timeout_s = 1.0

    def __init__(self, folder: Path, files: Callable[[], Sequence[DataFile]]) -> None:
        """Prepare.

        Args:
            folder: folder of automatic backups.
            files: returns the files to back up; called each time.
        """
        super().__init__("facegate-backup")
        self._files = files
        self._folder = folder

    def _run(self) -> None:
        wait_s = FIRST_S
        while not self._stop.wait(wait_s):
            wait_s = POLL_INTERVAL_S
            try:
                files = [file for file in self._files() if file.path.is_file()]
                made = back_up(self._folder, files, time.time()) if files else None
                if made is not None:
                    log.info("automatic backup made", folder=str(made))
            except (FacegateError, OSError) as error:
                log.error("automatic backup failed", reason=str(error), remedy="see 'facegate doctor'")
