"""Checks a data folder: files, versions, disk space, clock, permissions and backups."""

from __future__ import annotations

import shutil
import sqlite3
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal

import msgspec

from facegate.clock import JUMP_S, MAX_GAP_S
from facegate.database import connect
from facegate.errors import StoreError
from facegate.maintenance.backups import automatic, newest_with, read_manifest
from facegate.maintenance.files import DAMAGED, LOCATIONS, DataFile, examine, locate, notes
from facegate.maintenance.recovery import heal
from facegate.sinks.wire import SOFTWARE

MIN_FREE_BYTES, NEEDED_BYTES = 1_000_000_000, 50_000_000
"""Free space below which there is a warning, and an error."""
OLD_BACKUP_S = 2 * 86_400.0
EARLIEST = 1_735_689_600.0
"""2025-01-01; a clock before that has lost its battery."""

Level = Literal["ok", "fixed", "warning", "error"]


class Diagnosis(msgspec.Struct, frozen=True):
    """Result of one check."""

    level: Level
    text: str


def diagnose(
    data: Path,
    files: Sequence[DataFile],
    backups: Sequence[Path],
    now: float,
    *,
    repair: bool = False,
    missing: Iterable[Diagnosis] = (),
) -> Iterator[Diagnosis]:
    """Run all checks.

    Args:
        data: the data folder.
        files: see :func:`facegate.maintenance.files.data_files`.
        backups: folders of automatic backups, best first.
        now: Unix time.
        repair: repair what can be repaired.
        missing: see :func:`missing_files`.
    """
    yield Diagnosis("ok", f"facegate {SOFTWARE}, SQLite {sqlite3.sqlite_version}")
    if not data.is_dir():
        state = "not a folder" if data.exists() else "no such folder"
        yield Diagnosis("error", f"{data}: {state}; give the --data of 'facegate serve'")
    elif not files:
        yield Diagnosis("warning", f"{data}: contains no data; give the --data of 'facegate serve'")
    yield from missing
    for file in files:
        yield from _file(file, backups, repair)
        yield from _mode(file.path, 0o600, repair)
    if data.is_dir():
        yield from _mode(data, 0o700, repair)
        yield _room(data)
    yield _clock(files, now)
    yield _backups(backups, now)
    for folder in dict.fromkeys([data, *(file.path.parent for file in files)]):
        for line in notes(folder):
            yield Diagnosis("warning", f"earlier: {line} (delete *{DAMAGED}* when no longer needed)")


def missing_files(data: Path, gallery: Path | None, config: Path | None) -> Iterator[Diagnosis]:
    """Files outside a data folder that a check or backup of it does not include.

    Args:
        data: the data folder.
        gallery: the gallery as given by the user, if it was.
        config: the configuration, likewise.
    """
    known = locate(data, gallery, config)
    if not known.gallery.is_file():
        if gallery is not None or (data / LOCATIONS).is_file():
            yield Diagnosis("error", f"{known.gallery}: no such file; give the gallery with --gallery")
        elif data.is_dir():
            yield Diagnosis("warning", f"{known.gallery}: no gallery in the data folder; give it with --gallery")
    if not known.config.is_file() and known.config != data / "facegate.yaml":
        yield Diagnosis("error", f"{known.config}: no such file; give the configuration with --config")


def _file(file: DataFile, backups: Sequence[Path], repair: bool) -> Iterator[Diagnosis]:
    if file.kind is None:
        yield Diagnosis("ok", f"{file.path}: present")
        return
    found = examine(file.path, file.kind, full=True)
    if found.state == "sound":
        yield Diagnosis("ok", f"{file.path}: sound {file.kind.what}, {file.path.stat().st_size / 1e6:.1f} MB")
    elif found.state in ("foreign", "newer"):
        remedy = "choose another file" if found.state == "foreign" else "upgrade facegate, or restore a backup"
        yield Diagnosis("error", f"{file.path}: {found.reason}; {remedy}")
    elif found.state in ("missing", "unusable"):
        yield Diagnosis("error", f"{file.path}: {found.state} ({found.reason}); check the disk and permissions")
    elif found.state == "empty" and not any(newest_with(each, file.name, file.kind) for each in backups):
        yield Diagnosis("warning", f"{file.path}: empty, and there is no backup; it is filled at the next use")
    elif not repair:
        yield Diagnosis("error", f"{file.path}: damaged ({found.reason}); see 'facegate doctor --repair'")
    else:
        try:
            done = heal(file, backups, found)
        except StoreError as error:
            yield Diagnosis("error", str(error))
            return
        if done is not None:
            yield Diagnosis("fixed", done)


def _mode(path: Path, expected: int, repair: bool) -> Iterator[Diagnosis]:
    """Check that other users cannot read a path."""
    for each in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
        try:
            mode = stat.S_IMODE(each.stat().st_mode)
            if not mode & 0o077:
                continue
            if not repair:
                yield Diagnosis(
                    "warning",
                    f"{each}: readable by other users ({mode:o}); run 'chmod {expected:o}', or use --repair",
                )
                continue
            each.chmod(expected)
        except OSError:
            continue
        yield Diagnosis("fixed", f"{each}: was readable by other users ({mode:o}), now {expected:o}")


def _room(data: Path) -> Diagnosis:
    free = shutil.disk_usage(data).free
    if free < NEEDED_BYTES:
        return Diagnosis("error", f"{data}: the disk is full, {free / 1e6:.0f} MB free; free disk space")
    if free < MIN_FREE_BYTES:
        return Diagnosis(
            "warning", f"{data}: {free / 1e9:.1f} GB free; lower --max-mb or --days, or free disk space"
        )
    return Diagnosis("ok", f"{data}: {free / 1e9:.1f} GB free")


def _clock(files: Sequence[DataFile], now: float) -> Diagnosis:
    date = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now))
    known = [found for file in files if file.kind is not None and (found := _trusted(file.path)) is not None]
    if now < EARLIEST:
        return Diagnosis("error", f"clock: {date} is wrong; set the host's date, and use a time server")
    if known and not -JUMP_S <= now - max(known) <= MAX_GAP_S:
        last = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(max(known)))
        return Diagnosis(
            "warning",
            f"clock: {date}, last trusted at {last}; deletion by age is suspended until it has run steadily for a "
            "day: check the host's date",
        )
    return Diagnosis("ok", f"clock: {date}")


def _trusted(path: Path) -> float | None:
    try:
        with closing(connect(path, read_only=True)) as db:
            row = db.execute("SELECT trusted FROM clock").fetchone()
    except (sqlite3.Error, OSError):
        return None
    return None if row is None else row[0]


def _backups(backups: Sequence[Path], now: float) -> Diagnosis:
    found = [made for folder in backups for path in automatic(folder)[-1:] if (made := read_manifest(path).made)]
    if not found:
        return Diagnosis(
            "warning", "backups: none yet; a console or worker makes one per day, 'facegate backup' makes one now"
        )
    date = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(max(found)))
    count = sum(len(automatic(folder)) for folder in backups)
    old = now - max(found) > OLD_BACKUP_S
    return Diagnosis("warning" if old else "ok", f"backups: {count}, the newest of {date}")
