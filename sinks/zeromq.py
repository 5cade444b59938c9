"""The gate's end of delivery: a ZeroMQ ROUTER that gives shots to workers by credit (after the Majordomo pattern).

A worker (DEALER) opens a window, the gate never has more shots in flight to it than that, and each shot is
acknowledged by its id. A shot that is not acknowledged within its lease, or whose worker says goodbye or falls
silent, goes back to the front of the queue; a duplicate carries the same id. One thread owns the socket;
``put`` hands over through a bounded queue.
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
from facegate.sinks.worker_pool import WORKER_TIMEOUT_S, MessageRateLimiter, WorkerPool
from facegate.sinks.zmq_socket import BoundSocket, WakeupPipe

LEASE_S = 30.0
TICK_MS = 200
MAX_MESSAGES_PER_TICK = 1000
"""Messages read before shots are sent again: a flood of them does not starve the others."""
DEPRIORITIZE_AFTER = 3
"""A shot that has come back so often goes behind the others: it may be what its workers die of."""
DEAD_LETTER_AFTER = 10
"""A shot that has come back so often is put aside in the spool."""
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
            max_pending: shots kept in memory; ``send`` waits while there are more.
            lease_s: a shot that is not acknowledged within this time goes to another worker.
            spool: keeps shots on disk until they are acknowledged; the sink closes it. What it holds from earlier
                runs is delivered too.
            when_full: of a spool: ``block`` waits, ``drop_oldest`` deletes and counts, ``stop`` raises.
            keys: folder of ``facegate keys``: what leaves is encrypted, and only known workers get in.
            allow_insecure: allow an endpoint beyond loopback without keys.

        Raises:
            DeliveryError: the endpoint cannot be bound, or would show faces to anybody, or another gate delivers
                from this spool.
            ConfigError: the folder of keys holds none.
        """
        if spool is not None:
            spool.lock()
        self._spool = spool
        self._when_full = when_full
        self._loaded = 0
        """Row up to which shots were taken from the spool."""
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
        self._patience = MessageRateLimiter()
        self._accepted = len(spool) if spool is not None else 0
        if spool is not None and len(spool):
            log.info("shots of an earlier run will be delivered", shots=len(spool))
        self._recognition_ms = 0.0
        self._answers = FeedbackQueue()
        self._aborted = False
        self._deadline: float | None = None
        self._failure: BaseException | None = None
        self._refusals = RateLimitedLog()
        self._bound = BoundSocket(
            zmq.ROUTER,
            endpoint,
            keys=keys,
            allow_insecure=allow_insecure,
            # A worker that is gone is to be an error, not silence.
            options={zmq.ROUTER_MANDATORY: 1, zmq.MAXMSGSIZE: wire.MAX_WORD_BYTES},
        )
        self._router = self._bound.socket
        self.endpoint = self._bound.endpoint
        self._bell = WakeupPipe()
        self._thread = Thread(target=self._serve, name="zmq-gate", daemon=True)
        self._thread.start()

    def put(self, entries: Sequence[EncodedShot]) -> None:
        """See :class:`facegate.sinks.base.EncodedSink`; a full queue is overstepped by at most the shots of one call."""
        with self._changed:
            self._changed.wait_for(lambda: self._aborted or self._failure is not None or self._has_room())
            if self._failure is not None:
                raise DeliveryError(f"delivery has failed: {self._failure}") from self._failure
            if self._aborted:
                raise DeliveryError("delivery was stopped before this shot could be queued")
            if self._spool is None:
                self._pending.extend(entries)
                self._accepted += len(entries)
        self._tracks.shots(entries)
        if self._spool is not None:
            self._spool_shots(self._spool, entries)
        self._bell.wake()

    def ended(self, tracks: Sequence[TrackEnd]) -> None:
        """See :class:`facegate.sinks.base.EncodedSink`."""
        self._tracks.ended(tracks)
        self._bell.wake()

    def live(self, tracks: LiveTracks) -> None:
        """See :class:`facegate.sinks.base.EncodedSink`."""
        self._tracks.live(tracks)  # told at the next tick

    def feedback(self) -> FeedbackBatch:
        """See :class:`facegate.sinks.base.EncodedSink`."""
        return self._answers.fetch()

    def _spool_shots(self, spool: Spool, entries: Sequence[EncodedShot]) -> None:
        """Commit, and leave what memory has room for to be sent from there; the rest is read back in its turn."""
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
        """Whether a shot can be taken; makes room or refuses where the policy says so."""
        if self._spool is None:
            return len(self._pending) < self._max_pending
        if not self._spool.full:
            return True
        if self._when_full == "stop":
            raise DeliveryError(
                f"the spool holds {self._spool.bytes} bytes of at most {self._spool.max_bytes}: start workers, or "
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
        self._bell.wake()
        self._thread.join()
        self._bell.close()
        if self._failure is not None:
            raise DeliveryError(f"delivery has failed: {self._failure}") from self._failure
        return self.report()

    def abort(self) -> None:
        """See :class:`facegate.sinks.base.EncodedSink`."""
        with self._changed:
            self._aborted = True
            self._changed.notify_all()
        self._bell.wake()

    def report(self) -> DeliveryReport:
        """Return the counts so far."""
        with self._changed:
            return DeliveryReport(
                accepted=self._accepted,
                acknowledged=self._acknowledged,
                undelivered=self._accepted - self._acknowledged,
                redelivered=self._redelivered,
                answered=self._answers.answered,
                inconclusive=self._answers.unsure,
                invalid=self._answers.odd,
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
            poller.register(self._bell, zmq.POLLIN)
            monitor = self._bound.monitor
            if monitor is not None:
                poller.register(monitor, zmq.POLLIN)
            while not self._finished():
                events = dict(poller.poll(TICK_MS))
                if self._bell.fileno() in events:
                    self._bell.drain()
                if self._router in events:
                    self._receive_all()
                if monitor in events:
                    self._bound.log_refusals()
                self._reclaim(monotonic())
                self._answers.expect(self._workers.has_feedback_worker)
                self._settle()
                self._dispatch(monotonic())
                self._tell_tracks(monotonic())
            self._tell(list(self._workers), wire.END)
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
        """Delete from the spool what was acknowledged, and fetch what is to be sent next."""
        if self._spool is None:
            return
        done, self._done = self._done, []
        removed = self._spool.delete(done)
        with self._changed:
            # One that was dropped while a worker had it counts as dropped.
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
            # Shots may be committed that are not counted as accepted yet: then the next time tells.
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
            if self._patience.is_blocked(identity, now):
                continue
            receipt = False
            try:
                receipt = self._handle(identity, frames, now)
            except DeliveryError as error:
                self._refusals.warn("message refused", identity.hex(), str(error))
            if not receipt and self._patience.record(identity, now):
                log.warning("peer says too much and is not listened to for a minute", peer=identity.hex()[:8])
                self._requeue(self._workers.remove(identity))

    def _handle(self, identity: bytes, frames: list[bytes], now: float) -> bool:
        """Do what a peer says; return whether it was the receipt of a shot that it had."""
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
            return False  # late, for a shot whose lease ran out: someone else has it now
        self._answers.put(ack)
        if self._spool is not None:
            self._done.append(entry)  # counted when it is deleted
        with self._changed:
            self._acknowledged += self._spool is None
            self._recognition_ms += min(max(0.0, ack.latency_ms), MAX_LATENCY_MS)
            self._returns.pop(entry.shot_id, None)
        return True

    def _reclaim(self, now: float) -> None:
        for identity in self._workers.timed_out(now):
            log.warning("worker silent", peer=identity.hex(), seconds=WORKER_TIMEOUT_S)
            self._requeue(self._workers.remove(identity))
        self._requeue(self._workers.expired_leases(now))

    def _requeue(self, entries: list[EncodedShot]) -> None:
        """Take shots back that somebody had, but for those that were erased or dropped meanwhile."""
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
        """Put a shot aside, where there is a spool to keep it; return whether that was done."""
        if self._spool is None or not self._spool.dead_letter(entry):
            return False
        log.error("shot put aside: nobody acknowledges it", shot_id=entry.shot_id, times=DEAD_LETTER_AFTER)
        self._dead += 1
        self._accepted -= 1
        self._returns.pop(entry.shot_id)
        self._changed.notify_all()
        return True

    def _tell_tracks(self, now: float) -> None:
        """Tell which tracks live, and of those that have ended once all of their shots were acknowledged."""
        with self._changed:
            behind = self._spool is not None and self._loaded < self._newest
            waiting = {(entry.camera, entry.track_id) for entry in self._pending} | self._workers.in_flight()
        for end in self._tracks.take_ends(lambda end: not behind and (end.camera, end.track_id) not in waiting):
            body = wire.encode(wire.TrackEnded(end.run_id, end.camera, end.track_id, end.pts_s))
            self._tell(self._workers.visit_workers(), wire.ENDED, body)
        for live in self._tracks.take_live(now):
            self._tell(self._workers.wanting_live(), wire.LIVE, wire.encode(live))

    def _tell(self, peers: Sequence[bytes], *frames: bytes) -> None:
        for identity in peers:
            with contextlib.suppress(zmq.ZMQError):  # gone, or reads nothing: it has a time-out of its own
                self._router.send_multipart([identity, *frames], zmq.NOBLOCK)

    def _dispatch(self, now: float) -> None:
        """Send while somebody has credit."""
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
                # Its connection is gone, or it reads nothing: it is not a worker until it says READY again.
                self._requeue(self._workers.remove(identity))
