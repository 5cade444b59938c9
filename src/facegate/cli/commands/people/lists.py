"""``facegate lists``: watch lists of a gallery."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True, help="Manage watch lists: groups of enrolled people with a rate of their own."
)

GalleryArgument = Annotated[Path, typer.Argument(metavar="GALLERY", help="The gallery file.", show_default=False)]
ListArgument = Annotated[str, typer.Argument(metavar="LIST", help="Name of the list.", show_default=False)]
PersonArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the person.", show_default=False)]


@app.command("set")
def set_list(
    gallery: GalleryArgument,
    name: ListArgument,
    color: Annotated[str, typer.Option(metavar="#RRGGBB", help="Color of the list.")] = "#c00000",
    rate: Annotated[
        float | None,
        typer.Option(
            min=1e-9,
            max=0.5,
            help="Maximum share of unknown visits that get the name of somebody in the list; without, the list's "
            "people have the gallery's threshold.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Create a watch list, or change its color and rate.

    \b
    facegate lists set people.db banned --color "#c00000" --rate 0.01
    facegate lists set people.db staff --color "#008000"
    """
    from facegate.recognition.enrollment.watch_lists import WatchList, WatchListStore

    with WatchListStore(gallery) as people:
        people.put_list(WatchList(name, color, rate))


@app.command()
def add(
    gallery: GalleryArgument,
    name: ListArgument,
    person: PersonArgument,
    reason: Annotated[str, typer.Option(help="Reason, shown with the person.")] = "",
    until: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M"],
            help="Local time from which the person is no longer in the list.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Put an enrolled person into a watch list.

    \b
    facegate lists add people.db banned "Ann Smith" --reason "theft, 3 May" --until 2027-05-03
    """
    from facegate.recognition.enrollment.watch_lists import Membership, WatchListStore

    with WatchListStore(gallery) as people:
        people.put_member(Membership(name, person, reason, None if until is None else until.timestamp()))


@app.command()
def remove(
    gallery: GalleryArgument,
    name: ListArgument,
    person: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Name of the person; the whole list without.", show_default=False),
    ] = None,
) -> None:
    """Take a person out of a watch list, or delete the list; people stay enrolled.

    \b
    facegate lists remove people.db banned "Ann Smith"
    facegate lists remove people.db banned
    """
    from facegate.recognition.enrollment.watch_lists import WatchListStore

    with WatchListStore(gallery) as people:
        if person is None:
            people.delete_list(name)
        else:
            people.delete_member(name, person)


@app.command()
def show(
    gallery: GalleryArgument,
    json: Annotated[bool, typer.Option("--json", help="Print lists and people as JSON.")] = False,
) -> None:
    """Show watch lists and their people.

    \b
    facegate lists show people.db
    facegate lists show people.db --json
    """
    from facegate.cli.output.lines import print_json
    from facegate.recognition.enrollment.watch_lists import WatchListStore

    with WatchListStore(gallery) as people:
        lists, members = people.watch_lists(), people.members()
    if json:
        print_json({"lists": lists, "people": members})
        return
    for each in lists:
        rate = "rate of the gallery" if each.fpir is None else f"rate {each.fpir:g}"
        sys.stdout.write(f"{each.name}  {each.color}  {rate}\n")
        for member in members:
            if member.list == each.name:
                until = (
                    ""
                    if member.expires is None
                    else f"  until {datetime.fromtimestamp(member.expires):%Y-%m-%d %H:%M}"
                )
                sys.stdout.write(f"  {member.person}{until}  {member.reason}".rstrip() + "\n")
