"""Delivery to workers: a ZeroMQ ROUTER with credit-based flow control (after the Majordomo pattern).

A worker (DEALER) opens a window, the maximum number of shots in flight to it, and acknowledges each by its id. A
shot that is not acknowledged within its lease, or whose worker leaves or falls silent, returns to the front of the
queue; a duplicate has the same id. One thread owns the socket; ``put`` hands over through a bounded queue.
"""

from __future__ import annotations

import contextlib
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from threading import Condition, Thread
from time import monotonic, time

import structlog
import zmq

from facegate.clock import elapsed_s
from facegate.errors import DeliveryError
from facegate.pipeline.records import FeedbackBatch, LiveTracks, TrackEnd
from facegate.sinks import wire
from facegate.sinks.base import DeliveryReport, TrackNews
from facegate.sinks.feedback import FeedbackQueue
from facegate.sinks.rate_limited_log import RateLimitedLog
from facegate.sinks.spool import TIDY_S, Spool, WhenFull
from facegate.sinks.wire import EncodedShot
from facegate.sinks.worker_pool import MINUTE_S, WORKER_TIMEOUT_S, MessageRateLimiter, WorkerPool
from facegate.sinks.zmq_socket import BoundSocket, WakeupPipe

LEASE_S = 30.0
TICK_MS = 200
MAX_MESSAGES_PER_TICK = 1000
"""Messages read before shots are sent again: a flood does not starve the workers."""
DEPRIORITIZE_AFTER = 3
"""Returns after which a shot goes to the end of the queue: it may be what crashes its workers."""
DEAD_LETTER_AFTER = 10
"""Returns after which a shot becomes a dead letter in the spool."""
MAX_LATENCY_MS = 3_600_000.0
BATCH = 256
"""Shots read from the spool at a time."""

log = structlog.get_logger(__name__)


