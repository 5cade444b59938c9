"""Routes ``/people`` and ``/unknowns``: enrolled people and unknown visitors."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, File, Form, Query, Response, UploadFile
from pydantic import BaseModel, Field

from facegate.console.people.service import EnrollmentResult
from facegate.console.processes.gate_client import GateUnreachableError
from facegate.console.state import ConsoleState
from facegate.console.web.errors import ERROR_RESPONSES, ApiError, ConsoleDep, not_found
from facegate.console.web.models import PersonName, RowId, Strict
from facegate.console.web.visits.lists import JPEG
from facegate.errors import GalleryError
from facegate.pipeline.config.values import Name
from facegate.recognition.enrollment.checks import Fault
from facegate.recognition.enrollment.names import person_name, same_name
from facegate.recognition.enrollment.records import Picture, Pose
from facegate.store.records import StoredShot

router = APIRouter(tags=["people"], responses=ERROR_RESPONSES)
POSES: tuple[Pose, ...] = ("front", "left", "right")
MAX_FILES = 20
WALK_IN_SIDE = 1920
"""Longer side of the frames from which somebody is enrolled, pixels."""
MAX_FILE_BYTES = 8 * 2**20


class PersonOut(BaseModel):
    """An enrolled person."""

    name: str
    pictures: int
    negatives: int
    added: float
    portrait: int | None
    """Row of the best picture."""
    quality: int | None
    """Quality of the best picture."""
    missing: list[Literal["front", "left", "right"]]
    """Poses that no picture shows; a picture that was enrolled before poses were measured counts for none."""
    visits: int
    """Number of stored visits."""
    last_seen: float | None
    """Unix time of the beginning of the last stored visit."""


class PictureOut(BaseModel):
    """A picture of the gallery."""

    row: int
    kind: str
    """``enrolled``, or ``negative``: a counterexample that must not be matched to this person."""
    source: str
    quality: int
    accepted: bool
    pose: Literal["front", "left", "right"] | None
    """Where the face looks, as seen in the picture."""


class FaultOut(BaseModel):
    """A problem of a picture, or of two similar people."""

    kind: str
    person: str
    source: str | None
    reason: str
    remedy: str
    other: str | None


class EnrollmentResultOut(BaseModel):
    """Result of an enrollment."""

    added: int
    faults: list[FaultOut]
    """Reasons of rejected pictures, and problems of the gallery after the change."""


class FromShot(Strict):
    """A sent face."""

    shot_id: Annotated[str, Field(max_length=64)]
    accept: bool = False
    """Enroll it even if a check rejects it."""


class WalkInRequest(Strict):
    """A camera, and who is in front of it."""

    camera: Name
    poses: Annotated[list[Literal["front", "left", "right"]], Field(min_length=1, max_length=3)]
    """Poses that are still wanted, as seen in the picture."""


class WalkInOut(BaseModel):
    """What the current frame gave."""

    state: Literal["nobody", "several", "poor", "pose", "refused", "added"]
    """Nobody or several people are there, the face is poor or shows no wanted pose, or a check refused it."""
    pose: Literal["front", "left", "right"] | None
    quality: int
    advice: str
    """How to improve the quality; empty if unknown or unnecessary."""
    faults: list[FaultOut]


class NewName(Strict):
    """Name of a person."""

    name: PersonName


class UnknownVisitOut(BaseModel):
    """A face of an unknown visitor."""

    row: int
    camera: str
    seen: float
    quality: int


class UnknownOut(BaseModel):
    """An unknown visitor."""

    id: int
    visits: list[UnknownVisitOut]
    cameras: list[str]
    days: int
    number: int | None
    """Number of the unknown visitor, as in events; ``null`` for faces of earlier versions."""
    first_seen: float
    visit_count: int
    """Number of visits, with those whose faces are no longer stored."""


class NameUnknownIn(Strict):
    """Name of an unknown visitor."""

    name: PersonName
    without: Annotated[tuple[RowId, ...], Field(max_length=2000)] = ()
    """Rows of faces to leave out."""


class SplitUnknownIn(Strict):
    """Faces to take out of an unknown visitor."""

    rows: Annotated[tuple[RowId, ...], Field(min_length=1, max_length=2000)]


class MergeUnknownIn(Strict):
    """An unknown visitor to merge with."""

    into: RowId


class ErasedOut(BaseModel):
    """Data of a person that was erased in one place."""

    place: str
    found: int
    what: str


@router.get("/people")
def people(console: ConsoleDep) -> list[PersonOut]:
    """List enrolled people."""
    visits = console.store.visits_by_name()
    pictures: dict[str, list[Picture]] = {}
    for each in console.people.all_pictures():
        pictures.setdefault(each.person, []).append(each)
    found = []
    for person in console.people.people():
        own = pictures.get(person.name, [])
        best = max(own, key=lambda each: each.quality, default=None)
        count, last = visits.get(person.name, (0, None))
        found.append(
            PersonOut(
                **msgspec.structs.asdict(person),
                portrait=None if best is None else best.row,
                quality=None if best is None else best.quality,
                missing=[pose for pose in POSES if pose not in {each.pose for each in own}],
                visits=count,
                last_seen=last,
            )
        )
    return found


@router.get("/gallery/faults")
def faults(console: ConsoleDep) -> list[FaultOut]:
    """List problems of the gallery, as ``facegate gallery check`` does."""
    return [fault_out(fault) for fault in console.people.faults()]


@router.get("/people/pictures/{row}.jpg", response_class=Response, responses=JPEG)
def picture(console: ConsoleDep, row: RowId) -> Response:
    """A picture of the gallery as JPEG."""
    return _picture(lambda: console.people.picture(row))


@router.delete("/people/pictures/{row}", status_code=204)
def remove_picture(console: ConsoleDep, row: RowId) -> None:
    """Remove one picture."""
    try:
        console.people.remove_picture(row)
    except GalleryError as error:
        raise not_found(f"picture {row}") from error


@router.get("/people/{name}")
def pictures(console: ConsoleDep, name: str) -> list[PictureOut]:
    """List the pictures of a person."""
    name = _known(console, name)
    fields = PictureOut.model_fields
    return [PictureOut(**{key: getattr(each, key) for key in fields}) for each in console.people.pictures(name)]


@router.patch("/people/{name}", status_code=204)
def rename(console: ConsoleDep, name: str, new: NewName) -> None:
    """Rename a person in the gallery and in stored visits."""
    name, renamed = _known(console, name), person_name(new.name)
    console.people.rename(name, renamed)
    console.rename_person(name, renamed)


@router.delete("/people/{name}")
def remove(console: ConsoleDep, name: str) -> list[ErasedOut]:
    """Erase a person: pictures, unknown faces, stored visits, undelivered events, backups."""
    name = _known(console, name)
    return [ErasedOut(**msgspec.structs.asdict(each)) for each in console.erase_person(name)]


@router.post("/people/{name}/merge")
def merge(console: ConsoleDep, name: str, into: NewName) -> dict[str, int]:
    """Merge a person into another."""
    name, kept = _known(console, name), _known(console, into.name)
    moved = console.people.merge(name, kept)
    console.rename_person(name, kept)
    return {"moved": moved}


@router.post("/people/{name}/pictures")
def enroll(
    console: ConsoleDep,
    name: PersonName,
    files: Annotated[list[UploadFile], File(max_length=MAX_FILES)],
    accept: Annotated[bool, Form()] = False,
) -> EnrollmentResultOut:
    """Enroll uploaded pictures; pictures with a problem are rejected unless ``accept`` is set."""
    if len(files) > MAX_FILES:
        raise ApiError("too_large", f"more than {MAX_FILES} files", "send fewer at a time")
    contents = []
    for file in files:
        content = file.file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ApiError(
                "too_large", f"a picture exceeds {MAX_FILE_BYTES // 2**20} MiB", "send a smaller picture"
            )
        contents.append(((file.filename or "upload")[:200], content))
    return _result(console.people.enroll(name, contents, accept=accept))


@router.post("/people/{name}/shots")
def enroll_shot(console: ConsoleDep, name: PersonName, request: FromShot) -> EnrollmentResultOut:
    """Enroll the face of a shot."""
    shot, jpeg = _shot(console, request.shot_id)
    result = console.people.enroll_crop(name, shot, jpeg, accept=request.accept)
    return _result(result)


@router.post("/people/{name}/camera")
def walk_in(console: ConsoleDep, name: PersonName, request: WalkInRequest) -> WalkInOut:
    """Enroll the person in front of a camera from its current frame, if the face shows a wanted pose clearly.

    Call it again, a moment later, until no pose is wanted.
    """
    live = console.supervisor.client.live({request.camera: -1}, WALK_IN_SIDE, 92)
    if not live.cameras or live.cameras[0].jpeg is None:
        raise GateUnreachableError(f"camera {request.camera} has no frame yet; retry in a moment")
    found = console.people.walk_in(name, live.cameras[0].jpeg, request.camera, request.poses)
    faults = [fault_out(fault) for fault in found.faults]
    return WalkInOut(state=found.state, pose=found.pose, quality=found.quality, advice=found.advice, faults=faults)


@router.post("/people/{name}/negatives", status_code=204)
def add_negative(console: ConsoleDep, name: str, request: FromShot) -> None:
    """Add the face of a shot as a counterexample: it is no longer matched to this person."""
    name = _known(console, name)
    shot, jpeg = _shot(console, request.shot_id)
    console.people.reject(name, f"shot {shot.shot_id}", jpeg, shot.quality)


@router.get("/unknowns")
def unknowns(console: ConsoleDep, limit: Annotated[int, Query(ge=1, le=500)] = 50) -> list[UnknownOut]:
    """List unknown visitors, most visits first."""
    return [
        UnknownOut(
            id=cluster.id,
            cameras=cluster.cameras,
            days=cluster.days,
            number=cluster.number,
            first_seen=cluster.first_seen,
            visit_count=cluster.visit_count,
            visits=[
                UnknownVisitOut(row=each.row, camera=each.camera, seen=each.seen, quality=each.quality)
                for each in cluster.visits
            ],
        )
        for cluster in console.people.unknowns()[:limit]
    ]


@router.get("/unknowns/faces/{row}.jpg", response_class=Response, responses=JPEG)
def unknown_face(console: ConsoleDep, row: RowId) -> Response:
    """A face of an unknown visitor as JPEG."""
    return _picture(lambda: console.people.unknown(row))


@router.post("/unknowns/{cluster}/name")
def name_unknown(console: ConsoleDep, cluster: RowId, naming: NameUnknownIn) -> dict[str, int]:
    """Enroll an unknown visitor under a name, which all its visits get."""
    added = console.people.name_unknown(cluster, naming.name, naming.without, console.folder.data)
    return {"added": added}


@router.post("/unknowns/{cluster}/split")
def split_unknown(console: ConsoleDep, cluster: RowId, change: SplitUnknownIn) -> dict[str, int]:
    """Take faces out of an unknown visitor; they become a new one. Later visits are told apart by them."""
    return {"number": console.people.split_unknown(cluster, change.rows, console.folder.data)}


@router.post("/unknowns/{cluster}/merge")
def merge_unknowns(console: ConsoleDep, cluster: RowId, change: MergeUnknownIn) -> dict[str, int]:
    """Make two unknown visitors one."""
    return {"number": console.people.merge_unknowns(cluster, change.into, console.folder.data)}


@router.delete("/unknowns/{cluster}", status_code=204)
def forget_unknown(console: ConsoleDep, cluster: RowId) -> None:
    """Delete the faces of an unknown visitor."""
    console.people.forget_unknown(cluster)


def _known(console: ConsoleState, name: str) -> str:
    """Name as spelled in the gallery; raises a 404 for an unknown person."""
    found = same_name(name, [person.name for person in console.people.people()])
    if found is None:
        raise not_found(f"person {name[:100]}")
    return found


def _shot(console: ConsoleState, shot_id: str) -> tuple[StoredShot, bytes]:
    shot, jpeg = console.store.shot(shot_id), console.store.crop(shot_id)
    if shot is None or jpeg is None:
        raise not_found(f"shot {shot_id}")
    return shot, jpeg


def _picture(read: Any) -> Response:
    try:
        jpeg = read()
    except GalleryError as error:
        raise not_found("picture with this number") from error
    return Response(jpeg, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})


def fault_out(fault: Fault) -> FaultOut:
    """Convert a fault."""
    return FaultOut(
        kind=fault.kind.value,
        person=fault.person,
        source=fault.source,
        reason=fault.reason,
        remedy=fault.remedy,
        other=fault.other,
    )


def _result(result: EnrollmentResult) -> EnrollmentResultOut:
    return EnrollmentResultOut(added=result.added, faults=[fault_out(fault) for fault in result.faults])
