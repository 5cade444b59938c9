"""Routes ``/cameras``: cameras, their state, and changes of the configuration."""

from __future__ import annotations

import base64
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Header, Query, Response
from pydantic import SecretStr
from ruamel.yaml.comments import CommentedMap

from facegate.console.processes.config_file import to_plain
from facegate.console.processes.gate_client import GateUnreachableError
from facegate.console.security.permissions import SeenCameras, is_seen
from facegate.console.state import ConsoleState
from facegate.console.web.errors import ERROR_RESPONSES, ApiError, ConsoleDep, not_found
from facegate.console.web.models import (
    CameraCreate,
    CameraOut,
    CameraSettings,
    CamerasOut,
    CameraUpdate,
    ConfigVersionOut,
    DiscoverRequest,
    FoundCameraOut,
    ProbeOut,
    ProbeRequest,
    TracksOut,
    TrackSummaryOut,
)
from facegate.errors import ConfigError, os_errors
from facegate.paths import replacing
from facegate.pipeline.addresses import redact
from facegate.pipeline.cameras.probe import probe
from facegate.pipeline.config import CameraConfig, build_config
from facegate.pipeline.config.values import Name
from facegate.pipeline.discovery.finder import discover
from facegate.pipeline.discovery.ws_discovery import MULTICAST
from facegate.pipeline.images import encode_jpeg, shrink_to
from facegate.pipeline.records import Image

router = APIRouter(tags=["cameras"], responses=ERROR_RESPONSES)
SCHEMES = ("rtsp://", "rtsps://", "http://", "https://")
PROBE_S, DISCOVER_S = 3.0, 5.0
PROBE_SIDE = 480
"""Longer side of the picture of a probed stream, pixels."""
MAX_TRACKS = 500
OWN = ("state", "problem")
SECRET = ("password", "password_file", "source", "main_stream", "name", "enabled", "user")
IfMatch = Annotated[
    str | None, Header(description="Version of the configuration to change; another version gives 409.")
]


@router.get("/cameras")
def cameras(console: ConsoleDep, seen: SeenCameras) -> CamerasOut:
    """Cameras of the configuration, with state and counters."""
    found = camera_list(console)
    return CamerasOut(config=found.config, cameras=[each for each in found.cameras if is_seen(seen, each.name)])


def camera_list(console: ConsoleState) -> CamerasOut:
    """See :func:`cameras`."""
    report = console.report()
    known = {each["camera"]: each for each in (report or {}).get("cameras", [])}
    health = console.supervisor.health()
    found = []
    for entry in console.supervisor.running().content.get("cameras") or []:
        name, enabled = str(entry["name"]), bool(entry.get("enabled", True))
        own = known.get(name)
        counts = {
            key: value for key, value in (own or {}).items() if key in CameraOut.model_fields and key not in OWN
        }
        state = "ended" if health.gate_finished else "waiting"
        found.append(
            CameraOut(
                name=name,
                display_name=str(entry.get("display_name") or name),
                enabled=enabled,
                state="paused" if not enabled else state if own is None else own["state"],
                problem=None if own is None or not enabled else own["problem"],
                source=redact(str(entry["source"])),
                main_stream=redact(str(entry["main_stream"])) if entry.get("main_stream") else None,
                user=entry.get("user"),
                has_password="password" in entry or "password_file" in entry or "@" in str(entry["source"]),
                settings=to_plain({key: value for key, value in entry.items() if key not in SECRET}),
                **counts,
            )
        )
    return CamerasOut(config=console.supervisor.running().tag, cameras=found)


@router.post("/cameras", status_code=201)
def add_camera(console: ConsoleDep, camera: CameraCreate, if_match: IfMatch = None) -> ConfigVersionOut:
    """Add a camera and start it."""
    _check_source(camera.source, camera.main_stream)
    given = _given(camera)

    def edit(data: CommentedMap) -> None:
        if any(str(entry["name"]).casefold() == camera.name.casefold() for entry in data["cameras"]):
            raise ApiError(
                "name_taken", f"camera {camera.name} already exists", "use another name, or change that camera"
            )
        data["cameras"].append(CommentedMap(given | kept))

    with _kept_password(console, camera.name, camera.password) as kept:
        return ConfigVersionOut(config=console.supervisor.change(edit, if_match).tag)


@router.patch("/cameras/{name}")
def change_camera(
    console: ConsoleDep, name: Name, change: CameraUpdate, if_match: IfMatch = None
) -> ConfigVersionOut:
    """Change a camera. Its tracks end, its counters continue, other cameras are not interrupted."""
    _check_source(change.source, change.main_stream)
    given = _given(change)

    def edit(data: CommentedMap) -> None:
        entry = _entry(data, name)
        for key in change.model_fields_set:
            if key == "password":
                entry.pop("password", None)
                entry.pop("password_file", None)
                entry.update(kept)
            elif key in given:
                entry[key] = given[key]
            else:
                entry.pop(key, None)

    with _kept_password(console, name, change.password) as kept:
        return ConfigVersionOut(config=console.supervisor.change(edit, if_match).tag)


@router.delete("/cameras/{name}")
def remove_camera(console: ConsoleDep, name: Name, if_match: IfMatch = None) -> ConfigVersionOut:
    """Remove a camera. Its visits and recordings are kept until they expire."""

    def edit(data: CommentedMap) -> None:
        data["cameras"].remove(_entry(data, name))

    changed = console.supervisor.change(edit, if_match)
    shutil.rmtree(console.folder.secrets / name, ignore_errors=True)
    return ConfigVersionOut(config=changed.tag)


