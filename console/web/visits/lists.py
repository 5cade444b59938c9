"""Routes ``/shots`` and ``/visits``: sent shots, visits, and the outcome of every face."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Response

from facegate.console.security.permissions import SeenCameras, is_seen
from facegate.console.state import ConsoleState
from facegate.console.web.errors import ERROR_RESPONSES, ConsoleDep, not_found
from facegate.console.web.models import (
    ClipOut,
    FaceOutcomeOut,
    RowId,
    ShotOut,
    ShotsOut,
    TimelineOut,
    VisitsOut,
    visit_out,
)
from facegate.errors import ConfigError
from facegate.pipeline.images import encode_jpeg
from facegate.pipeline.observability.heatmap import heatmap
from facegate.pipeline.recording.record import Recording, RecordingPosition
from facegate.pipeline.records import ScoredFace
from facegate.recognition.enrollment.names import closest_name
from facegate.sinks import wire
from facegate.store.reader import VisitFilter
from facegate.store.records import StoredShot, TrackRecord

router = APIRouter(tags=["visits"], responses=ERROR_RESPONSES)
Text = Annotated[str | None, Query(max_length=200)]
Time = Annotated[float | None, Query(ge=0, le=1e11, description="Unix time (UTC)")]
Percent = Annotated[int | None, Query(ge=0, le=100)]
Before = Annotated[RowId | None, Query(description="`next` of the previous page")]
Limit = Annotated[int, Query(ge=1, le=200)]
Id = Annotated[str, Query(max_length=100)]
JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}}
LATE_STORE_S = 3.0
"""Frames are recorded in order of decision, which may differ from their timestamps by less than this."""


def _filter(
    seen: SeenCameras,
    camera: Text = None,
    name: Text = None,
    known: bool | None = None,
    since: Time = None,
    until: Time = None,
    min_quality: Percent = None,
) -> VisitFilter:
    return VisitFilter(
        camera=camera, name=name, known=known, since=since, until=until, min_quality=min_quality, cameras=seen
    )


Filter = Annotated[VisitFilter, Depends(_filter)]
"""What the lists of shots and visits and their exports are filtered by, as parameters of a route."""


def _visit_filter(console: ConsoleDep, query: Filter, min_unknown_quality: Percent = None) -> VisitFilter | None:
    meant = None if query.name is None else meant_name(console, query.cameras, query.name)
    if query.name is not None and meant is None:
        return None
    return msgspec.structs.replace(query, name=meant, min_unknown_quality=min_unknown_quality)


FilterOfVisits = Annotated[VisitFilter | None, Depends(_visit_filter)]
"""The same for visits, with the person that the name was taken for; ``None`` if nobody has a similar one."""


@router.get("/shots")
def shots(
    console: ConsoleDep,
    query: Filter,
    max_quality: Percent = None,
    outcome: Annotated[str | None, Query(pattern="^(forwarded|shadow)$")] = None,
    before: Before = None,
    limit: Limit = 50,
) -> ShotsOut:
    """Shots, newest first."""
    shadow = None if outcome is None else outcome == "shadow"
    page = console.store.shots(
        msgspec.structs.replace(query, max_quality=max_quality, shadow=shadow), before, limit
    )
    return ShotsOut(shots=[_shot(shot) for shot in page.items], next=page.next)


@router.get("/shots/{shot_id}")
def shot(console: ConsoleDep, seen: SeenCameras, shot_id: str) -> ShotOut:
    """One shot."""
    found = console.store.shot(shot_id)
    if found is None or not is_seen(seen, found.camera):
        raise not_found(f"shot {shot_id[:100]}")
    return _shot(found)


@router.get("/shots/{shot_id}/crop.jpg", response_class=Response, responses=JPEG)
def crop(console: ConsoleDep, seen: SeenCameras, shot_id: str) -> Response:
    """Aligned crop of a shot, a 112x112 JPEG."""
    if seen is not None:
        shot(console, seen, shot_id)
    jpeg = console.store.crop(shot_id)
    if jpeg is None:
        raise not_found(f"shot {shot_id[:100]}")
    return Response(jpeg, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})


@router.get("/shots/{shot_id}/scene.jpg", response_class=Response, responses=JPEG)
def scene(console: ConsoleDep, seen: SeenCameras, shot_id: str) -> Response:
    """Whole picture of the best shot of a visit, as large as ``store.scene_px``; boxes scale with it."""
    if seen is not None:
        shot(console, seen, shot_id)
    jpeg = console.store.scene(shot_id)
    if jpeg is None:
        raise not_found(f"whole picture of shot {shot_id[:100]}")
    return Response(jpeg, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})


@router.get("/visits")
def visits(console: ConsoleDep, query: FilterOfVisits, before: Before = None, limit: Limit = 50) -> VisitsOut:
    """Visits, those that began last first. ``since`` and ``until`` are about their beginning.

    The name need not be spelled exactly; ``name`` of the response says whose visits these are.
    """
    if query is None:
        return VisitsOut(visits=[], next=None, name=None)
    page = console.store.visits(query, before, limit)
    return VisitsOut(visits=[visit_out(visit) for visit in page.items], next=page.next, name=query.name)


@router.get("/names")
def names(console: ConsoleDep, seen: SeenCameras) -> list[str]:
    """Names to filter by: of enrolled people, and of stored visits."""
    enrolled = [] if seen is not None else [person.name for person in console.people.people()]
    return sorted({*console.store.names(seen), *enrolled})


def meant_name(console: ConsoleState, seen: Sequence[str] | None, name: str) -> str | None:
    """The name of a person that somebody means, as it is spelled in the store."""
    if seen is not None:
        return closest_name(name, console.store.names(seen))
    if console.store.has_name(name):
        return name
    stored = console.store.names()
    return closest_name(name, [*stored, *(person.name for person in console.people.people())])


@router.get("/visits/{run_id}/{camera}/{track_id}")
def timeline(console: ConsoleDep, run_id: str, camera: str, track_id: RowId) -> TimelineOut:
    """All decisions about a track, with or without sent shots."""
    visit_id = f"{run_id}/{camera}/{track_id}"
    visit, track = console.store.visit(visit_id), console.store.track(visit_id)
    if visit is None and track is None:
        raise not_found(f"visit {visit_id[:200]}")
    config = console.supervisor.running().config
    known = config is not None and any(each.name == camera for each in config.cameras)
    kept = track is not None and _has_segment(console, track)
    clip = console.store.clip(visit_id, video=False)
    decisions = () if track is None else track.events
    return TimelineOut(
        visit=None if visit is None else visit_out(visit),
        camera=camera,
        track_id=track_id,
        first=track.first if track is not None else visit.first if visit is not None else 0.0,
        last=track.last if track is not None else visit.last if visit is not None else 0.0,
        faces=0 if track is None else track.faces,
        outcomes={} if track is None else track.outcomes,
        threshold=config.gate_for(camera).min_quality if config is not None and known else None,
        events=[
            FaceOutcomeOut(
                face_id=event.face_id,
                pts_s=event.pts_s,
                quality=event.quality,
                outcome=event.outcome.value,
                reason=event.reason,
                shot_id=event.shot_id,
                picture=kept and event.quality is not None,
            )
            for event in decisions
        ],
        shots=[_shot(shot) for shot in console.store.shots_of(visit_id)],
        scene=console.store.scene_of(visit_id),
        clip=None if clip is None else ClipOut(**{key: getattr(clip, key) for key in ClipOut.model_fields}),
    )


@router.get("/visits/{run_id}/{camera}/{track_id}/face.jpg", response_class=Response, responses=JPEG)
def face(
    console: ConsoleDep, run_id: str, camera: str, track_id: RowId, face_id: Id, heat: bool = False
) -> Response:
    """Crop of a scored face from the recording; with ``heat``, next to its heat map of patch qualities."""
    track = console.store.track(f"{run_id}/{camera}/{track_id}")
    found = None if track is None else _recorded(console, track, face_id)
    if found is None:
        raise not_found(f"recorded picture of face {face_id}")
    picture = found.face.crop
    if heat:
        picture = heatmap(found.face.crop, found.patches)
    jpeg = encode_jpeg(picture, 88)
    return Response(jpeg, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})


def _has_segment(console: ConsoleState, track: TrackRecord) -> bool:
    return track.segment is not None and (console.folder.recordings / track.run_id / track.segment).is_file()


def _recorded(console: ConsoleState, track: TrackRecord, face_id: str) -> ScoredFace | None:
    target = next((event for event in track.events if event.face_id == face_id), None)
    if target is None or target.quality is None or track.segment is None or not _has_segment(console, track):
        return None
    try:
        recording = Recording(console.folder.recordings / track.run_id)
        for frame in recording.frames_from(RecordingPosition(track.segment, track.offset)):
            if frame.frame.camera != track.camera:
                continue
            for each in frame.faces:
                if each.face.face_id == face_id:
                    return each
            if frame.frame.pts_s > target.pts_s + LATE_STORE_S:
                return None
    except ConfigError:
        return None  # its segments were removed in the meantime
    return None


def _shot(shot: StoredShot) -> ShotOut:
    header = wire.decode_header(shot.header)
    fields = msgspec.to_builtins(msgspec.structs.replace(header, embedding=None))
    own = {name: fields[name] for name in ShotOut.model_fields if name in fields}
    outcome = "shadow" if shot.reason == "shadow" else "forwarded"
    return ShotOut.model_validate(own | {"visit": shot.visit, "name": shot.name, "outcome": outcome})
