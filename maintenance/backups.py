"""Copies of what is kept, made while everything runs, and put back."""

from __future__ import annotations

import fcntl
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Thread

import msgspec
import structlog

from facegate.database import connect
from facegate.errors import FacegateError, StoreError
from facegate.maintenance.files import GALLERY, SPOOL, STORE, DataFile, Kind, examine, set_aside
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.enrollment.unknowns import UnknownStore
from facegate.sinks.wire import SOFTWARE
from facegate.store.writer import StoreWriter

FOLDER = "backups"
MANIFEST = "backup.json"
LOCK = "lock"
"""Held in a data folder by its console, and in a folder of backups by who makes one."""
KEPT = 7
EVERY_S = 86_400.0
FIRST_S, LOOK_S = 60.0, 600.0
SPARE = 10
"""An automatic backup leaves out a file of which there is not room for this many copies."""

log = structlog.get_logger(__name__)


class Saved(msgspec.Struct, frozen=True):
    """A file of a backup."""

    name: str
    bytes: int


class Manifest(msgspec.Struct, frozen=True):
    """What is in a backup."""

    made: float
    """Unix time (UTC)."""
    software: str
    files: list[Saved]


def copy_database(source: Path, target: Path) -> None:
    """Copy a database into another, in one step, whoever uses the one or the other.

    Raises:
        sqlite3.Error: one of them cannot be used.
        OSError: the target cannot be made.
    """
    with closing(connect(source, read_only=True)) as before, closing(connect(target, create=True)) as after:
        before.backup(after)


def make_backup(files: Sequence[DataFile], folder: Path, now: float) -> Manifest:
    """Copy files into a new folder, which appears when all are there and sound.

    Args:
        files: of :func:`facegate.maintenance.files.data_files`.
        folder: a new one.
        now: Unix time.

    Raises:
        StoreError: a file is damaged, or there is no room.
    """
    part = folder.with_name(folder.name + ".part")
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
        (part / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
        part.replace(folder)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise StoreError(f"cannot back up to {folder}: {(error.strerror or 'error').lower()}") from error
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
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, without another beside it
    except sqlite3.Error as error:
        raise StoreError(f"{file.path} cannot be backed up: {error}; see 'facegate doctor'") from error
    found = examine(target, file.kind, full=True)
    if found.state != "sound":
        raise StoreError(f"{file.path} cannot be backed up: {found.reason}; see 'facegate doctor'")


def read_manifest(folder: Path) -> Manifest:
    """What a backup holds.

    Raises:
        StoreError: it is none.
    """
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError) as error:
        raise StoreError(f"{folder} is no backup: give a folder of 'facegate backup'") from error


def restore(folder: Path, files: Sequence[DataFile]) -> Iterator[str]:
    """Put a backup's files in the place of others; a line for each.

    Args:
        folder: of :func:`make_backup`.
        files: where each of the backup's files belongs; databases that are there may be in use.

    Raises:
        StoreError: the backup is damaged (then nothing was changed), or a file cannot be written.
    """
    names = {saved.name for saved in read_manifest(folder).files}
    wanted = [file for file in files if file.name in names]
    for file in wanted:
        found = examine(folder / file.name, file.kind, full=True) if file.kind else None
        if found is not None and found.state != "sound":
            raise StoreError(f"{folder / file.name} is {found.state} ({found.reason}): nothing was restored")
        if not (folder / file.name).is_file():
            raise StoreError(f"{folder / file.name} is missing: nothing was restored")
    for file in wanted:
        try:
            file.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            yield _restore_file(folder / file.name, file)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{file.path} cannot be restored: {error}") from error


def _restore_file(source: Path, file: DataFile) -> str:
    if file.kind is None:
        part = file.path.with_name(file.path.name + ".part")
        part.touch(mode=0o600)
        part.write_bytes(source.read_bytes())
        part.replace(file.path)
        return f"{file.path}: restored"
    state = examine(file.path, file.kind).state
    if state in ("missing", "sound", "empty"):
        install(source, file.path, file.kind)
        return f"{file.path}: restored"
    aside = set_aside(file.path)
    install(source, file.path, file.kind)
    return f"{file.path}: restored; the {state} file before it is {aside.name}"


