"""Routes ``/lists``: watch lists."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, Field

from facegate.console.web.errors import ERROR_RESPONSES, ConsoleDep
from facegate.console.web.models import PersonName, Strict
from facegate.recognition.enrollment.watch_lists import MAX_NAME, MAX_REASON, Membership, WatchList, WatchListStore

router = APIRouter(tags=["lists"], responses=ERROR_RESPONSES)
ListName = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]


class MembershipOut(BaseModel):
    """A person in a watch list."""

    person: str
    reason: str
    expires: float | None
    """Unix time from which the person is no longer in the list."""


class WatchListOut(BaseModel):
    """A watch list."""

    name: str
    color: str
    fpir: float | None
    """Share of unknown visits that may get the name of somebody in the list; ``null`` as for the gallery."""
    people: list[MembershipOut]


class WatchListIn(Strict):
    """Color and rate of a watch list."""

    color: Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")] = "#c00000"
    fpir: Annotated[float, Field(ge=1e-9, le=0.5)] | None = None


class MembershipIn(Strict):
    """Why, and until when, a person is in a watch list."""

    reason: Annotated[str, Field(max_length=MAX_REASON)] = ""
    expires: Annotated[float, Field(ge=0, le=1e11)] | None = None


@router.get("/lists")
def watch_lists(console: ConsoleDep) -> list[WatchListOut]:
    """List watch lists with their people, those who have expired too."""
    with WatchListStore(console.people.gallery) as people:
        lists, members = people.watch_lists(), people.members()
    return [
        WatchListOut(
            **msgspec.structs.asdict(each),
            people=[
                MembershipOut(person=member.person, reason=member.reason, expires=member.expires)
                for member in members
                if member.list == each.name
            ],
        )
        for each in lists
    ]


@router.put("/lists/{name}", status_code=204)
def put_list(console: ConsoleDep, name: ListName, change: WatchListIn) -> None:
    """Create or change a watch list."""
    with WatchListStore(console.people.gallery) as people:
        people.put_list(WatchList(name, change.color, change.fpir))


@router.delete("/lists/{name}", status_code=204)
def delete_list(console: ConsoleDep, name: ListName) -> None:
    """Delete a watch list; its people stay enrolled."""
    with WatchListStore(console.people.gallery) as people:
        people.delete_list(name)
    console.outbox.forget_list(name)


@router.put("/lists/{name}/people/{person}", status_code=204)
def put_member(console: ConsoleDep, name: ListName, person: PersonName, change: MembershipIn) -> None:
    """Put an enrolled person into a watch list, or change reason and date."""
    with WatchListStore(console.people.gallery) as people:
        people.put_member(Membership(name, person, change.reason, change.expires))


@router.delete("/lists/{name}/people/{person}", status_code=204)
def delete_member(console: ConsoleDep, name: ListName, person: PersonName) -> None:
    """Take a person out of a watch list."""
    with WatchListStore(console.people.gallery) as people:
        people.delete_member(name, person)
