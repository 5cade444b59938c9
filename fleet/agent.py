"""Carries out what a member decides: a thread that listens to the bucket, writes to it, and says what to watch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Set
from contextlib import suppress
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Self

import msgspec
import structlog

from facegate.errors import ConfigError, FacegateError, FleetError, StageError
from facegate.fleet.bucket import Bucket, BucketAddress, WriteRejectedError, opened
from facegate.fleet.configuration import AppliedConfig, FollowedConfig, decode, follow
from facegate.fleet.peer_exchange import PeerExchange
from facegate.fleet.pending_writes import Write
from facegate.fleet.records import CAMERA, KEPT, NodeStatus, key, parse_key
from facegate.fleet.state_machine import RENEW_S, TAKE_S, Member, Term
from facegate.pipeline.gating.factory import LearnedState
from facegate.pipeline.observability.metrics import FleetHealth
from facegate.sinks.jetstream import load_nats

POLL_INTERVAL_S = 0.2
RECONNECT_S = 0.5
LEAVE_S = 3.0
SERVER_TIMEOUT_S = 2 * RENEW_S + 0.5
"""A connection on which no write is answered for so long is given up."""
LEADERLESS_S = 15.0
"""As is one whose server has told for so long that nobody decides: perhaps there is no such fleet any more."""
LOG_REPEAT_S = 60.0
WATCH_STALLED = "the server does not tell any more what happens"
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

log = structlog.get_logger(__name__)


def clock() -> float:
    """This host's monotonic time, which goes on while the host sleeps where the system has such a clock."""
    return time.clock_gettime(_CLOCK)


class LeasePermit:
    """A camera's permit: holds until the term of its lease is over, and never again."""

    def __init__(self, lease: int, term: Term) -> None:
        self._lease, self.term = lease, term
        self.over = False
        """Set to revoke it."""

    @property
    def lease(self) -> int:
        """Revision of the lease."""
        return self._lease

    def holds(self) -> bool:
        """Whether the camera may be watched at this moment."""
        if clock() >= self.term.until:
            self.over = True
        return not self.over


class Assignment(msgspec.Struct, frozen=True, eq=False):
    """What the gate is to watch."""

    followed: FollowedConfig | None
    """``None`` before there is a configuration."""
    permits: Mapping[str, LeasePermit]
    learned: Mapping[str, LearnedState] = {}
    """What these cameras have learned elsewhere."""


