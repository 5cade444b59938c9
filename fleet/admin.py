"""What an operator does with a fleet: apply a configuration, see how it is doing, drain gates, pause cameras."""

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
    """There is no gate or camera of this name."""


class NodeSummary(msgspec.Struct, frozen=True):
    """A gate that is there."""

    host: str
    cameras: int
    capacity: float
    """Looks per second that it can sustain."""
    load: float
    """Share of it that is in use."""
    seen_s: float
    """Seconds since it was last heard of."""
    drained: bool
    config: int
    """Revision that it follows."""
    problem: str


class CameraSummary(msgspec.Struct, frozen=True):
    """A camera of the configuration."""

    gate: str | None
    state: str
    """As its gate tells; ``waiting``, with the reason where one is known, or ``paused`` without a gate."""
    since_s: float | None
    """Seconds for which it has had this gate."""
    processed_fps: float


class FleetSummary(msgspec.Struct, frozen=True):
    """How a fleet is doing."""

    fleet: str
    config: int
    """Revision of the configuration; 0 without one."""
    gates: dict[str, NodeSummary]
    cameras: dict[str, CameraSummary]


def run(work: Coroutine[Any, Any, T]) -> T:
    """Do something with a fleet, now.

    Raises:
        FleetError: it cannot be done.
    """
    from facegate.sinks.jetstream import load_nats

    try:
        return asyncio.run(work)
    except (load_nats().errors.Error, OSError, TimeoutError) as error:
        reason = str(error).lower() or "timeout"
        raise FleetError(f"the fleet's server does not answer: {reason}; try again") from error


async def apply(place: BucketAddress, data: dict[str, Any], *, replace: bool) -> int:
    """Publish a configuration; return its revision.

    Raises:
        FleetError: the fleet has quite another one, and ``replace`` is not given.
    """
    async with opened(place) as bucket:
        before = await bucket.history()
        if before and not replace:
            _check_same_fleet(place, before[-1], data)
        return await bucket.apply(encode(data, f"{getpass.getuser()}@{socket.gethostname()}", time()))


def _check_same_fleet(place: BucketAddress, before: AppliedConfig, data: dict[str, Any]) -> None:
    known = {str(camera["name"]) for camera in before.data["cameras"]}
    if not known & {str(camera["name"]) for camera in data["cameras"]}:
        some = ", ".join(sorted(known)[:3]) + (", …" if len(known) > 3 else "")
        raise FleetError(
            f"the fleet at {place.shown} watches other cameras ({some}), and none of this configuration: give "
            "this fleet a name of its own behind the server's address, or say --replace"
        )


async def history(place: BucketAddress) -> list[AppliedConfig]:
    """The last configurations, newest last."""
    async with opened(place, make=False) as bucket:
        return await bucket.history()


async def request(place: BucketAddress, word: str, name: str, *, wanted: bool) -> None:
    """Drain a gate or pause a camera, or let it be again.

    Raises:
        FleetError: there is none of this name.
    """
    async with opened(place, make=False) as bucket:
        status = await _status(bucket, place)
        known = status.gates if word == DRAIN else status.cameras
        what = "gate" if word == DRAIN else "camera"
        if name not in known and wanted:
            there = ", ".join(sorted(known)[:10]) or "none"
            raise UnknownNameError(f"there is no {what} '{name}' in the fleet at {place.shown}: there are {there}")
        await bucket.put(key(word, name), b"1" if wanted else b"")


async def status(place: BucketAddress) -> FleetSummary:
    """How the fleet is doing."""
    async with opened(place, make=False) as bucket:
        return await _status(bucket, place)


async def _status(bucket: Bucket, place: BucketAddress) -> FleetSummary:
    told, now = await bucket.all()
    applied = next(iter(reversed(await bucket.history())), None)
    view, seen_s, sessions = BucketView(), {}, {}
    for news, age in told:
        view.on_update(news.key, news.value, news.revision, 0.0)
        word, name = parse_key(news.key)
        if word == GATE and (session := decode(news.value, NodeSession)).alive:
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
    return FleetSummary(place.shown, 0 if applied is None else applied.revision, gates, cameras)


def _camera(name: str, view: BucketView, sessions: dict[str, NodeSession], now: float) -> CameraSummary:
    owner = view.owner(name)
    if owner is None:
        why = next(
            (session.config_error[name] for session in sessions.values() if name in session.config_error), ""
        )
        state = "paused" if name in view.paused else "waiting" + (f": {why}" if why else "")
        return CameraSummary(None, state, None, 0.0)
    said = sessions[owner].cameras.get(name)
    if said is None:
        return CameraSummary(owner, "connecting", None, 0.0)
    return CameraSummary(owner, said.state, round(max(0.0, now - said.since), 1), said.processed_fps)
