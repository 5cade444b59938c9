"""A fleet's configuration: what may stand in it, and what a gate makes of it.

It is a run's configuration with every camera of the fleet. ``${NAME}`` stays as it is until a gate reads it from
its own environment; a secret that is written out is refused, as everybody who reaches the server could read it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import yaml

from facegate.errors import ConfigError, FacegateError, FleetError
from facegate.fleet.records import CameraRequest
from facegate.pipeline.config import RunConfig, build_config
from facegate.pipeline.config.delivery import OutputConfig

MAX_BYTES = 900_000
"""A NATS server takes messages of a megabyte."""
DEFAULT_FPS = 5.0
"""What a camera costs that does not say ``max_fps``."""
_VARIABLE = re.compile(r"\$\{\w+\}")


class AppliedConfig(msgspec.Struct, frozen=True):
    """What ``fleet apply`` has published."""

    data: dict[str, Any]
    """As it was written, ``${NAME}`` and all."""
    by: str
    """User and host."""
    at: float
    """Unix time."""
    revision: int = 0
    """In the bucket."""


class FollowedConfig(msgspec.Struct, frozen=True, eq=False):
    """A configuration as one gate can follow it."""

    revision: int
    config: RunConfig
    """With the cameras that this gate can watch."""
    wishes: tuple[CameraRequest, ...]
    """Of all cameras."""
    refused: dict[str, str]
    """Cameras that this gate cannot watch, and why."""


def read(path: Path) -> dict[str, Any]:
    """Read a configuration that is to be applied.

    Raises:
        ConfigError: it is not valid, or not fit for a fleet.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {(error.strerror or 'unknown error').lower()}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {getattr(error, 'problem', None) or 'not text'}") from error
    check(data, str(path))
    found: dict[str, Any] = data
    return found


def check(data: Any, where: str) -> RunConfig:
    """Validate as a whole.

    Raises:
        ConfigError: it is not valid, or not fit for a fleet.
    """
    config = build_config(data, where, environment=None)
    for index, camera in enumerate(data["cameras"]):
        place = f"{where}: cameras[{index}]"
        if "password" in camera and not _VARIABLE.fullmatch(str(camera["password"])):
            raise ConfigError(f"{place}.password is written out: give ${{NAME}}, which each gate has for itself")
        for name in ("source", "main_stream"):
            _check_url(str(camera.get(name, "")), f"{place}.{name}")
        if not config.cameras[index].reconnect:
            raise ConfigError(f"{place}.reconnect: a fleet watches its cameras for ever")
    delivery = data.get("delivery") or {}
    if any(delivery.get(name) is not None for name in ("bind", "spool")):
        raise ConfigError(
            f"{where}: delivery.bind and spool are one gate's own: a fleet's shots go to its NATS "
            "server, where 'facegate recognize --connect nats://…' takes them"
        )
    for index, other in enumerate(delivery.get("outputs") or ()):
        place = f"{where}: delivery.outputs[{index}]"
        if other.get("secret") is not None and not _VARIABLE.fullmatch(str(other["secret"])):
            raise ConfigError(f"{place}.secret is written out: give ${{NAME}}, which each gate has for itself")
        _check_url(str(other.get("url", "")), f"{place}.url")
    if len(msgspec.json.encode(_plain(data))) > MAX_BYTES:
        raise ConfigError(f"{where}: at most {MAX_BYTES // 1000} kB can be applied: make two fleets of it")
    return config


def encode(data: dict[str, Any], by: str, at: float) -> bytes:
    """What is published."""
    return msgspec.json.encode(AppliedConfig(_plain(data), by, at))


def decode(value: bytes, revision: int) -> AppliedConfig:
    """Read what was published.

    Raises:
        FleetError: it is none.
    """
    try:
        applied = msgspec.json.decode(value, type=AppliedConfig)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FleetError(f"the fleet's configuration cannot be read: {error}") from error
    return msgspec.structs.replace(applied, revision=revision)


def follow(applied: AppliedConfig, environment: Mapping[str, str] = os.environ) -> FollowedConfig:
    """What a gate makes of it.

    Raises:
        ConfigError: this gate cannot follow it at all.
    """
    where = "the fleet's configuration"
    whole = check(applied.data, where)
    given = {camera["name"]: camera for camera in applied.data["cameras"]}
    rest = {key: value for key, value in applied.data.items() if key != "cameras"}
    enabled = [camera for camera in whole.cameras if camera.enabled]
    refused: dict[str, str] = {}
    try:
        cameras = list(build_config(applied.data, where, environment).cameras)
    except FacegateError:  # one by one, then: what is missing for one is not missing for all
        cameras = []
        for camera in enabled:
            try:
                cameras += build_config(rest | {"cameras": [given[camera.name]]}, where, environment).cameras
            except FacegateError as error:
                refused[camera.name] = str(error)
    wishes = tuple(
        CameraRequest(
            camera=camera.name,
            cost=camera.max_fps or DEFAULT_FPS,
            hosts=camera.hosts,
            tags=camera.tags,
            group=whole.gate_for(camera.name).identity.group or "",
        )
        for camera in enabled
    )
    sections = build_config(rest | {"cameras": [{"name": "none", "source": "none"}]}, where, environment)
    config = sections.model_copy(update={"cameras": tuple(cameras)})
    return FollowedConfig(applied.revision, config, wishes, refused)


def delivering(config: RunConfig, url: str, folder: Path) -> RunConfig:
    """The configuration with the fleet's server as the place for shots, and what waits on disk in this folder."""
    own = OutputConfig(
        kind="jetstream", url=url, spool=folder / "shots.spool", allow_insecure=True
    )  # said at the start
    others = tuple(
        other.model_copy(update={"spool": folder / other.spool.name}) for other in config.delivery.outputs
    )
    delivery = config.delivery.model_copy(update={"bind": None, "outputs": (own, *others)})
    return config.model_copy(update={"delivery": delivery})


def _check_url(url: str, place: str) -> None:
    if "://" not in url or "@" not in url:
        return
    login = urlsplit(_VARIABLE.sub("unseen", url)).netloc.rpartition("@")[0]
    password = login.partition(":")[2]
    if password and password != "unseen":
        raise ConfigError(f"{place}: the password is written out: give ${{NAME}}, which each gate has for itself")


def _plain(data: dict[str, Any]) -> dict[str, Any]:
    """What YAML may hold and JSON does not."""
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(data))
    return found