class Agent:
    """Takes part in a fleet until closed; its thread owns the connection."""

    def __init__(self, place: BucketAddress, member: Member, about: NodeStatus, sharing: PeerExchange) -> None:
        """Prepare; nothing is connected yet.

        Args:
            place: where the fleet is.
            member: this gate.
            about: what to tell of it at first.
            sharing: what it tells other gates of its cameras, and hears of theirs.
        """
        self.changed = Event()
        """Set whenever ``wanted`` has become another one, and when the agent has failed."""
        self.error: FacegateError | None = None
        self._place, self._member, self._sharing = place, member, sharing
        self._lock = Lock()
        self._about = about
        self._watching: Set[str] = frozenset()
        self._wanted = Assignment(None, {})
        self._followed: FollowedConfig | None = None
        self._problem: str | None = "not connected yet"
        self._connected = False
        self._tasks = (self._listen, self._follow, self._on_message, self._broadcast)
        self._lost_replies = (load_nats().errors.Error, OSError, TimeoutError)
        self._stop = Event()
        self._unanswered_s: float | None = None
        """Since when a write has had no answer, while no other has had one."""
        self._leaderless_s: float | None = None
        """Since when no write could be made."""
        self._told, self._told_s = "", 0.0
        self._thread = Thread(target=self._run, name="facegate-fleet", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(LEAVE_S)  # a server that does not answer is not waited for: the session ends by itself

    @property
    def wanted(self) -> Assignment:
        """What is to be watched now."""
        return self._wanted

    def report_status(self, about: NodeStatus, watching: Set[str]) -> None:
        """Say how the gate is doing, and which cameras it watches or may still be watching."""
        with self._lock:
            self._about, self._watching = about, frozenset(watching)

    def fleet_status(self) -> FleetHealth:
        """How the gate stands in its fleet."""
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
        except BaseException as error:  # raised by whoever owns the gate
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
                    async with opened(self._place) as bucket:
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
        if reason != self._told or clock() - self._told_s > LOG_REPEAT_S:
            log.warning("waiting for the fleet", reason=reason)
            self._told, self._told_s = reason, clock()

    async def _serve(self, bucket: Bucket) -> None:
        """Until the connection is of no use any more, or the end."""
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
                    raise FleetError(f"the server at {self._place.shown} does not answer")
                self._check_name(began)
                self._post()
                with self._lock:
                    # What was said to be wanted may just be beginning: it is given up after it was revoked.
                    about, watching = self._about, self._watching | self._wanted.permits.keys()
                followed = self._followed
                if followed is not None:
                    refused = {**about.config_error, **followed.refused}
                    about = msgspec.structs.replace(about, config=followed.revision, config_error=refused)
                wishes = () if followed is None else followed.wishes
                for write in self._member.step(clock(), about, wishes, watching):
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
        """Whether another gate that is alive has this one's name."""
        own = self._member.view.gates.get(self._member.gate)
        if own is not None and own.value.alive and clock() - began > 2 * TAKE_S and self._member.unclaimed_cameras:
            raise NameTakenError(
                f"another gate of this fleet is called {self._member.gate} (on {own.value.host}): give this one a "
                "name of its own with --gate"
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
                log.error("left out", key=news.key, reason=str(error))

    async def _follow(self, bucket: Bucket) -> None:
        async for news in bucket.configurations():
            try:
                await self._take(decode(news.value, news.revision))
            except FleetError as error:
                self._problem = str(error)
                log.error("configuration not taken over, going on with the old one", reason=str(error))

    async def _take(self, applied: AppliedConfig) -> None:
        if self._followed is not None and applied.revision == self._followed.revision:
            return
        try:
            # Thousands of cameras take a second, in which the session has to be renewed.
            followed = await asyncio.to_thread(follow, applied)
        except ConfigError as error:
            self._problem = str(error)
            log.error("configuration not taken over, going on with the old one", reason=str(error))
            return
        for camera, reason in followed.refused.items():
            log.warning("this gate cannot watch the camera", camera=camera, reason=reason)
        log.info("configuration taken over", revision=followed.revision, cameras=len(followed.wishes))
        self._followed = followed
        self._post()

    async def _broadcast(self, bucket: Bucket) -> None:
        while True:
            with suppress(*self._lost_replies, WriteRejectedError):  # what is not kept now is at the next time
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
        with suppress(*self._lost_replies):  # nobody knows whether it was made: what the bucket tells counts
            word, name = parse_key(write.key)
            if self._unanswered_s is None:
                self._unanswered_s = clock()
            try:
                if word == CAMERA and name in self._member.held_leases():
                    await self._save_state(bucket, name)  # before anybody else has the camera
                revision = await bucket.write(write)
            except WriteRejectedError as error:
                self._unanswered_s = None
                self._leaderless_s = self._leaderless_s or clock()
                self._on_disconnect(str(error))
                self._member.write_rejected(write, clock())
                return
            self._unanswered_s = self._leaderless_s = None
            if not self._connected:
                log.info("in the fleet", fleet=self._place.shown, gate=self._member.gate)
                self._connected, self._problem, self._told = True, None, ""
            self._member.write_observed(write, revision, clock())

    async def _keep_posting(self) -> None:
        """Also while there is no connection: then terms end."""
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
            begin = {camera: self._sharing.initial_state(camera) for camera in permits}
            learned = {camera: found for camera, found in begin.items() if found is not None}
            self._wanted = Assignment(self._followed, permits, learned)
            self.changed.set()


def _longer_than(seconds: float, since: float | None) -> bool:
    return since is not None and clock() - since > seconds


class NameTakenError(FleetError):
    """Another gate has this one's name."""
