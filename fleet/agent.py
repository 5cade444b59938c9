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

from facegate.errors import ConfigError, FleetError
from facegate.fleet.bucket import Bucket, Place, opened
from facegate.fleet.configuration import Applied, Followed, follow
from facegate.fleet.member import RENEW_S, TAKE_S, About, Member, Term, Write
from facegate.pipeline.reporting.monitor import Fleet

LOOK_S = 0.2
AGAIN_S = 1.0
SILENT_S = 2 * RENEW_S + 0.5
"""A connection on which no write is answered for so long is given up."""
TOLD_AGAIN_S = 60.0
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

log = structlog.get_logger(__name__)


def clock() -> float:
    """This host's monotonic time, which goes on while the host sleeps where the system has such a clock."""
    return time.clock_gettime(_CLOCK)


class TermPermit:
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


class Wanted(msgspec.Struct, frozen=True, eq=False):
    """What the gate is to watch."""

    followed: Followed | None
    """``None`` before there is a configuration."""
    permits: Mapping[str, TermPermit]


class Agent:
    """Takes part in a fleet until closed; its thread owns the connection."""

    def __init__(self, place: Place, member: Member, about: About) -> None:
        """Prepare; nothing is connected yet.

        Args:
            place: where the fleet is.
            member: this gate.
            about: what to tell of it at first.
        """
        self.changed = Event()
        """Set whenever ``wanted`` has become another one, and when the agent has failed."""
        self.error: FleetError | None = None
        self._place, self._member = place, member
        self._lock = Lock()
        self._about = about
        self._watching: Set[str] = frozenset()
        self._wanted = Wanted(None, {})
        self._followed: Followed | None = None
        self._problem: str | None = "not connected yet"
        self._connected = False
        self._stop = Event()
        self._heard_s = 0.0
        self._told, self._told_s = "", 0.0
        self._thread = Thread(target=self._run, name="facegate-fleet", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def wanted(self) -> Wanted:
        """What is to be watched now."""
        return self._wanted

    def tell(self, about: About, watching: Set[str]) -> None:
        """Say how the gate is doing, and which cameras it watches or may still be watching."""
        with self._lock:
            self._about, self._watching = about, frozenset(watching)

    def standing(self) -> Fleet:
        """How the gate stands in its fleet."""
        return Fleet(
            connected=self._connected,
            lease_s=round(max(0.0, self._member.term.until - clock()), 1),
            watching=len(self._wanted.permits),
            config=0 if self._followed is None else self._followed.revision,
            problem=self._problem,
        )

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except FleetError as error:
            self.error = error
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
                    self._lost(str(error))
                    if isinstance(error, NameTakenError):
                        raise
                again = clock() + AGAIN_S
                while clock() < again and not self._stop.is_set():
                    await asyncio.sleep(LOOK_S)
        finally:
            posting.cancel()

    def _lost(self, reason: str) -> None:
        self._connected, self._problem = False, reason
        if reason != self._told or clock() - self._told_s > TOLD_AGAIN_S:
            log.warning("waiting for the fleet", reason=reason)
            self._told, self._told_s = reason, clock()

    async def _serve(self, bucket: Bucket) -> None:
        """Until the connection is of no use any more, or the end."""
        self._member.cut_off()
        self._heard_s = clock()
        listening = [asyncio.create_task(self._listen(bucket)), asyncio.create_task(self._follow(bucket))]
        writing: set[asyncio.Task[None]] = set()
        began = clock()
        try:
            while not self._stop.is_set():
                for task in listening:
                    if task.done():
                        task.result()
                        raise FleetError("the server does not tell any more what happens")
                if not bucket.connected or clock() - self._heard_s > SILENT_S or self._member.stale:
                    raise FleetError(f"the server at {self._place.shown} does not answer")
                self._check_name(began)
                self._post()
                with self._lock:
                    # What was said to be wanted may just be beginning: it is given up after it was revoked.
                    about, watching = self._about, self._watching | self._wanted.permits.keys()
                followed = self._followed
                if followed is not None:
                    about = msgspec.structs.replace(about, config=followed.revision, refused=followed.refused)
                wishes = () if followed is None else followed.wishes
                for write in self._member.step(clock(), about, wishes, watching):
                    task = asyncio.create_task(self._write(bucket, write))
                    writing.add(task)
                    task.add_done_callback(writing.discard)
                await asyncio.sleep(LOOK_S)
            for write in self._member.farewell(clock()):
                await self._write(bucket, write)
        finally:
            for task in (*listening, *writing):
                task.cancel()
            await asyncio.gather(*listening, *writing, return_exceptions=True)
            self._member.cut_off()

    def _check_name(self, began: float) -> None:
        """Whether another gate that is alive has this one's name."""
        own = self._member.view.gates.get(self._member.gate)
        if own is not None and own.value.alive and clock() - began > 2 * TAKE_S and self._member.nameless:
            raise NameTakenError(
                f"another gate of this fleet is called {self._member.gate} (on {own.value.host}): give this one a "
                "name of its own with --gate"
            )

    async def _listen(self, bucket: Bucket) -> None:
        async for news in bucket.news():
            if not news.key:
                self._member.synced(clock())
                continue
            try:
                self._member.see(news.key, news.value, news.revision, clock())
            except FleetError as error:
                log.error("left out", key=news.key, reason=str(error))

    async def _follow(self, bucket: Bucket) -> None:
        async for applied in bucket.configurations():
            self._take(applied)

    def _take(self, applied: Applied) -> None:
        if self._followed is not None and applied.revision == self._followed.revision:
            return
        try:
            followed = follow(applied)
        except ConfigError as error:
            self._problem = str(error)
            log.error("configuration not taken over, going on with the old one", reason=str(error))
            return
        for camera, reason in followed.refused.items():
            log.warning("this gate cannot watch the camera", camera=camera, reason=reason)
        log.info("configuration taken over", revision=followed.revision, cameras=len(followed.wishes))
        self._followed = followed
        self._post()

    async def _write(self, bucket: Bucket, write: Write) -> None:
        with suppress(Exception):  # nobody knows whether it was made: what the bucket tells counts
            revision = await bucket.write(write)
            self._heard_s = clock()
            if not self._connected:
                log.info("in the fleet", fleet=self._place.shown, gate=self._member.gate)
                self._connected, self._problem, self._told = True, None, ""
            self._member.wrote(write, revision, clock())

    async def _keep_posting(self) -> None:
        """Also while there is no connection: then terms end."""
        while True:
            self._post()
            await asyncio.sleep(LOOK_S)

    def _post(self) -> None:
        before = self._wanted
        permits = {}
        for camera, lease in self._member.watch(clock()).items():
            old = before.permits.get(camera)
            same = old is not None and old.lease == lease and old.term is self._member.term and not old.over
            permits[camera] = old if same and old is not None else TermPermit(lease, self._member.term)
        for camera, permit in before.permits.items():
            if permits.get(camera) is not permit:
                permit.over = True
        unchanged = permits.keys() == before.permits.keys() and all(
            permit is before.permits[camera] for camera, permit in permits.items()
        )
        if not unchanged or self._followed is not before.followed:
            self._wanted = Wanted(self._followed, permits)
            self.changed.set()


class NameTakenError(FleetError):
    """Another gate has this one's name."""
