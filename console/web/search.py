"""Route ``/search``: visits whose face fits a picture, a visit or a person."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, File, Form, UploadFile
from pydantic import BaseModel

from facegate.console.people.search import SearchOptions
from facegate.console.security.permissions import SeenCameras, is_seen
from facegate.console.web.errors import ERROR_RESPONSES, ApiError, ConsoleDep, not_found
from facegate.console.web.models import PersonName, VisitOut, visit_out
from facegate.console.web.people import MAX_FILE_BYTES
from facegate.recognition.search.face_search import SEARCH_FPIR, SearchResult
from facegate.store.reader import VisitFilter

router = APIRouter(tags=["search"], responses=ERROR_RESPONSES)
Text = Annotated[str | None, Form(max_length=200)]
Time = Annotated[float | None, Form(ge=0, le=1e11, description="Unix time (UTC)")]


class SearchHitOut(BaseModel):
    """A visit that fits."""

    visit: VisitOut
    similarity: float
    fpir: float | None
    """Probability that a search for somebody who was never here finds a hit this similar."""


class SearchOut(BaseModel):
    """Result of a search."""

    searched: int
    """Number of visits searched."""
    fpir: float | None
    """Share of searches for somebody who was never here that find any hit; ``null`` if unknown."""
    min_similarity: float
    """Similarity from which a visit is a hit."""
    complete: bool
    """Whether all hits are listed."""
    hits: list[SearchHitOut]


class SearchStateOut(BaseModel):
    """State of the search."""

    enabled: bool
    """Whether templates are kept."""
    embedded: int
    """Visits embedded again so far, after a change of the recognizer."""
    to_embed: int
    """Visits to embed again in total."""


@router.get("/search")
def search_state(console: ConsoleDep) -> SearchStateOut:
    """State of the search."""
    progress = console.search.progress()
    return SearchStateOut(enabled=console.search.enabled, embedded=progress.done, to_embed=progress.total)


@router.post("/search")
def search(
    console: ConsoleDep,
    seen: SeenCameras,
    picture: Annotated[UploadFile | None, File(description="JPEG, PNG, WebP or BMP")] = None,
    visit: Text = None,
    person: Annotated[PersonName | None, Form()] = None,
    camera: Text = None,
    since: Time = None,
    until: Time = None,
    order: Annotated[Literal["newest", "best"], Form()] = "newest",
    fpir: Annotated[float, Form(ge=1e-6, le=0.5)] = SEARCH_FPIR,
    limit: Annotated[int, Form(ge=1, le=500)] = 100,
) -> SearchOut:
    """List the visits whose face fits a picture, a visit or an enrolled person.

    Give one of the three. At most the share ``fpir`` of the searches for somebody who was never here finds any
    visit: the more visits are searched, the more similar a hit has to be. The picture is not stored.
    """
    if sum(each is not None for each in (picture, visit, person)) != 1:
        raise ApiError("invalid", "give one of picture, visit and person", "send exactly one of these fields")
    options = SearchOptions(VisitFilter(camera=camera, cameras=seen, since=since, until=until), fpir, order, limit)
    if picture is not None:
        content = picture.file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ApiError(
                "too_large", f"the picture exceeds {MAX_FILE_BYTES // 2**20} MiB", "send a smaller picture"
            )
        return _out(console.search.by_picture(content, (picture.filename or "upload")[:200], options))
    if visit is not None:
        known = console.store.visit(visit)
        hidden = known is not None and not is_seen(seen, known.camera)
        found = None if hidden else console.search.by_visit(visit, options)
        if found is None:
            raise not_found(f"visit {visit} with a face")
        return _out(found)
    assert person is not None
    return _out(console.search.by_person(person, options))


def _out(found: SearchResult) -> SearchOut:
    return SearchOut(
        searched=found.searched,
        fpir=found.fpir,
        min_similarity=found.min_similarity,
        complete=found.complete,
        hits=[
            SearchHitOut(visit=visit_out(hit.visit), similarity=hit.similarity, fpir=hit.fpir) for hit in found.hits
        ],
    )