class ZmqSink:
    """Delivers shots to any number of workers; see :mod:`facegate.sinks.wire` for the messages."""

    def __init__(
        self,
        endpoint: str,
        *,
        max_pending: int = 1000,
        lease_s: float = LEASE_S,
        spool: Spool | None = None,
        when_full: WhenFull = "block",
        keys: Path | None = None,
        allow_insecure: bool = False,
    ) -> None:
        """Bind at once.

        Args:
            endpoint: where workers connect.
            max_pending: maximum number of shots in memory; ``put`` blocks while there are more.
            lease_s: a shot that is not acknowledged within this time goes to another worker.
            spool: keeps shots on disk until they are acknowledged; the sink closes it. Its shots of earlier runs
                are delivered too.
            when_full: policy for a full spool: ``block`` waits, ``drop_oldest`` deletes and counts, ``stop``
            raises.
            keys: folder of ``facegate keys``: encrypts, and admits known workers only.
            allow_insecure: allow an endpoint beyond loopback without keys.

        Raises:
            DeliveryError: the endpoint cannot be bound, or would expose faces unencrypted, or another gate delivers
                from this spool.
            ConfigError: the folder of keys holds no valid key.
        """
        if spool is not None:
            spool.lock()
        self._spool = spool
        self._when_full = when_full
        self._loaded = 0
        """Row up to which shots have been loaded from the spool."""
        self._newest = 0 if spool is None else spool.newest
        self._tidies = 0.0
        self._done: list[EncodedShot] = []
        self._dropped = self._dead = self._acknowledged = self._redelivered = self._bytes = 0
        self._max_pending = max_pending
        self._changed = Condition()
        self._pending: deque[EncodedShot] = deque()
        self._tracks = TrackNews()
        self._returns: Counter[str] = Counter()
        self._workers = WorkerPool(lease_s)
        self._rate_limiter = MessageRateLimiter()
        self._accepted = len(spool) if spool is not None else 0
        if spool is not None and len(spool):
            log.info("delivering shots of an earlier run", shots=len(spool))
        self._recognition_ms = 0.0
        self._feedback = FeedbackQueue()
        self._aborted = False
        self._deadline: float | None = None
        self._failure: BaseException | None = None
        self._refusals = RateLimitedLog()
        self._bound = BoundSocket(
            zmq.ROUTER,
            endpoint,
            keys=keys,
            allow_insecure=allow_insecure,
            # Sending to a worker that is gone must raise.
            options={zmq.ROUTER_MANDATORY: 1, zmq.MAXMSGSIZE: wire.MAX_WORKER_MESSAGE_BYTES},
        )
        self._router = self._bound.socket
        self.endpoint = self._bound.endpoint
        self._wakeup = WakeupPipe()
        self._thread = Thread(target=self._serve, name="zmq-gate", daemon=True)
        self._thread.start()

    def put(self, entries: Sequence[EncodedShot]) -> None:
        """See :class:`facegate.sinks.base.EncodedSink`; may exceed a full queue by the shots of one call."""
        with self._changed:
            self._changed.wait_for(lambda: self._aborted or self._failure is not None or self._has_room())
            if self._failure is not None:
                raise DeliveryError(f"delivery failed: {self._failure}") from self._failure
            if self._aborted:
                raise DeliveryError("delivery was aborted before this shot was queued")
            if self._spool is None:
                self._pending.extend(entries)
                self._accepted += len(entries)
        self._tracks.shots(entries)
        if self._spool is not None:
            self._spool_shots(self._spool, entries)
        self._wakeup.wake()

    def ended(self, tracks: Sequence[TrackEnd]) -> None:
        """See :class:`facegate.sinks.base.EncodedSink`."""
        self._tracks.ended(tracks)
        self._wakeup.wake()

    def live(self, tracks: LiveTracks) -> None:
        """See :class:`facegate.sinks.base.EncodedSink`."""
        self._tracks.live(tracks)  # announced at the next tick

    def feedback(self) -> FeedbackBatch:
        """See :class:`facegate.sinks.base.EncodedSink`."""
        return self._feedback.fetch()

    def _spool_shots(self, spool: Spool, entries: Sequence[EncodedShot]) -> None:
        """Commit shots; those that fit are kept in memory too, the rest is read back later."""
        added = spool.put(entries)
        if not added:
            return
        with self._changed:
            self._accepted += len(added)
            if self._loaded >= self._newest and len(self._pending) < BATCH:
                # The serving thread may have read some of them back already.
                self._pending.extend(entry for entry in added if entry.row > self._loaded)
                self._loaded = added[-1].row
            self._newest = added[-1].row

    def _has_room(self) -> bool:
        """Whether a shot can be accepted; drops old ones or raises where the policy for a full spool demands it."""
        if self._spool is None:
            return len(self._pending) < self._max_pending
        if not self._spool.full:
            return True
        if self._when_full == "stop":
            raise DeliveryError(
                f"the spool is full ({self._spool.bytes} of {self._spool.max_bytes} bytes): start workers, or "
                "raise delivery.spool.max_mb"
            )
        if self._when_full == "block":
            return False
        while self._spool.full and (dropped := self._spool.drop_oldest()) is not None:
            self._dropped += 1
            self._accepted -= 1
            self._returns.pop(dropped, None)
            self._pending = deque(entry for entry in self._pending if entry.shot_id != dropped)
        return True

    def close(self, linger_s: float) -> DeliveryReport:
        """See :class:`facegate.sinks.base.EncodedSink`."""
        with self._changed:
            self._deadline = monotonic() + linger_s
            waiting, workers = self._accepted - self._acknowledged, len(self._workers)
        if waiting and linger_s > 1:
            log.info("waiting for acknowledgements", shots=waiting, workers=workers, seconds=linger_s)
        self._wakeup.wake()
        self._thread.join()
        self._wakeup.close()
        if self._failure is not None:
            raise DeliveryError(f"delivery failed: {self._failure}") from self._failure
        return self.report()

    def abort(self) -> None:
        """See :class:`facegate.sinks.base.EncodedSink`."""
        with self._changed:
            self._aborted = True
            self._changed.notify_all()
        self._wakeup.wake()

    def report(self) -> DeliveryReport:
        """See :class:`facegate.sinks.base.EncodedSink`."""
        with self._changed:
            return DeliveryReport(
                accepted=self._accepted,
                acknowledged=self._acknowledged,
                undelivered=self._accepted - self._acknowledged,
                redelivered=self._redelivered,
                answered=self._feedback.answered,
                inconclusive=self._feedback.inconclusive,
                invalid=self._feedback.invalid,
                bytes_sent=self._bytes,
                recognition_ms=round(self._recognition_ms, 3),
                dropped=self._dropped,
                dead_lettered=self._dead,
                kept=0 if self._spool is None else self._accepted - self._acknowledged,
            )

    def _serve(self) -> None:
        try:
            poller = zmq.Poller()
            poller.register(self._router, zmq.POLLIN)
            poller.register(self._wakeup, zmq.POLLIN)
            monitor = self._bound.monitor
            if monitor is not None:
                poller.register(monitor, zmq.POLLIN)
            while not self._finished():
                events = dict(poller.poll(TICK_MS))
                if self._wakeup.fileno() in events:
                    self._wakeup.drain()
                if self._router in events:
                    self._receive_all()
                if monitor in events:
                    self._bound.log_refusals()
                self._reclaim(monotonic())
                self._feedback.expect(self._workers.has_feedback_worker)
                self._settle()
                self._dispatch(monotonic())
                self._announce_tracks(monotonic())
            self._broadcast(list(self._workers), wire.END)
        except BaseException as error:  # kept for the owner, who raises it
            with self._changed:
                self._failure = error
                self._changed.notify_all()
        finally:
            self._bound.close()
            if self._spool is not None:
                self._settle()
                self._spool.close()

    def _settle(self) -> None:
        """Delete acknowledged shots from the spool, and load the next ones."""
        if self._spool is None:
            return
        done, self._done = self._done, []
        removed = self._spool.delete(done)
        with self._changed:
            # A shot dropped while a worker had it counts as dropped.
            self._acknowledged += removed
            if done:
                self._changed.notify_all()
        self._expire(self._spool)
        with self._changed:
            if len(self._pending) < BATCH and self._loaded < self._newest:
                fetched = self._spool.after(self._loaded, BATCH)
                self._pending.extend(fetched)
                self._loaded = fetched[-1].row if fetched else self._newest

    def _expire(self, spool: Spool) -> None:
        if not spool.changed_elsewhere() and monotonic() < self._tidies:
            return
        self._tidies = monotonic() + TIDY_S
        spool.expire(time(), elapsed_s())
        with self._changed:
            # Committed shots may not be counted as accepted yet: the next call corrects that.
            if not (erased := max(0, self._accepted - self._acknowledged - len(spool))):
                return
            log.warning("shots erased", to="workers", shots=erased)
            self._dropped += erased
            self._accepted -= erased
            self._pending = deque(entry for entry in self._pending if spool.contains(entry))
            self._changed.notify_all()

    def _finished(self) -> bool:
        with self._changed:
            if self._aborted or self._deadline is None:
                return self._aborted
            return self._accepted == self._acknowledged or monotonic() >= self._deadline

    def _receive_all(self) -> None:
        now = monotonic()
        for _ in range(MAX_MESSAGES_PER_TICK):
            try:
                identity, *frames = self._router.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if self._rate_limiter.is_blocked(identity, now):
                continue
            acknowledged = False
            try:
                acknowledged = self._handle(identity, frames, now)
            except DeliveryError as error:
                self._refusals.warn("message", identity.hex(), str(error))
            if not acknowledged and self._rate_limiter.record(identity, now):
                log.warning("peer exceeded the message rate limit", peer=identity.hex()[:8], ignored_for_s=MINUTE_S)
                self._requeue(self._workers.remove(identity))

    def _handle(self, identity: bytes, frames: list[bytes], now: float) -> bool:
        """Handle a message; return whether it acknowledged a shot assigned to this peer."""
        kind, body = frames[0] if frames else b"", frames[1] if len(frames) == 2 else b""
        if kind == wire.ACK:
            return self._acknowledge(identity, wire.decode(body, wire.Ack), now)
        if kind == wire.READY:
            self._workers.ready(identity, wire.decode(body, wire.Ready), now)
        elif kind == wire.BYE:
            self._requeue(self._workers.remove(identity))
        else:
            raise DeliveryError(f"unknown message kind {kind[:16]!r}")
        return False

    def _acknowledge(self, identity: bytes, ack: wire.Ack, now: float) -> bool:
        entry = self._workers.acknowledge(identity, ack.shot_id, now)
        if entry is None:
            return False  # late: the lease expired, and another worker has the shot
        self._feedback.put(ack)
        if self._spool is not None:
            self._done.append(entry)  # counted when it is deleted
        with self._changed:
            self._acknowledged += self._spool is None
            self._recognition_ms += min(max(0.0, ack.latency_ms), MAX_LATENCY_MS)
            self._returns.pop(entry.shot_id, None)
        return True

    def _reclaim(self, now: float) -> None:
        for identity in self._workers.timed_out(now):
            log.warning("worker timed out", peer=identity.hex(), timeout_s=WORKER_TIMEOUT_S)
            self._requeue(self._workers.remove(identity))
        self._requeue(self._workers.expired_leases(now))

    def _requeue(self, entries: list[EncodedShot]) -> None:
        """Queue shots taken back from workers, except those erased or dropped meanwhile."""
        entries = [entry for entry in entries if self._spool is None or self._spool.contains(entry)]
        if not entries:
            return
        with self._changed:
            self._redelivered += len(entries)
            for entry in reversed(entries):
                self._returns[entry.shot_id] += 1
                if self._returns[entry.shot_id] >= DEAD_LETTER_AFTER and self._dead_letter(entry):
                    continue
                if self._returns[entry.shot_id] < DEPRIORITIZE_AFTER:
                    self._pending.appendleft(entry)
                else:
                    self._pending.append(entry)

    def _dead_letter(self, entry: EncodedShot) -> bool:
        """Move a shot to the spool's dead letters; return whether that was possible."""
        if self._spool is None or not self._spool.dead_letter(entry):
            return False
        log.error("shot never acknowledged, dead-lettered", shot_id=entry.shot_id, attempts=DEAD_LETTER_AFTER)
        self._dead += 1
        self._accepted -= 1
        self._returns.pop(entry.shot_id)
        self._changed.notify_all()
        return True

    def _announce_tracks(self, now: float) -> None:
        """Announce live tracks, and ended ones once all of their shots are acknowledged."""
        with self._changed:
            behind = self._spool is not None and self._loaded < self._newest
            waiting = {(entry.camera, entry.track_id) for entry in self._pending} | self._workers.in_flight()
        for end in self._tracks.take_ends(lambda end: not behind and (end.camera, end.track_id) not in waiting):
            body = wire.encode(wire.TrackEnded(end.run_id, end.camera, end.track_id, end.pts_s))
            self._broadcast(self._workers.visit_workers(), wire.ENDED, body)
        for live in self._tracks.take_live(now):
            self._broadcast(self._workers.live_workers(), wire.LIVE, wire.encode(live))

    def _broadcast(self, peers: Sequence[bytes], *frames: bytes) -> None:
        for identity in peers:
            with contextlib.suppress(zmq.ZMQError):  # gone, or not reading: its timeout handles that
                self._router.send_multipart([identity, *frames], zmq.NOBLOCK)

    def _dispatch(self, now: float) -> None:
        """Send shots while a worker has credit."""
        while True:
            with self._changed:
                identity = self._workers.assign(self._pending[0], now) if self._pending else None
                if identity is None:
                    return
                entry = self._pending.popleft()
                self._bytes += entry.size
                self._changed.notify_all()
            try:
                self._router.send_multipart([identity, wire.SHOT, entry.header, *entry.pictures], zmq.NOBLOCK)
            except zmq.ZMQError as error:
                if error.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                    raise
                # Disconnected, or not reading: not a worker until its next READY.
                self._requeue(self._workers.remove(identity))
