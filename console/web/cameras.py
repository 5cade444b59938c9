"""``/cameras``: what is watched, how it is doing, and changing it."""

from __future__ import annotations

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
from facegate.console.state import ConsoleState
from facegate.console.web.errors import ERROR_RESPONSES, ApiError, RouteErrors, not_found
from facegate.console.web.models import (
    CameraCreate,
    CameraOut,
    CameraSettings,
    CamerasOut,
    CameraUpdate,
    ConfigVersionOut,
    ProbeRequest,
    TracksOut,
    TrackSummaryOut,
)
from facegate.errors import ConfigError
from facegate.pipeline.addresses import redact
from facegate.pipeline.cameras.probe import Probe, probe
from facegate.pipeline.config import CameraConfig, build_config
from facegate.pipeline.config.values import Name

router = APIRouter(tags=["cameras"], responses=ERROR_RESPONSES)
SCHEMES = ("rtsp://", "rtsps://", "http://", "https://")
PROBE_S = 3.0
MAX_TRACKS = 500
OWN = ("state", "problem")
SECRET = ("password", "password_file", "source", "main_stream", "name", "enabled", "user")
IfMatch = Annotated[str | None, Header(description="Version of the configuration that the change is for.")]


@router.get("/cameras")
def cameras(console: RouteErrors) -> CamerasOut:
    """Every camera of the configuration, with its state and its counts."""
    return camera_list(console)


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
                enabled=enabled,
                state="paused" if not enabled else state if own is None else own["state"],
                problem=None if own is None or not enabled else own["problem"],
                source=redact(str(entry["source"])),
                user=entry.get("user"),
                has_password="password" in entry or "password_file" in entry or "@" in str(entry["source"]),
                settings=to_plain({key: value for key, value in entry.items() if key not in SECRET}),
                **counts,
            )
        )
    return CamerasOut(config=console.supervisor.running().tag, cameras=found)


@router.post("/cameras", status_code=201)
def add_camera(console: RouteErrors, camera: CameraCreate, if_match: IfMatch = None) -> ConfigVersionOut:
    """Watch one more camera, at once."""
    _check_source(camera.source, camera.main_stream)
    given = _given(camera)

    def edit(data: CommentedMap) -> None:
        if any(str(entry["name"]) == camera.name for entry in data["cameras"]):
            raise ApiError(
                409,
                "name_taken",
                f"there is a camera {camera.name} already",
                "give it another name, or change that",
            )
        data["cameras"].append(CommentedMap(given | kept))

    with _kept_password(console, camera.name, camera.password) as kept:
        return ConfigVersionOut(config=console.supervisor.change(edit, if_match).tag)


@router.patch("/cameras/{name}")
def change_camera(
    console: RouteErrors, name: Name, change: CameraUpdate, if_match: IfMatch = None
) -> ConfigVersionOut:
    """Change a camera. Its tracks end, its counts go on, the others do not notice."""
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
def remove_camera(console: RouteErrors, name: Name, if_match: IfMatch = None) -> ConfigVersionOut:
    """Watch a camera no more. What it has shown stays until it is too old."""

    def edit(data: CommentedMap) -> None:
        data["cameras"].remove(_entry(data, name))

    changed = console.supervisor.change(edit, if_match)
    shutil.rmtree(console.folder.secrets / name, ignore_errors=True)
    return ConfigVersionOut(config=changed.tag)


@router.post("/cameras/probe")
def probe_camera(wanted: ProbeRequest) -> dict[str, Any]:
    """Watch an address for three seconds and say what it offers, as ``facegate probe`` does."""
    _check_source(wanted.source, None)
    password = None if wanted.password is None else wanted.password.get_secret_value()
    camera = _built(
        {"name": "probe", "source": wanted.source, "transport": wanted.transport}
        | ({} if wanted.user is None else {"user": wanted.user, "password": password or ""})
    )
    found: Probe = probe(camera, PROBE_S, Event())
    return msgspec.structs.asdict(found)


@router.get("/cameras/{name}/snapshot.jpg", response_class=Response)
def snapshot(console: RouteErrors, name: Name, side: Annotated[int, Query(ge=64, le=3840)] = 1280) -> Response:
    """What the camera shows now, masked parts black."""
    live = console.supervisor.client.live({name: -1}, side, 85)
    if not live.cameras or live.cameras[0].jpeg is None:
        raise GateUnreachableError("this camera has shown nothing yet")
    return Response(live.cameras[0].jpeg, media_type="image/jpeg")


@router.get("/cameras/{name}/tracks")
def tracks(
    console: RouteErrors,
    name: Name,
    since: Annotated[float, Query(ge=0, le=1e11)] = 0.0,
    limit: Annotated[int, Query(ge=1, le=MAX_TRACKS)] = 50,
) -> TracksOut:
    """The newest tracks, those of which nothing was sent too."""
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
                sent=sum(fate.shot_id is not None for fate in track.events),
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
    """What is to stand in the file."""
    given = camera.model_dump(mode="json", exclude_unset=True, exclude_none=True, exclude={"password"})
    if "${" in str(given):
        raise ConfigError("a value here cannot be ${NAME}; that is for the configuration file")
    if _names_state(given.get("gate")):
        raise ConfigError("gate: state is a folder of this host; that is for the configuration file")
    return given


def _names_state(value: Any) -> bool:
    return isinstance(value, dict) and ("state" in value or any(_names_state(each) for each in value.values()))


def _check_source(*urls: str | None) -> None:
    """Only cameras behind an address: files and devices of this host are for whoever writes the file."""
    for url in urls:
        if url is not None and not url.startswith(SCHEMES):
            raise ConfigError(
                f"{redact(url)[:80]} is no address of a camera; give rtsp://, rtsps://, http:// or https://"
            )


def _built(camera: dict[str, Any]) -> CameraConfig:
    if "${" in str(camera):
        raise ConfigError("a value here cannot be ${NAME}; that is for the configuration file")
    return build_config({"cameras": [camera]}, "camera").cameras[0]


@contextmanager
def _kept_password(console: ConsoleState, name: str, password: SecretStr | None) -> Iterator[dict[str, str]]:
    """What is to stand in the configuration for a password, which is in a file of its own.

    A new file for each: a gate sees that the camera has changed, and where the block fails all is as it was.
    """
    if password is None:
        yield {}
        return
    path = console.folder.secrets / name / secrets.token_hex(8)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(password.get_secret_value(), encoding="utf-8")
    try:
        yield {"password_file": str(path.absolute())}
    except BaseException:
        path.unlink()
        raise


def states(console: ConsoleState) -> list[dict[str, Any]]:
    """How the cameras are doing, in short; for the events of open pages."""
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
