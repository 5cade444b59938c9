"""``/people`` and ``/unknowns``: who can be named."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, File, Form, Query, Response, UploadFile
from pydantic import BaseModel, Field

from facegate.console.people.service import EnrollmentResult
from facegate.console.state import ConsoleState
from facegate.console.web.errors import ERROR_RESPONSES, ApiError, RouteErrors, not_found
from facegate.console.web.models import PersonName, RowId, Strict
from facegate.console.web.visits import JPEG
from facegate.errors import GalleryError
from facegate.recognition.enrollment.checks import Fault
from facegate.recognition.enrollment.names import name_key, person_name
from facegate.store.records import StoredShot

router = APIRouter(tags=["people"], responses=ERROR_RESPONSES)
MAX_FILES = 20
MAX_FILE_BYTES = 8 * 2**20


class PersonOut(BaseModel):
    """Somebody who can be named."""

    name: str
    pictures: int
    negatives: int
    added: float


class PictureOut(BaseModel):
    """A picture in the gallery."""

    row: int
    kind: str
    """``enrolled``, or ``negative``: of somebody else, who must not be taken for this person."""
    source: str
    quality: int
    accepted: bool


class FaultOut(BaseModel):
    """Something that is wrong with a picture, or with two people."""

    kind: str
    person: str
    source: str | None
    reason: str
    remedy: str
    other: str | None


class EnrollmentResultOut(BaseModel):
    """What came of it."""

    added: int
    faults: list[FaultOut]
    """Why pictures were not added, and what is odd now."""


class FromShot(Strict):
    """A face that was sent."""

    shot_id: Annotated[str, Field(max_length=64)]
    accept: bool = False
    """It is right, whatever is found."""


class NewName(Strict):
    """Another name."""

    name: PersonName


class UnknownVisitOut(BaseModel):
    """A face of an unknown visitor."""

    row: int
    camera: str
    seen: float
    quality: int


class UnknownOut(BaseModel):
    """Somebody unknown."""

    id: int
    visits: list[UnknownVisitOut]
    cameras: list[str]
    days: int


class NameUnknownIn(Strict):
    """Who it is."""

    name: PersonName
    without: Annotated[tuple[RowId, ...], Field(max_length=2000)] = ()
    """Rows of faces that are somebody else's."""


class ErasedOut(BaseModel):
    """What was found of a person in one place, and is gone."""

    place: str
    found: int
    what: str


@router.get("/people")
def people(console: RouteErrors) -> list[PersonOut]:
    """Everybody who can be named."""
    return [PersonOut(**msgspec.structs.asdict(person)) for person in console.people.people()]


@router.get("/gallery/faults")
def faults(console: RouteErrors) -> list[FaultOut]:
    """Everything that is wrong with the gallery, as ``facegate gallery check`` says it."""
    return [_fault(fault) for fault in console.people.faults()]


@router.get("/people/pictures/{row}.jpg", response_class=Response, responses=JPEG)
def picture(console: RouteErrors, row: RowId) -> Response:
    """A picture of the gallery."""
    return _picture(lambda: console.people.picture(row))


@router.delete("/people/pictures/{row}", status_code=204)
def remove_picture(console: RouteErrors, row: RowId) -> None:
    """Remove one picture."""
    try:
        console.people.remove_picture(row)
    except GalleryError as error:
        raise not_found("such picture") from error


@router.get("/people/{name}")
def pictures(console: RouteErrors, name: str) -> list[PictureOut]:
    """Somebody's pictures."""
    name = _known(console, name)
    fields = PictureOut.model_fields
    return [PictureOut(**{key: getattr(each, key) for key in fields}) for each in console.people.pictures(name)]


@router.patch("/people/{name}", status_code=204)
def rename(console: RouteErrors, name: str, new: NewName) -> None:
    """Call somebody otherwise, here and on what is stored."""
    name, wanted = _known(console, name), person_name(new.name)
    console.people.rename(name, wanted)
    console.rename_person(name, wanted)


@router.delete("/people/{name}")
def remove(console: RouteErrors, name: str) -> list[ErasedOut]:
    """Remove somebody everywhere: pictures, unknown faces, stored visits, what waits to be delivered."""
    name = _known(console, name)
    return [ErasedOut(**msgspec.structs.asdict(each)) for each in console.erase_person(name)]


