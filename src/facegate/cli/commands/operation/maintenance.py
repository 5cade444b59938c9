"""``facegate backup``, ``restore`` and ``doctor``: stored data."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time
from typing import Annotated

import typer

from facegate.cli.exit_codes import ExitCode
from facegate.errors import ConfigError, StoreError

DataOption = Annotated[
    Path | None,
    typer.Option(help="Data folder of 'facegate serve' or 'run --data'.", show_default="~/.local/share/facegate"),
]
GalleryOption = Annotated[
    Path | None, typer.Option(help="Gallery file, if it is outside the data folder.", show_default="DATA/people.db")
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(help="Configuration file, if it is outside the data folder.", show_default="DATA/facegate.yaml"),
]


def backup(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="New folder for the backup.")],
    data: DataOption = None,
    gallery: GalleryOption = None,
    config: ConfigOption = None,
) -> None:
    """Back up all data except recordings; nothing has to be stopped.

    \b
    facegate backup /mnt/usb/facegate-1
    facegate backup before-update --data /srv/facegate
    """
    from facegate.maintenance.backups import make_backup
    from facegate.maintenance.files import data_files

    files = data_files(_folder(data), gallery, config)
    if not files:
        raise ConfigError(f"{_folder(data)} contains nothing to back up; give another --data")
    for saved in make_backup(files, folder, time()).files:
        sys.stdout.write(f"{saved.name}: {saved.bytes} bytes\n")


def restore(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Backup folder, made by 'facegate backup' or in DATA/backups.")
    ],
    data: DataOption = None,
    gallery: GalleryOption = None,
    config: ConfigOption = None,
) -> None:
    """Restore a backup; current data is backed up to DATA/backups first.

    \b
    facegate restore /mnt/usb/facegate-1
    facegate restore ~/.local/share/facegate/backups/000012-20260701T030000Z
    """
    from facegate.maintenance.backups import FOLDER, back_up, read_manifest
    from facegate.maintenance.backups import restore as restore_backup
    from facegate.maintenance.files import ACCOUNTS, GALLERY, SPOOL, STORE, DataFile, data_files, examine

    where = _folder(data)
    kinds = {"people.db": GALLERY, "store.db": STORE, "accounts.db": ACCOUNTS}
    places = {"people.db": gallery, "facegate.yaml": config}
    targets = []
    for name in (saved.name for saved in read_manifest(folder).files):
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ConfigError(f"{folder} is not a facegate backup: its manifest names {name}")
        kind = SPOOL if name.endswith(".spool") else kinds.get(name)
        targets.append(DataFile(name, places.get(name) or where / name, kind))
    where.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(where):
        present = data_files(where, gallery, config)
        sound = [file for file in present if file.kind is None or examine(file.path, file.kind).state == "sound"]
        if sound:
            back_up(where / FOLDER, sound, time(), at_once=True)
        for line in restore_backup(folder, targets):
            sys.stdout.write(line + "\n")


def doctor(
    data: DataOption = None,
    gallery: GalleryOption = None,
    config: ConfigOption = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Recover damaged files and correct permissions.")
    ] = False,
) -> None:
    """Check data files, versions, free space, clock and permissions; exits with 1 if a check fails.

    \b
    facegate doctor
    facegate doctor --data /srv/facegate --repair
    """
    from facegate.maintenance.backups import FOLDER
    from facegate.maintenance.doctor import diagnose
    from facegate.maintenance.files import data_files

    where = _folder(data)
    folders = list(dict.fromkeys([where / FOLDER, (gallery or where / "people.db").absolute().parent / FOLDER]))
    failed = False
    for line in diagnose(where, data_files(where, gallery, config), folders, time(), repair=repair):
        failed = failed or line.level == "error"
        sys.stdout.write(f"{line.level:8}{line.text}\n")
        sys.stdout.flush()
    raise typer.Exit(ExitCode.REFUSED if failed else ExitCode.DONE)


def _folder(data: Path | None) -> Path:
    from facegate.paths import data_folder

    return (data or data_folder()).absolute()


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    """Hold the lock of the data folder."""
    import fcntl

    with (data / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"{data} is in use by 'facegate serve'; stop it, restore, and start it again"
            ) from None
        yield
