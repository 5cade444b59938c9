"""``facegate gallery basis`` and ``export-person``: why a person may be recognized, and all that is kept of one."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from facegate.cli.commands.gallery import GalleryArgument, JsonOption, NameArgument, app
from facegate.cli.options import DataOption
from facegate.cli.output.lines import print_json
from facegate.pipeline.plurals import count

__all__ = ["app"]

DATE = "%Y-%m-%d"


@app.command()
def basis(
    gallery: GalleryArgument,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Name of the person.", show_default="all people"),
    ] = None,
    text: Annotated[
        str | None,
        typer.Argument(
            metavar="BASIS", help="Legal basis, such as a consent and where it is kept.", show_default=False
        ),
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(formats=[DATE], help="First day (local time).", show_default=False)
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(formats=[DATE], help="Day from which the person is no longer recognized.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show or set why people may be recognized (GDPR, Art. 6 and 9), and until when.

    \b
    facegate gallery basis people.db "Ann Smith" "consent, form 17" --since 2026-11-01 --until 2027-11-01
    facegate gallery basis people.db
    """
    from facegate.recognition.enrollment.gallery_store import GalleryStore
    from facegate.recognition.enrollment.records import LegalBasis

    with GalleryStore(gallery) as people:
        if name is not None and text is not None:
            people.set_legal_basis(LegalBasis(name, text, _unix(since), _unix(until)))
        spelled = None if name is None else people.spelling(name)
        if spelled is not None:
            people.pictures(spelled)  # raises for an unknown person
        found = [each for each in people.legal_bases() if spelled in (None, each.person)]
    if as_json:
        print_json(found)
        return
    for each in found:
        period = f"  since {_day(each.since)}" * (each.since is not None) + f"  until {_day(each.until)}" * (
            each.until is not None
        )
        sys.stdout.write(f"{each.person}: {each.basis or 'none recorded'}{period}\n")


@app.command("export-person")
def export_person(
    gallery: GalleryArgument,
    name: NameArgument,
    to: Annotated[Path, typer.Argument(metavar="FOLDER", help="New folder for the files.")],
    data: DataOption = None,
) -> None:
    """Export everything that is kept of a person (GDPR, Art. 15): person.json, pictures and shots.

    \b
    facegate gallery export-person people.db "Ann Smith" ann/ --data ~/.local/share/facegate
    """
    from facegate.maintenance.person_export import export_person as export
    from facegate.recognition.enrollment.stored_visits import check_data

    check_data(data)
    found = export(gallery, name, to, data)
    counts = ", ".join([count(found.pictures, "picture"), count(found.visits, "visit"), count(found.shots, "shot")])
    sys.stdout.write(f"{name}: {counts} written to {to}\n")


def _unix(day: datetime | None) -> float | None:
    return None if day is None else day.timestamp()


def _day(at: float | None) -> str:
    return "" if at is None else f"{datetime.fromtimestamp(at):{DATE}}"
