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
    Path | None, typer.Option(help="Gallery file, if it is outside the data folder.", show_default="as last served")
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(help="Configuration file, if it is outside the data folder.", show_default="as last served"),
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
    from facegate.maintenance.doctor import missing_files
    from facegate.maintenance.files import data_files

    where = _folder(data)
    files = data_files(where, gallery, config)
    if not files:
        raise ConfigError(f"{where} contains nothing to back up; give another --data")
    paths = {file.name: file.path for file in files}
    for saved in make_backup(files, folder, time()).files:
        sys.stdout.write(f"{saved.name}: {saved.bytes} bytes from {paths[saved.name]}\n")
    missing = list(missing_files(where, gallery, config))
    for line in missing:
        sys.stderr.write(f"not in the backup: {line.text}\n")
    failed = [line for line in missing if line.level == "error"]
    raise typer.Exit(ExitCode.REFUSED if failed else ExitCode.DONE)


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
    from facegate.maintenance.backups import FOLDER, back_up, is_newer, read_manifest
    from facegate.maintenance.backups import restore as restore_backup
    from facegate.maintenance.files import ACCOUNTS, GALLERY, SPOOL, STORE, DataFile, data_files, examine, locate

    where = _folder(data)
    known, manifest = locate(where, gallery, config), read_manifest(folder)
    if is_newer(manifest):
        sys.stderr.write(f"{folder} was made by facegate {manifest.software}, newer than this one: upgrade it\n")
    kinds = {"people.db": GALLERY, "store.db": STORE, "accounts.db": ACCOUNTS}
    places = {"people.db": known.gallery, "facegate.yaml": known.config}
    targets = []
    for name in (saved.name for saved in manifest.files):
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
    from facegate.maintenance.doctor import diagnose, missing_files
    from facegate.maintenance.files import data_files, locate

    where = _folder(data)
    beside = locate(where, gallery, config).gallery.absolute().parent
    folders = list(dict.fromkeys([where / FOLDER, beside / FOLDER]))
    failed, missing = False, missing_files(where, gallery, config)
    for line in diagnose(
        where, data_files(where, gallery, config), folders, time(), repair=repair, missing=missing
    ):
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