@router.post("/cameras/probe")
def probe_camera(request: ProbeRequest) -> ProbeOut:
    """Measure a stream for three seconds, as ``facegate probe`` does, and return a picture of it."""
    _check_source(request.source, None)
    password = None if request.password is None else request.password.get_secret_value()
    camera = _built(
        {"name": "probe", "source": request.source, "transport": request.transport}
        | ({} if request.user is None else {"user": request.user, "password": password or ""})
    )
    pictures: list[Image] = []
    found = probe(camera, PROBE_S, Event(), on_picture=pictures.append)
    jpegs = [encode_jpeg(shrink_to(image, PROBE_SIDE)[0], 80) for image in pictures]
    picture = base64.b64encode(jpegs[-1]).decode() if jpegs else None
    return ProbeOut.model_validate(msgspec.structs.asdict(found) | {"picture": picture})


@router.post("/cameras/discover")
def discover_cameras(request: DiscoverRequest) -> list[FoundCameraOut]:
    """Look for cameras for five seconds, as ``facegate discover`` does; nothing is changed."""
    if (request.user is None) != (request.password is None):
        raise ConfigError("a login needs both: give user and password")
    password = None if request.password is None else request.password.get_secret_value()
    login = None if request.user is None or password is None else (request.user, password)
    found = discover(request.hosts, login, DISCOVER_S, multicast=[MULTICAST] if request.multicast else [])
    return [FoundCameraOut.model_validate(msgspec.to_builtins(each)) for each in found]


@router.get("/cameras/{name}/snapshot.jpg", response_class=Response)
def snapshot(console: ConsoleDep, name: Name, side: Annotated[int, Query(ge=64, le=3840)] = 1280) -> Response:
    """Current frame of a camera as JPEG, masked parts black."""
    live = console.supervisor.client.live({name: -1}, side, 85)
    if not live.cameras or live.cameras[0].jpeg is None:
        raise GateUnreachableError(f"camera {name} has no frame yet; retry in a moment")
    return Response(live.cameras[0].jpeg, media_type="image/jpeg")


@router.get("/cameras/{name}/tracks")
def tracks(
    console: ConsoleDep,
    name: Name,
    since: Annotated[float, Query(ge=0, le=1e11)] = 0.0,
    limit: Annotated[int, Query(ge=1, le=MAX_TRACKS)] = 50,
) -> TracksOut:
    """Newest tracks of a camera, including tracks without a sent shot."""
    return TracksOut(
        tracks=[
            TrackSummaryOut(
                run_id=track.run_id,
                track_id=track.track_id,
                first=track.first,
                last=track.last,
                faces=track.faces,
                quality=track.quality,
                outcomes=track.outcomes,
                sent=sum(event.shot_id is not None for event in track.events),
            )
            for track in console.store.tracks(name, since, limit)
        ]
    )


def _entry(data: CommentedMap, name: str) -> CommentedMap:
    found: CommentedMap | None = next((each for each in data["cameras"] if str(each["name"]) == name), None)
    if found is None:
        raise not_found(f"camera {name}")
    return found


def _given(camera: CameraSettings) -> dict[str, Any]:
    """Settings as they are written to the file."""
    given = camera.model_dump(mode="json", exclude_unset=True, exclude_none=True, exclude={"password"})
    if "${" in str(given):
        raise ConfigError("${NAME} is only allowed in the configuration file; give the value")
    if _names_state(given.get("gate")):
        raise ConfigError("gate.state is a folder on this host; set it in the configuration file")
    return given


def _names_state(value: Any) -> bool:
    return isinstance(value, dict) and ("state" in value or any(_names_state(each) for each in value.values()))


def _check_source(*urls: str | None) -> None:
    """Allow stream URLs only; files and devices of this host must be set in the configuration file."""
    for url in urls:
        if url is not None and not url.startswith(SCHEMES):
            raise ConfigError(
                f"{redact(url)[:80]} is not a camera URL; give rtsp://, rtsps://, http:// or https://"
            )


def _built(camera: dict[str, Any]) -> CameraConfig:
    if "${" in str(camera):
        raise ConfigError("${NAME} is only allowed in the configuration file; give the value")
    return build_config({"cameras": [camera]}, "camera").cameras[0]


@contextmanager
def _kept_password(console: ConsoleState, name: str, password: SecretStr | None) -> Iterator[dict[str, str]]:
    """Write a password to a file; yields the setting that names it.

    A new file per password, so that a gate notices the change; it is removed if the block fails.
    """
    if password is None:
        yield {}
        return
    path = console.folder.secrets / name / secrets.token_hex(8)
    with os_errors(ConfigError, f"cannot write the password to {path}"):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(path, 0o600) as part:
            part.write_text(password.get_secret_value(), encoding="utf-8")
    try:
        yield {"password_file": str(path.absolute())}
    except BaseException:
        path.unlink()
        raise


def states(console: ConsoleState) -> list[dict[str, Any]]:
    """Short state of all cameras, for the ``cameras`` event."""
    return [
        {
            "name": camera.name,
            "state": camera.state,
            "problem": camera.problem,
            "processed_fps": camera.processed_fps,
            "observed": camera.observed,
            "sent": camera.outcomes.get("forwarded", 0),
        }
        for camera in camera_list(console).cameras
    ]