@router.post("/people/{name}/merge")
def merge(console: RouteErrors, name: str, into: NewName) -> dict[str, int]:
    """Give somebody's pictures to another person."""
    name, kept = _known(console, name), _known(console, into.name)
    moved = console.people.merge(name, kept)
    console.rename_person(name, kept)
    return {"moved": moved}


@router.post("/people/{name}/pictures")
def enroll(
    console: RouteErrors,
    name: PersonName,
    files: Annotated[list[UploadFile], File(max_length=MAX_FILES)],
    accept: Annotated[bool, Form()] = False,
) -> EnrollmentResultOut:
    """Enroll pictures from files; each is judged, and those with a fault are left out unless ``accept`` says so."""
    if len(files) > MAX_FILES:
        raise ApiError(413, "too_large", f"more than {MAX_FILES} files at a time", "send fewer")
    contents = []
    for file in files:
        content = file.file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ApiError(
                413, "too_large", f"a picture of more than {MAX_FILE_BYTES // 2**20} MiB", "make it smaller"
            )
        contents.append(((file.filename or "upload")[:200], content))
    return _verdict(console.people.enroll(name, contents, accept=accept))


@router.post("/people/{name}/shots")
def enroll_shot(console: RouteErrors, name: PersonName, wanted: FromShot) -> EnrollmentResultOut:
    """Enroll a face that the gate has sent."""
    shot, jpeg = _shot(console, wanted.shot_id)
    verdict = console.people.enroll_crop(name, f"shot {shot.shot_id}", jpeg, shot.quality, accept=wanted.accept)
    return _verdict(verdict)


@router.post("/people/{name}/not", status_code=204)
def not_this_person(console: RouteErrors, name: str, wanted: FromShot) -> None:
    """A face that must not be taken for this person any more."""
    name = _known(console, name)
    shot, jpeg = _shot(console, wanted.shot_id)
    console.people.reject(name, f"shot {shot.shot_id}", jpeg, shot.quality)


@router.get("/unknowns")
def unknowns(console: RouteErrors, most: Annotated[int, Query(ge=1, le=500)] = 50) -> list[UnknownOut]:
    """Unknown visitors, those with the most visits first."""
    return [
        UnknownOut(
            id=cluster.id,
            cameras=cluster.cameras,
            days=cluster.days,
            visits=[
                UnknownVisitOut(row=each.row, camera=each.camera, seen=each.seen, quality=each.quality)
                for each in cluster.visits
            ],
        )
        for cluster in console.people.unknowns()[:most]
    ]


@router.get("/unknowns/faces/{row}.jpg", response_class=Response, responses=JPEG)
def unknown_face(console: RouteErrors, row: RowId) -> Response:
    """A face of an unknown visitor."""
    return _picture(lambda: console.people.unknown(row))


@router.post("/unknowns/{cluster}/name")
def name_unknown(console: RouteErrors, cluster: RowId, naming: NameUnknownIn) -> dict[str, int]:
    """Say who an unknown visitor is."""
    return {"added": console.people.name_unknown(cluster, naming.name, naming.without)}


@router.delete("/unknowns/{cluster}", status_code=204)
def forget_unknown(console: RouteErrors, cluster: RowId) -> None:
    """Forget an unknown visitor's faces."""
    console.people.forget_unknown(cluster)


def _known(console: ConsoleState, name: str) -> str:
    """The name as the gallery spells it."""
    key = name_key(name)
    found = next((person.name for person in console.people.people() if name_key(person.name) == key), None)
    if found is None:
        raise not_found(f"person {name[:100]}")
    return found


def _shot(console: ConsoleState, shot_id: str) -> tuple[StoredShot, bytes]:
    shot, jpeg = console.store.shot(shot_id), console.store.crop(shot_id)
    if shot is None or jpeg is None:
        raise not_found("such shot any more")
    return shot, jpeg


def _picture(read: Any) -> Response:
    try:
        jpeg = read()
    except GalleryError as error:
        raise not_found("such picture") from error
    return Response(jpeg, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})


def _fault(fault: Fault) -> FaultOut:
    return FaultOut(
        kind=fault.kind.value,
        person=fault.person,
        source=fault.source,
        reason=fault.reason,
        remedy=fault.remedy,
        other=fault.other,
    )


def _verdict(verdict: EnrollmentResult) -> EnrollmentResultOut:
    return EnrollmentResultOut(added=verdict.added, faults=[_fault(fault) for fault in verdict.faults])
