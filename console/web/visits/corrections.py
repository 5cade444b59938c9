"""Routes of corrections: who somebody says a visit was."""

from __future__ import annotations

from time import time

from fastapi import APIRouter
from pydantic import BaseModel

from facegate.console.state import ConsoleState
from facegate.console.web.errors import ERROR_RESPONSES, ConsoleDep, not_found
from facegate.console.web.models import PersonName, RowId, Strict, VisitOut, visit_out
from facegate.console.web.people import FaultOut, fault_out
from facegate.store.records import StoredVisit
from facegate.store.writer import StoreWriter

router = APIRouter(tags=["visits"], responses=ERROR_RESPONSES)
PATH = "/visits/{run_id}/{camera}/{track_id}/correction"


class CorrectionIn(Strict):
    """Who a visit was."""

    name: PersonName | None
    """An enrolled person or somebody new; ``null``: not the person whose name it has."""
    accept: bool = False
    """Enroll the face of the visit even if a check rejects it."""


class CorrectionOut(BaseModel):
    """Result of a correction."""

    visit: VisitOut
    """The visit afterwards; unchanged if somebody new could not be enrolled."""
    enrolled: int
    """Number of pictures added to the person."""
    faults: list[FaultOut]
    """Why the face of the visit was not added, and problems of the gallery after the change."""


@router.post(PATH)
def correct(console: ConsoleDep, run_id: str, camera: str, track_id: RowId, request: CorrectionIn) -> CorrectionOut:
    """Correct the name of a visit.

    Its best face becomes a counterexample of the wrong person and, if it passes the checks, a picture of the right
    one. Workers publish the change as ``changed`` with ``corrected``.
    """
    visit = _visit(console, f"{run_id}/{camera}/{track_id}")
    shot = None if visit.best is None else console.store.shot(visit.best)
    crop = None if shot is None else console.store.crop(shot.shot_id)
    best = None if shot is None or crop is None else (shot, crop)
    result = console.people.correct(visit, request.name, best, accept=request.accept)
    if result.made is not None:
        _store(console, visit.visit, result.made.name, result.made.at)
    return CorrectionOut(
        visit=visit_out(_visit(console, visit.visit)),
        enrolled=result.enrolled.added,
        faults=[fault_out(fault) for fault in result.enrolled.faults],
    )


@router.delete(PATH)
def undo(console: ConsoleDep, run_id: str, camera: str, track_id: RowId) -> VisitOut:
    """Undo the last correction of a visit within a day, with the pictures that it added."""
    visit = _visit(console, f"{run_id}/{camera}/{track_id}").visit
    undone, earlier = console.people.undo_correction(visit, time())
    _store(console, visit, undone.before, None if earlier is None else earlier.at)
    return visit_out(_visit(console, visit))


def _visit(console: ConsoleState, visit: str) -> StoredVisit:
    found = console.store.visit(visit)
    if found is None:
        raise not_found(f"visit {visit[:200]}")
    return found


def _store(console: ConsoleState, visit: str, name: str | None, at: float | None) -> None:
    with StoreWriter(console.folder.store) as store:
        store.correct(visit, name, at)
