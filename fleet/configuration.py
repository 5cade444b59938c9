"""A fleet's configuration: its validation, and its resolution by a node.

It is a run's configuration with every camera of the fleet. ``${NAME}`` is kept until a node resolves it from its
own environment; literal secrets are refused, as everyone with access to the server could read them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from facegate.errors import ConfigError, FacegateError, FleetError
from facegate.fleet.records import CameraRequest
from facegate.pipeline.config import RunConfig, build_config
from facegate.pipeline.config.delivery import OutputConfig
from facegate.pipeline.config.load import UNRESOLVED, read_yaml

MAX_BYTES = 900_000
"""The default message limit of a NATS server is 1 MiB."""
DEFAULT_FPS = 5.0
"""Cost of a camera without ``max_fps``, processed frames per second."""
_VARIABLE = re.compile(r"\$\{\w+\}")


class AppliedConfig(msgspec.Struct, frozen=True):
    """A configuration published by ``fleet apply``."""

    data: dict[str, Any]
    """As written, ``${NAME}`` unresolved."""
    by: str
    """User and host."""
    at: float
    """Unix time."""
    revision: int = 0
    """Revision in the bucket."""


class FollowedConfig(msgspec.Struct, frozen=True, eq=False):
    """A configuration resolved by one node."""

    revision: int
    config: RunConfig
    """With the cameras that this node can watch."""
    requests: tuple[CameraRequest, ...]
    """Requests of all enabled cameras."""
    refused: dict[str, str]
    """Cameras that this node cannot watch, and why."""


def read(path: Path) -> dict[str, Any]:
    """Read a configuration to apply.

    Raises:
        ConfigError: invalid, or not suitable for a fleet.
    """
    data = read_yaml(path)
    check(data, str(path))
    found: dict[str, Any] = data
    return found


def check(data: Any, where: str) -> RunConfig:
    """Validate a configuration.

    Raises:
        ConfigError: invalid, or not suitable for a fleet.
    """
    config = build_config(data, where, environment=None)
    for index, camera in enumerate(data["cameras"]):
        place = f"{where}: cameras[{index}]"
        if "password" in camera and not _VARIABLE.fullmatch(str(camera["password"])):
            raise ConfigError(
                f"{place}.password is a literal secret: use ${{NAME}}, set in each node's environment"
            )
        for name in ("source", "main_stream"):
            _check_url(str(camera.get(name, "")), f"{place}.{name}")
        if not config.cameras[index].reconnect:
            raise ConfigError(f"{place}.reconnect cannot be false in a fleet: remove it")
    delivery = data.get("delivery") or {}
    if any(delivery.get(name) is not None for name in ("bind", "spool")):
        raise ConfigError(
            f"{where}: delivery.bind and delivery.spool are not allowed in a fleet: its shots go to its NATS "
            "server, from which 'facegate recognize --connect nats://…' reads them"
        )
    for index, other in enumerate(delivery.get("outputs") or ()):
        place = f"{where}: delivery.outputs[{index}]"
        if other.get("secret") is not None and not _VARIABLE.fullmatch(str(other["secret"])):
            raise ConfigError(f"{place}.secret is a literal secret: use ${{NAME}}, set in each node's environment")
        _check_url(str(other.get("url", "")), f"{place}.url")
    if len(msgspec.json.encode(_plain(data))) > MAX_BYTES:
        raise ConfigError(f"{where} is larger than {MAX_BYTES // 1000} kB: split it into two fleets")
    return config


def encode(data: dict[str, Any], by: str, at: float) -> bytes:
    """Encode a configuration for publishing."""
    return msgspec.json.encode(AppliedConfig(_plain(data), by, at))


def decode(value: bytes, revision: int) -> AppliedConfig:
    """Decode a published configuration.

    Raises:
        FleetError: the value is invalid.
    """
    try:
        applied = msgspec.json.decode(value, type=AppliedConfig)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FleetError(f"invalid fleet configuration: {error}") from error
    return msgspec.structs.replace(applied, revision=revision)


def follow(applied: AppliedConfig, environment: Mapping[str, str] = os.environ) -> FollowedConfig:
    """Resolve a configuration for this node.

    Raises:
        ConfigError: this node cannot use it at all.
    """
    where = "the fleet's configuration"
    whole = check(applied.data, where)
    given = {camera["name"]: camera for camera in applied.data["cameras"]}
    rest = {key: value for key, value in applied.data.items() if key != "cameras"}
    enabled = [camera for camera in whole.cameras if camera.enabled]
    refused: dict[str, str] = {}
    try:
        cameras = list(build_config(applied.data, where, environment).cameras)
    except FacegateError:  # then one by one: a variable missing for one camera does not affect the others
        cameras = []
        for camera in enabled:
            try:
                cameras += build_config(rest | {"cameras": [given[camera.name]]}, where, environment).cameras
            except FacegateError as error:
                refused[camera.name] = str(error)
    requests = tuple(
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
    return FollowedConfig(applied.revision, config, requests, refused)


def delivering(config: RunConfig, url: str, folder: Path) -> RunConfig:
    """The configuration with the fleet's server as output for shots, and spools in this folder."""
    own = OutputConfig(
        kind="jetstream", url=url, spool=folder / "shots.spool", allow_insecure=True
    )  # checked at the start
    others = tuple(
        other.model_copy(update={"spool": folder / other.spool.name}) for other in config.delivery.outputs
    )
    delivery = config.delivery.model_copy(update={"bind": None, "outputs": (own, *others)})
    return config.model_copy(update={"delivery": delivery})


def _check_url(url: str, place: str) -> None:
    if "://" not in url or "@" not in url:
        return
    login = urlsplit(_VARIABLE.sub(UNRESOLVED, url)).netloc.rpartition("@")[0]
    password = login.partition(":")[2]
    if password and password != UNRESOLVED:
        raise ConfigError(f"{place} contains a literal password: use ${{NAME}}, set in each node's environment")


def _plain(data: dict[str, Any]) -> dict[str, Any]:
    """Convert YAML values, such as dates, to JSON ones."""
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(data))
    return found
