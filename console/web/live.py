"""Routes ``/live`` and ``/events``: current frames and server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Response
from starlette.responses import StreamingResponse

from facegate.console.event_bus import ConsoleEvent, EventBus
from facegate.console.security.permissions import SeenCameras, is_seen
from facegate.console.state import ConsoleState
from facegate.console.web.errors import ERROR_RESPONSES, ApiError, ConsoleDep
from facegate.pipeline.control.messages import MAX_CAMERAS, LiveCamera, LiveReply

router = APIRouter(tags=["live"], responses=ERROR_RESPONSES)
PING_S = 15.0


@router.get("/live", response_class=Response, responses={200: {"content": {"application/octet-stream": {}}}})
def live(
    console: ConsoleDep,
    seen: SeenCameras,
    have: Annotated[
        str,
        Query(max_length=20_000, description="CAMERA:FRAME,...: last received frame of each camera, -1 for none"),
    ],
    side: Annotated[int, Query(ge=64, le=1920)] = 320,
) -> Response:
    """Current frames of several cameras.

    Four bytes (big endian) give the length of the JSON that follows; then come its JPEG pictures. A frame that the
    client already has comes without a picture. Boxes are fractions of width and height.
    """
    wanted = {camera: frame for camera, frame in _have(have).items() if is_seen(seen, camera)}
    found = console.supervisor.client.live(wanted, side)
    names = _names(console, found)
    shown = [_camera(found.run_id, camera, names) for camera in found.cameras]
    head = msgspec.json.encode({"run_id": found.run_id, "cameras": shown})
    pictures = [camera.jpeg or b"" for camera in found.cameras]
    body = len(head).to_bytes(4, "big") + head + b"".join(pictures)
    return Response(body, media_type="application/octet-stream")


@router.get("/events", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
async def events(console: ConsoleDep, seen: SeenCameras) -> StreamingResponse:
    """Server-sent events ``visit``, ``cameras``, ``health``, ``config``, ``line``; ``resync`` after a loss."""
    return StreamingResponse(
        _stream(console.broker, seen), media_type="text/event-stream", headers={"x-accel-buffering": "no"}
    )


async def _stream(broker: EventBus, seen: tuple[str, ...] | None) -> AsyncIterator[bytes]:
    async with broker.subscribe() as queue:
        yield b"retry: 1000\n\n"
        while True:
            try:
                event = await asyncio.wait_for(queue.get(), PING_S)
            except TimeoutError:
                yield b": keep-alive\n\n"
                continue
            if event is None:
                return
            data = event.data if seen is None else _visible(event, seen)
            if data is not None:
                yield b"event: " + event.kind.encode() + b"\ndata: " + data + b"\n\n"


def _visible(event: ConsoleEvent, seen: tuple[str, ...]) -> bytes | None:
    """Data of an event for a viewer who is restricted to cameras; ``None`` if it is not for the viewer."""
    if event.kind == "visit":
        return event.data if msgspec.json.decode(event.data)["camera"] in seen else None
    if event.kind == "cameras":
        return msgspec.json.encode([each for each in msgspec.json.decode(event.data) if each["name"] in seen])
    if event.kind == "alarms":
        return b"[]"  # the page reads its alarms again
    return event.data if event.kind in ("config", "resync") else None


def _have(text: str) -> dict[str, int]:
    found = {}
    for part in text.split(","):
        camera, _, frame = part.rpartition(":")
        if not camera or not frame.removeprefix("-").isdecimal() or len(frame) > 18:
            raise ApiError("invalid", f"have: {part[:80]!r} is not CAMERA:FRAME", "send door:-1,hall:1234")
        found[camera] = int(frame)
    if len(found) > MAX_CAMERAS:
        raise ApiError("invalid", f"have: more than {MAX_CAMERAS} cameras", "request visible cameras only")
    return found


def _names(console: ConsoleState, found: LiveReply) -> dict[str, str]:
    visits = [
        f"{found.run_id}/{camera.camera}/{face.track_id}" for camera in found.cameras for face in camera.faces
    ]
    return console.store.names_of(visits) if visits else {}


def _camera(run_id: str, camera: LiveCamera, names: dict[str, str]) -> dict[str, object]:
    return {
        "camera": camera.camera,
        "seq": camera.seq,
        "age_s": camera.age_s,
        "width": camera.width,
        "height": camera.height,
        "bytes": len(camera.jpeg or b""),
        "faces": [
            {
                "track_id": face.track_id,
                "box": face.box,
                "quality": face.quality,
                "advice": face.advice,
                "name": names.get(f"{run_id}/{camera.camera}/{face.track_id}"),
            }
            for face in camera.faces
        ],
    }
