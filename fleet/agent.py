"""Carries out the decisions of a :class:`Member`: a thread that watches the bucket and writes to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Set
from contextlib import suppress
from threading import Event, Lock

import msgspec
import structlog

from facegate.background import BackgroundThread
from facegate.errors import ConfigError, FacegateError, FleetError, StageError
from facegate.fleet.bucket import Bucket, BucketAddress, WriteRejectedError, opened
from facegate.fleet.configuration import AppliedConfig, FollowedConfig, decode, follow
from facegate.fleet.peer_exchange import PeerExchange
from facegate.fleet.pending_writes import Write
from facegate.fleet.records import CAMERA, KEPT, NodeStatus, key, parse_key
from facegate.fleet.state_machine import RENEW_S, TAKEOVER_S, Member, Term
from facegate.pipeline.gating.factory import LearnedState
from facegate.pipeline.observability.metrics import FleetHealth
from facegate.sinks.jetstream import load_nats

POLL_INTERVAL_S = 0.2
RECONNECT_S = 0.5
SERVER_TIMEOUT_S = 2 * RENEW_S + 0.5
"""A connection is closed when a write has had no answer for this long."""
LEADERLESS_S = 15.0
"""A connection is closed when the bucket has had no leader for this long: the fleet may have been deleted."""
LOG_REPEAT_S = 60.0
WATCH_STALLED = "the server no longer sends updates of the bucket"
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

log = structlog.get_logger(__name__)


def clock() -> float:
    """Monotonic time of this host, s; includes time in which it slept, on systems with CLOCK_BOOTTIME."""
    return time.clock_gettime(_CLOCK)


class LeasePermit:
    """Permission to watch a camera; valid until the term of its lease ends, and never again."""

    def __init__(self, lease: int, term: Term) -> None:
        self._lease, self.term = lease, term
        self.over = False
        """Set to revoke it."""

    @property
    def lease(self) -> int:
        """Revision of the lease."""
        return self._lease

    def holds(self) -> bool:
        """Whether the camera may be watched now."""
        if clock() >= self.term.until:
            self.over = True
        return not self.over


class Assignment(msgspec.Struct, frozen=True, eq=False):
    """Cameras that this node is to watch."""

    followed: FollowedConfig | None
    """``None`` while there is no configuration."""
    permits: Mapping[str, LeasePermit]
    learned: Mapping[str, LearnedState] = {}
    """State that these cameras have learned on other nodes."""


class Agent(BackgroundThread):
    """Membership in a fleet until closed; its thread owns the connection."""

    join_timeout_s = 3.0
    """If the server does not answer by then, the session expires."""

    def __init__(self, address: BucketAddress, member: Member, about: NodeStatus, sharing: PeerExchange) -> None:
        """Prepare; nothing is connected yet.

        Args:
            address: of the fleet.
            member: this node's state machine.
            about: the initial status.
            sharing: exchange with other nodes.
        """
        super().__init__("facegate-fleet")
        self.changed = Event()
        """Set when ``assignment`` changes and when the agent fails."""
        self.error: FacegateError | None = None
        self._address, self._member, self._sharing = address, member, sharing
        self._lock = Lock()
        self._about = about
        self._watching: Set[str] = frozenset()
        self._wanted = Assignment(None, {})
        self._followed: FollowedConfig | None = None
        self._problem: str | None = "not connected yet"
        self._connected = False
        self._tasks = (self._listen, self._follow, self._on_message, self._broadcast)
        self._lost_replies = (load_nats().errors.Error, OSError, TimeoutError)
        self._unanswered_s: float | None = None
        """Time since which no write has been answered."""
        self._leaderless_s: float | None = None
        """Time since which writes have been rejected for lack of a leader."""
        self._logged, self._logged_s = "", 0.0

    @property
    def assignment(self) -> Assignment:
        """Current assignment."""
        return self._wanted

    def report_status(self, about: NodeStatus, watching: Set[str]) -> None:
        """Update this node's status and the cameras that it watches or may still be watching."""
        with self._lock:
            self._about, self._watching = about, frozenset(watching)

    def fleet_status(self) -> FleetHealth:
        """Health of the connection to the fleet."""
        return FleetHealth(
            connected=self._connected,
            lease_s=round(max(0.0, self._member.term.until - clock()), 1),
            watching=len(self._wanted.permits),
            config=0 if self._followed is None else self._followed.revision,
            problem=self._problem,
        )

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as error:  # raised by the owner
            self.error = error if isinstance(error, FleetError) else StageError("fleet", error)
        finally:
            self._connected = False
            self._member.term.until = float("-inf")
            self.changed.set()

    async def _live(self) -> None:
        posting = asyncio.create_task(self._keep_posting())
        try:
            while not self._stop.is_set():
                try:
                    async with opened(self._address) as bucket:
                        await self._serve(bucket)
                except FleetError as error:
                    self._on_disconnect(str(error))
                    if isinstance(error, NameTakenError):
                        raise
                again = clock() + RECONNECT_S
                while clock() < again and not self._stop.is_set():
                    await asyncio.sleep(POLL_INTERVAL_S)
        finally:
            posting.cancel()

    def _on_disconnect(self, reason: str) -> None:
        self._connected, self._problem = False, reason
        if reason != self._logged or clock() - self._logged_s > LOG_REPEAT_S:
            log.warning("fleet not connected, will retry", reason=reason)
            self._logged, self._logged_s = reason, clock()

    async def _serve(self, bucket: Bucket) -> None:
        """Work until the connection is unusable or the agent stops."""
        self._member.cut_off()
        self._unanswered_s = self._leaderless_s = None
        listening = [asyncio.create_task(work(bucket)) for work in self._tasks]
        writing: set[asyncio.Task[None]] = set()
        began = clock()
        try:
            while not self._stop.is_set():
                for task in listening:
                    if task.done():
                        raise FleetError(WATCH_STALLED) from task.exception()
                if self._member.stale:
                    raise FleetError(WATCH_STALLED)
                silent = _longer_than(SERVER_TIMEOUT_S, self._unanswered_s) or _longer_than(
                    LEADERLESS_S, self._leaderless_s
                )
                if not bucket.connected or silent:
                    raise FleetError(f"the server at {self._address.shown} did not answer")
                self._check_name(began)
                self._post()
                with self._lock:
                    # Cameras just assigned may be starting: they count as watched until revoked.
                    about, watching = self._about, self._watching | self._wanted.permits.keys()
                followed = self._followed
                if followed is not None:
                    refused = {**about.config_error, **followed.refused}
                    about = msgspec.structs.replace(about, config=followed.revision, config_error=refused)
                requests = () if followed is None else followed.requests
                for write in self._member.step(clock(), about, requests, watching):
                    task = asyncio.create_task(self._write(bucket, write))
                    writing.add(task)
                    task.add_done_callback(writing.discard)
                await asyncio.sleep(POLL_INTERVAL_S)
            with suppress(*self._lost_replies, WriteRejectedError):
                for camera in self._member.held_leases():
                    await self._save_state(bucket, camera)
            for write in self._member.leave(clock()):
                await self._write(bucket, write)
        finally:
            for task in (*listening, *writing):
                task.cancel()
            await asyncio.gather(*listening, *writing, return_exceptions=True)
            self._member.cut_off()

    def _check_name(self, began: float) -> None:
        """Fail if another live node has this node's name."""
        own = self._member.view.gates.get(self._member.gate)
        if (
            own is not None
            and own.value.alive
            and clock() - began > 2 * TAKEOVER_S
            and self._member.unclaimed_cameras
        ):
            raise NameTakenError(
                f"the name {self._member.gate} is used by another node of this fleet (on {own.value.host}): choose "
                "another with --gate"
            )

    async def _listen(self, bucket: Bucket) -> None:
        async for news in bucket.updates():
            if not news.key:
                self._member.synced(clock())
                continue
            word, name = parse_key(news.key)
            if word == KEPT:
                self._sharing.state_saved(name, news.value)
                continue
            try:
                self._member.on_update(news.key, news.value, news.revision, clock())
            except FleetError as error:
                log.error("invalid record ignored", key=news.key, reason=str(error))

    async def _follow(self, bucket: Bucket) -> None:
        async for news in bucket.configurations():
            try:
                await self._take(decode(news.value, news.revision))
            except FleetError as error:
                self._problem = str(error)
                log.error("configuration rejected, keeping the previous one", reason=str(error))

    async def _take(self, applied: AppliedConfig) -> None:
        if self._followed is not None and applied.revision == self._followed.revision:
            return
        try:
            # Thousands of cameras take a second, during which the session must be renewed.
            followed = await asyncio.to_thread(follow, applied)
        except ConfigError as error:
            self._problem = str(error)
            log.error("configuration rejected, keeping the previous one", reason=str(error))
            return
        for camera, reason in followed.refused.items():
            log.warning("camera not supported by this node", camera=camera, reason=reason)
        log.info("configuration applied", revision=followed.revision, cameras=len(followed.requests))
        self._followed = followed
        self._post()

    async def _broadcast(self, bucket: Bucket) -> None:
        while True:
            with suppress(*self._lost_replies, WriteRejectedError):  # saved at the next attempt
                for message in self._sharing.outgoing():
                    await bucket.publish(message)
                await self._save_state(bucket)
            await asyncio.sleep(POLL_INTERVAL_S)

    async def _on_message(self, bucket: Bucket) -> None:
        async for message in bucket.subscribe():
            self._sharing.on_message(message)

    async def _save_state(self, bucket: Bucket, camera: str | None = None) -> None:
        for name, value in self._sharing.states_to_save(camera).items():
            await bucket.put(key(KEPT, name), value)

    async def _write(self, bucket: Bucket, write: Write) -> None:
        with suppress(*self._lost_replies):  # outcome unknown: the bucket's updates tell
            word, name = parse_key(write.key)
            if self._unanswered_s is None:
                self._unanswered_s = clock()
            try:
                if word == CAMERA and name in self._member.held_leases():
                    await self._save_state(bucket, name)  # before another node has the camera
                revision = await bucket.write(write)
            except WriteRejectedError as error:
                self._unanswered_s = None
                self._leaderless_s = self._leaderless_s or clock()
                self._on_disconnect(str(error))
                self._member.write_rejected(write, clock())
                return
            self._unanswered_s = self._leaderless_s = None
            if not self._connected:
                log.info("fleet joined", fleet=self._address.shown, gate=self._member.gate)
                self._connected, self._problem, self._logged = True, None, ""
            self._member.write_observed(write, revision, clock())

    async def _keep_posting(self) -> None:
        """Update the assignment also without a connection, as terms end."""
        while True:
            self._post()
            await asyncio.sleep(POLL_INTERVAL_S)

    def _post(self) -> None:
        before = self._wanted
        permits = {}
        for camera, lease in self._member.watch(clock()).items():
            old = before.permits.get(camera)
            same = old is not None and old.lease == lease and old.term is self._member.term and not old.over
            permits[camera] = old if same and old is not None else LeasePermit(lease, self._member.term)
        for camera, permit in before.permits.items():
            if permits.get(camera) is not permit:
                permit.over = True
        unchanged = permits.keys() == before.permits.keys() and all(
            permit is before.permits[camera] for camera, permit in permits.items()
        )
        if not unchanged or self._followed is not before.followed:
            states = {camera: self._sharing.initial_state(camera) for camera in permits}
            learned = {camera: state for camera, state in states.items() if state is not None}
            self._wanted = Assignment(self._followed, permits, learned)
            self.changed.set()


def _longer_than(seconds: float, since: float | None) -> bool:
    return since is not None and clock() - since > seconds


class NameTakenError(FleetError):
    """Another node has this node's name."""
