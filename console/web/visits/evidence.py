"""Routes of a visit's video, and of everything about a visit as one file that can be verified."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from datetime import UTC, datetime
from time import time
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Header, Response

from facegate.console.state import ConsoleState
from facegate.console.web.errors import ERROR_RESPONSES, ConsoleDep, not_found
from facegate.console.web.models import RowId
from facegate.sinks import wire
from facegate.sinks.wire import SOFTWARE
from facegate.store.records import StoredShot, StoredVisit, VisitClip

router = APIRouter(tags=["visits"], responses=ERROR_RESPONSES)
FORMAT = 1
PATH = "/visits/{run_id}/{camera}/{track_id}"
VIDEO: dict[int | str, dict[str, Any]] = {
    200: {"content": {"video/mp4": {}}},
    206: {"content": {"video/mp4": {}}, "description": "Part of the video."},
}
ZIP: dict[int | str, dict[str, Any]] = {200: {"content": {"application/zip": {}}}}
_RANGE = re.compile(r"bytes=(\d{1,12})-(\d{0,12})")


@router.get(PATH + "/clip.mp4", response_class=Response, responses=VIDEO)
def clip(
    console: ConsoleDep,
    run_id: str,
    camera: str,
    track_id: RowId,
    range_: Annotated[str | None, Header(alias="Range", max_length=100)] = None,
) -> Response:
    """Seconds of video around a visit, if ``store.clip_s`` is set: the camera's packets in a fragmented MP4."""
    visit = f"{run_id}/{camera}/{track_id}"
    found = console.store.clip(visit)
    if found is None:
        raise not_found(f"video of visit {visit[:200]}")
    video, headers = found.mp4, {"accept-ranges": "bytes", "cache-control": "private, max-age=3600"}
    wanted = _RANGE.fullmatch(range_ or "")
    if wanted is None or int(wanted[1]) >= len(video):
        return Response(video, media_type="video/mp4", headers=headers)
    first, last = int(wanted[1]), min(int(wanted[2] or len(video) - 1), len(video) - 1)
    headers["content-range"] = f"bytes {first}-{last}/{len(video)}"
    return Response(video[first : last + 1], 206, media_type="video/mp4", headers=headers)


@router.get(PATH + "/evidence.zip", response_class=Response, responses=ZIP)
def evidence(console: ConsoleDep, run_id: str, camera: str, track_id: RowId) -> Response:
    """Everything about a visit as a ZIP: pictures, video, and ``evidence.json`` with decision, times and hashes.

    The file's name holds the SHA-256 of ``evidence.json``, which holds those of the other files:
    ``examples/verify_evidence.py`` finds every changed byte.
    """
    visit = console.store.visit(f"{run_id}/{camera}/{track_id}")
    if visit is None:
        raise not_found(f"visit {run_id[:64]}/{camera[:64]}/{track_id}")
    shots = console.store.shots_of(visit.visit)
    files = _files(console, visit, shots)
    document = msgspec.json.format(msgspec.json.encode(_document(console, visit, shots, files)), indent=2)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as packed:  # pictures and video do not get smaller
        for name, content in {"evidence.json": document, **files}.items():
            packed.writestr(name, content)
    name = f"evidence-{hashlib.sha256(document).hexdigest()}.zip"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(out.getvalue(), media_type="application/zip", headers=headers)


def _files(console: ConsoleState, visit: StoredVisit, shots: list[StoredShot]) -> dict[str, bytes]:
    store, files = console.store, dict[str, bytes]()
    for shot in shots:
        if (crop := store.crop(shot.shot_id)) is not None:
            files[f"crop-{shot.shot_id}.jpg"] = crop
        if (scene := store.scene(shot.shot_id)) is not None:
            files[f"scene-{shot.shot_id}.jpg"] = scene
    if (video := store.clip(visit.visit)) is not None:
        files["clip.mp4"] = video.mp4
    return files


def _document(
    console: ConsoleState, visit: StoredVisit, shots: list[StoredShot], files: dict[str, bytes]
) -> dict[str, Any]:
    track, video = console.store.track(visit.visit), console.store.clip(visit.visit, video=False)
    headers = [msgspec.structs.replace(wire.decode_header(shot.header), embedding=None) for shot in shots]
    return {
        "format": FORMAT,
        "made_at": _utc(time()),
        "software": f"facegate {SOFTWARE}",
        "visit": visit.visit,
        "camera": visit.camera,
        "began": _utc(visit.first),
        "ended": _utc(visit.last),
        "decision": {
            **{key: getattr(visit, key) for key in ("name", "similarity", "margin", "fpir", "answered")},
            "corrected": None if visit.corrected is None else _utc(visit.corrected),
        },
        "faces": None if track is None else {"seen": track.faces, "outcomes": track.outcomes},
        "clip": None if video is None else {"began": _utc(video.began)} | _about(video),
        "shots": headers,
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }


def _about(video: VisitClip) -> dict[str, Any]:
    return {"offset_s": video.offset_s, "seconds": video.seconds, "codec": video.codec}


def _utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