def install(source: Path, path: Path, kind: Kind) -> None:
    """Copy a sound database to where it belongs; who follows the one that is there sees a change.

    Raises:
        sqlite3.Error: it cannot be written.
        OSError: it cannot be made.
    """
    before = _revision(path, kind)
    copy_database(source, path)
    if kind in (GALLERY, STORE):
        with closing(connect(path)) as db:
            db.execute("UPDATE revision SET number = max(number, ?) + 1", (before,))


def _revision(path: Path, kind: Kind) -> int:
    if kind not in (GALLERY, STORE) or not path.is_file():
        return 0
    try:
        with closing(connect(path)) as db:
            return int(db.execute("SELECT number FROM revision").fetchone()[0])
    except sqlite3.Error:
        return 0  # a new file, or an older one


def automatic(folder: Path) -> list[Path]:
    """Automatic backups in a folder of them, oldest first."""
    return sorted(path.parent for path in folder.glob(f"*-*Z/{MANIFEST}"))


def newest_with(folder: Path, name: str, kind: Kind) -> Path | None:
    """The file ``name`` of the newest automatic backup in which it is sound."""
    for backup in reversed(automatic(folder)):
        if examine(backup / name, kind, full=True).state == "sound":
            return backup / name
    return None


def due(folder: Path, now: float) -> bool:
    """Whether a day has gone since the last automatic backup, or its time cannot be right."""
    made = [read_manifest(path).made for path in automatic(folder)[-1:]]
    return not made or not -3600 <= now - made[0] < EVERY_S


def back_up(folder: Path, files: Sequence[DataFile], now: float, *, at_once: bool = False) -> Path | None:
    """Make an automatic backup where one is due (or ``at_once``), and remove those that are too many.

    Raises:
        StoreError: a file is damaged, or there is no room; what was backed up before stays.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(folder) as alone:
        if not alone or not (at_once or due(folder, now)):
            return None
        free = shutil.disk_usage(folder).free
        wanted = []
        for file in files:
            if file.kind is SPOOL:
                continue  # it holds what is on its way, for minutes
            if SPARE * file.path.stat().st_size > free:
                log.warning("not in the automatic backup: too large for the disk", file=str(file.path))
                continue
            wanted.append(file)
        before = automatic(folder)
        number = int(before[-1].name.partition("-")[0]) + 1 if before else 1
        target = folder / f"{number:06}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}"
        make_backup(wanted, target, now)
        for old in [*before, target][:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
        return target


def console_uses(data: Path) -> bool:
    """Whether a console runs with this folder: then it makes the backups."""
    if not (data / LOCK).is_file():
        return False
    with _alone(data) as alone:
        return not alone


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Whether nobody else holds this folder's lock; until the end nobody does."""
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def forget_in_backups(folder: Path, name: str) -> int:
    """Remove somebody from automatic backups, and with them all unknown faces; return in how many they were.

    Raises:
        FacegateError: a backup cannot be written.
    """
    count = 0
    for backup in automatic(folder):
        found = 0
        people, store = backup / "people.db", backup / "store.db"
        if people.is_file():
            with GalleryStore(people) as gallery, UnknownStore(people) as unknowns:
                if name in {person.name for person in gallery.people()}:
                    found += 1 + gallery.remove(name)
                unknowns.forget_all()
        if store.is_file():
            with StoreWriter(store) as visits:
                found += visits.erase_person(name)
        count += found > 0
    return count


class BackupKeeper:
    """Makes automatic backups in a thread of its own until it is closed."""

    def __init__(self, folder: Path, files: Callable[[], Sequence[DataFile]]) -> None:
        """Begin.

        Args:
            folder: of automatic backups.
            files: tells what is backed up; asked each time.
        """
        self._files = files
        self._folder = folder
        self._stop = Event()
        self._thread = Thread(target=self._run, name="facegate-backup", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End; a copy that is under way is left as it is."""
        self._stop.set()
        self._thread.join(1.0)

    def _run(self) -> None:
        wait_s = FIRST_S
        while not self._stop.wait(wait_s):
            wait_s = LOOK_S
            try:
                files = [file for file in self._files() if file.path.is_file()]
                made = back_up(self._folder, files, time.time()) if files else None
                if made is not None:
                    log.info("automatic backup made", folder=str(made))
            except (FacegateError, OSError) as error:
                log.error("automatic backup failed", reason=str(error), remedy="see 'facegate doctor'")
