"""Administration of a fleet: apply a configuration, show the status, drain nodes, pause cameras."""

from __future__ import annotations

import asyncio
import getpass
import socket
from collections.abc import Coroutine
from time import time
from typing import Any, TypeVar

import msgspec

from facegate.errors import ConfigError, FleetError
from facegate.fleet.bucket import Bucket, BucketAddress, opened
from facegate.fleet.bucket_view import BucketView
from facegate.fleet.configuration import AppliedConfig, check, encode
from facegate.fleet.records import DRAIN, GATE, NodeSession, decode, key, parse_key

T = TypeVar("T")


class UnknownNameError(FleetError):
    """No node or camera has this name."""


class NodeSummary(msgspec.Struct, frozen=True):
    """Status of a live node."""

    host: str
    cameras: int
    capacity: float
    """Processed frames per second that it can sustain."""
    load: float
    """Share of the capacity in use."""
    seen_s: float
    """Seconds since its last renewal."""
    drained: bool
    config: int
    """Revision of the configuration in use."""
    problem: str


class CameraSummary(msgspec.Struct, frozen=True):
    """Status of a camera of the configuration."""

    gate: str | None
    state: str
    """As its node reports; without a node ``waiting``, with the reason if known, or ``paused``."""
    since_s: float | None
    """Seconds since its node got it."""
    processed_fps: float


class FleetSummary(msgspec.Struct, frozen=True):
    """Status of a fleet."""

    fleet: str
    config: int
    """Revision of the configuration; 0 if there is none."""
    gates: dict[str, NodeSummary]
    cameras: dict[str, CameraSummary]


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run an operation on a fleet to completion.

    Raises:
        FleetError: the operation failed.
    """
    from facegate.sinks.jetstream import load_nats

    try:
        return asyncio.run(work)
    except (load_nats().errors.Error, OSError, TimeoutError) as error:
        reason = str(error).lower() or "timeout"
        raise FleetError(f"the fleet's server did not answer: {reason}; try again") from error


async def apply(address: BucketAddress, data: dict[str, Any], *, replace: bool) -> int:
    """Publish a configuration; return its revision.

    Raises:
        FleetError: the current one has none of these cameras, and ``replace`` is not set.
    """
    async with opened(address) as bucket:
        before = await bucket.history()
        if before and not replace:
            _check_same_fleet(address, before[-1], data)
        return await bucket.apply(encode(data, f"{getpass.getuser()}@{socket.gethostname()}", time()))


def _check_same_fleet(address: BucketAddress, before: AppliedConfig, data: dict[str, Any]) -> None:
    known = {str(camera["name"]) for camera in before.data["cameras"]}
    if not known & {str(camera["name"]) for camera in data["cameras"]}:
        some = ", ".join(sorted(known)[:3]) + (", …" if len(known) > 3 else "")
        raise FleetError(
            f"the fleet at {address.shown} has other cameras ({some}) and none of this configuration: append "
            "another fleet name to the server's address, or use --replace"
        )


async def history(address: BucketAddress) -> list[AppliedConfig]:
    """The last configurations, newest last."""
    async with opened(address, make=False) as bucket:
        return await bucket.history()


async def request(address: BucketAddress, word: str, name: str, *, enabled: bool) -> None:
    """Drain a node or pause a camera, or undo that.

    Raises:
        UnknownNameError: no node or camera has this name.
    """
    async with opened(address, make=False) as bucket:
        status = await _status(bucket, address)
        known = status.gates if word == DRAIN else status.cameras
        what = "node" if word == DRAIN else "camera"
        if name not in known and enabled:
            known_names = ", ".join(sorted(known)[:10]) or "none"
            raise UnknownNameError(f"no {what} '{name}' in the fleet at {address.shown}; known: {known_names}")
        await bucket.put(key(word, name), b"1" if enabled else b"")


async def status(address: BucketAddress) -> FleetSummary:
    """Read the status of the fleet."""
    async with opened(address, make=False) as bucket:
        return await _status(bucket, address)


async def _status(bucket: Bucket, address: BucketAddress) -> FleetSummary:
    entries, now = await bucket.all()
    applied = next(iter(reversed(await bucket.history())), None)
    view, seen_s, sessions = BucketView(), {}, {}
    for entry, age in entries:
        view.on_update(entry.key, entry.value, entry.revision, 0.0)
        word, name = parse_key(entry.key)
        if word == GATE and (session := decode(entry.value, NodeSession)).alive:
            seen_s[name], sessions[name] = age, session
    cameras = {}
    if applied is not None:
        try:
            config = check(applied.data, "the fleet's configuration")
        except ConfigError as error:
            raise FleetError(str(error)) from error
        cameras = {
            camera.name: _camera(camera.name, view, sessions, now) for camera in config.cameras if camera.enabled
        }
    owners = [camera.gate for camera in cameras.values()]
    gates = {
        name: NodeSummary(
            host=session.host,
            cameras=owners.count(name),
            capacity=session.capacity,
            load=session.load,
            seen_s=round(seen_s[name], 1),
            drained=name in view.drained,
            config=session.config,
            problem=session.problem,
        )
        for name, session in sorted(sessions.items())
    }
    return FleetSummary(address.shown, 0 if applied is None else applied.revision, gates, cameras)


def _camera(name: str, view: BucketView, sessions: dict[str, NodeSession], now: float) -> CameraSummary:
    owner = view.owner(name)
    if owner is None:
        why = next(
            (session.config_error[name] for session in sessions.values() if name in session.config_error), ""
        )
        state = "paused" if name in view.paused else "waiting" + (f": {why}" if why else "")
        return CameraSummary(None, state, None, 0.0)
    watched = sessions[owner].cameras.get(name)
    if watched is None:
        return CameraSummary(owner, "connecting", None, 0.0)
    return CameraSummary(owner, watched.state, round(max(0.0, now - watched.since), 1), watched.processed_fps)
