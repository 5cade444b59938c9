"""``facegate backup``, ``restore`` and ``doctor``: kept data."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time
from typing import Annotated

import typer

from facegate.errors import ConfigError

DataOption = Annotated[
    Path | None,
    typer.Option(help="Folder of 'facegate serve' or 'run --data'.", show_default="~/.local/share/facegate"),
]
GalleryOption = Annotated[
    Path | None, typer.Option(help="The gallery, where it is another file.", show_default="DATA/people.db")
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(help="The configuration, where it is another file.", show_default="DATA/facegate.yaml"),
]


def backup(
    folder: Annotated[Path, typer.Argument(help="A new folder for the copies.")],
    data: DataOption = None,
    gallery: GalleryOption = None,
    config: ConfigOption = None,
) -> None:
    """Copy everything that is kept, except recordings, while everything runs.

    \b
    facegate backup /mnt/usb/facegate-1
    facegate backup before-update --data /srv/facegate
    """
    from facegate.maintenance.backups import make_backup
    from facegate.maintenance.files import data_files

    files = data_files(_folder(data), gallery, config)
    if not files:
        raise ConfigError(f"there is nothing to back up in {_folder(data)}: give the right --data")
    for saved in make_backup(files, folder, time()).files:
        sys.stdout.write(f"{saved.name}: {saved.bytes} bytes\n")


def restore(
    folder: Annotated[Path, typer.Argument(help="A folder of 'facegate backup', or of DATA/backups.")],
    data: DataOption = None,
    gallery: GalleryOption = None,
    config: ConfigOption = None,
) -> None:
    """Put a backup back; what is there now is backed up into DATA/backups first.

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
    wanted = []
    for name in (saved.name for saved in read_manifest(folder).files):
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ConfigError(f"{folder} is no backup of facegate: it names {name}")
        kind = SPOOL if name.endswith(".spool") else kinds.get(name)
        wanted.append(DataFile(name, places.get(name) or where / name, kind))
    where.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(where):
        present = data_files(where, gallery, config)
        sound = [file for file in present if file.kind is None or examine(file.path, file.kind).state == "sound"]
        if sound:
            back_up(where / FOLDER, sound, time(), at_once=True)
        for line in restore_backup(folder, wanted):
            sys.stdout.write(line + "\n")


def doctor(
    data: DataOption = None,
    gallery: GalleryOption = None,
    config: ConfigOption = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Recover what can be recovered, and set permissions right.")
    ] = False,
) -> None:
    """Check every file that is kept, versions, free space, clock and permissions; exit code 1 where one is wrong.

    \b
    facegate doctor
    facegate doctor --data /srv/facegate --repair
    """
    from facegate.maintenance.backups import FOLDER
    from facegate.maintenance.doctor import diagnose
    from facegate.maintenance.files import data_files

    where = _folder(data)
    folders = list(dict.fromkeys([where / FOLDER, (gallery or where / "people.db").absolute().parent / FOLDER]))
    wrong = False
    for line in diagnose(where, data_files(where, gallery, config), folders, time(), repair=repair):
        wrong = wrong or line.level == "error"
        sys.stdout.write(f"{line.level:8}{line.text}\n")
        sys.stdout.flush()
    raise typer.Exit(int(wrong))


def _folder(data: Path | None) -> Path:
    from facegate.paths import data_folder

    return (data or data_folder()).absolute()


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    """No console serves from this folder meanwhile."""
    import fcntl

    with (data / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"a console uses {data}: end it, restore, and start it again") from None
        yield
