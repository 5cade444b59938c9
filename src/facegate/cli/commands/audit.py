"""``facegate audit``: the log of who saw and changed what, and of uses of the recognizer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facegate.cli.exit_codes import ExitCode
from facegate.errors import ConfigError

if TYPE_CHECKING:
    from facegate.audit.log import Head

app = typer.Typer(no_args_is_help=True, help="Verify and export the audit log.")

FileArgument = Annotated[
    Path | None,
    typer.Argument(metavar="FILE", help="File of the audit log.", show_default="audit.db in the data folder"),
]


@app.command()
def verify(
    file: FileArgument = None,
    head: Annotated[
        str | None,
        typer.Option(
            metavar="ID:DIGEST",
            help="Earlier head, from this command or a log line; finds out whether newest entries were cut off.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Find entries that were changed, removed or reordered; exits with 1 if there are any.

    Prints the head: keep it elsewhere, and give it to the next verification.

    \b
    facegate audit verify
    facegate audit verify /srv/facegate/audit.db --head 81234:9f0c...
    """
    from facegate.audit.verification import verify as verify_log
    from facegate.cpu import cores

    path = _file(file)
    found = verify_log(path, _head(head), processes=cores())
    for fault in found.faults:
        sys.stdout.write(f"{fault}\n")
    state = "sound" if not found.faults else "NOT sound"
    sys.stdout.write(f"{path}: {found.entries} entries, {state}\nhead {found.head}\n")
    raise typer.Exit(ExitCode.REFUSED if found.faults else ExitCode.DONE)


@app.command()
def export(file: FileArgument = None) -> None:
    """Print the audit log as CSV, oldest entry first.

    \b
    facegate audit export > audit.csv
    """
    from facegate.audit.log import AuditLog, to_csv

    with AuditLog(_file(file)) as log:
        sys.stdout.writelines(to_csv(log.entries()))


def _file(file: Path | None) -> Path:
    from facegate.paths import data_folder

    return file or data_folder() / "audit.db"


def _head(text: str | None) -> Head | None:
    from facegate.audit.log import Head

    if text is None:
        return None
    number, _, digest = text.partition(":")
    if not number.isdecimal() or len(digest) != 64:
        raise ConfigError(f"--head {text} is not a head: give ID:DIGEST as 'facegate audit verify' prints it")
    return Head(int(number), digest)
