"""Outputs besides workers: each has its own spool, thread and retries, so that one delays only itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Condition, Thread
from time import monotonic, time
from typing import Protocol, runtime_checkable

import msgspec
import structlog

from facegate.backoff import OUTPUT_RETRY_S, Backoff
from facegate.clock import elapsed_s
from facegate.errors import DeliveryError
from facegate.pipeline.records import FeedbackBatch, LiveTracks, Shot, TrackEnd
from facegate.sinks import wire
from facegate.sinks.base import CameraStatus, DeliveryReport, EncodedSink, TrackNews
from facegate.sinks.feedback import FeedbackQueue
from facegate.sinks.spool import TIDY_S, Spool
from facegate.sinks.wire import EncodedShot

FINAL_GRACE_S = 0.2
"""Time that a running delivery gets beyond the deadline at the end."""

log = structlog.get_logger(__name__)


class Target(Protocol):
    """Destination of a :class:`SpooledSink`."""

    name: str
    """For logs and reports; without secrets."""
    batch_size: int
    """Maximum number of shots per delivery."""

    def deliver(self, entries: Sequence[EncodedShot]) -> None:
        """Deliver shots, oldest first; they are delivered when this returns.

        Raises:
            DeliveryError: delivery failed; all of these shots are delivered again later.
        """
        ...

    def close(self) -> None:
        """Release all resources."""
        ...


@runtime_checkable
class AcceptsTrackEnds(Protocol):
    """A target whose consumers group shots into visits."""

    def ended(self, tracks: Sequence[TrackEnd]) -> None:
        """Announce that these tracks have ended.

        Raises:
            DeliveryError: delivery failed; not repeated.
        """
        ...

    def live(self, tracks: Sequence[wire.LiveTracksMessage]) -> None:
        """Announce the live tracks.

        Raises:
            DeliveryError: delivery failed; a newer report follows.
        """
        ...


@runtime_checkable
class AcceptsCameraStatus(Protocol):
    """A target that publishes camera states."""

    def cameras(self, cameras: Mapping[str, CameraStatus], *, complete: bool) -> None:
        """See :meth:`facegate.sinks.base.Sink.cameras`; called from another thread than the others."""
        ...


@runtime_checkable
class GivesFeedback(Protocol):
    """A target whose consumers recognize the shots and send feedback."""

    answers: FeedbackQueue

    def feedback(self) -> FeedbackBatch:
        """See :meth:`facegate.sinks.base.Sink.feedback`; called from another thread than the others."""
        ...


class SpooledSink:
    """Keeps shots in its spool until they are delivered. A full spool drops the oldest."""

    def __init__(self, target: Target, spool: Spool, *, hold: bool = False) -> None:
        """Start delivering what the spool holds from earlier runs; the thread closes target and spool.

        Args:
            target: the destination.
            spool: of this output alone.
            hold: deliver nothing before :meth:`start`.

        Raises:
            DeliveryError: another process delivers from this spool.
        """
        spool.lock()
        self.name = target.name
        self.target = self._target = target
        self._spool = spool
        self._changed = Condition()
        self._accepted = len(spool)
        self._delivered = self._dropped = self._bytes = 0
        self._tracks = TrackNews()
        self._tidies = 0.0
        self._deadline: float | None = None
        self._aborted = False
        self._thread = Thread(target=self._run, name=f"facegate-{target.name}", daemon=True)
        self._started = False
        if not hold:
            self.start()

    def start(self) -> None:
        """Start delivering; idempotent."""
        if not self._started:
            self._started = True
            self._thread.start()

    def rewrite(self, change: Callable[[EncodedShot], bytes | None]) -> None:
        """See :meth:`facegate.sinks.spool.Spool.rewrite`."""
        with self._changed:
            self._dropped += (gone := self._spool.rewrite(change))
            self._accepted -= gone

    def put(self, entries: Sequence[EncodedShot]) -> None:
        """See :class:`facegate.sinks.base.EncodedSink`; never blocks. Shots lost to a full disk are counted."""
        with self._changed:
            while self._spool.full and self._spool.drop_oldest() is not None:
                self._dropped += 1
                self._accepted -= 1
            try:
                self._accepted += len(self._spool.put(entries))
            except DeliveryError as error:
                self._dropped += len(entries)
                log.error("shots lost", to=self.name, shots=len(entries), reason=str(error))
            self._tracks.shots(entries)
            self._changed.notify_all()

    def ended(self, tracks: Sequence[TrackEnd]) -> None:
        """See :class:`facegate.sinks.base.EncodedSink`; announced once the spool is empty."""
        if isinstance(self._target, AcceptsTrackEnds):
            with self._changed:
                self._tracks.ended(tracks)
                self._changed.notify_all()

    def live(self, tracks: LiveTracks) -> None:
        """See :class:`facegate.sinks.base.EncodedSink`."""
        if isinstance(self._target, AcceptsTrackEnds):
            with self._changed:
                self._tracks.live(tracks)
                self._changed.notify_all()

    def cameras(self, cameras: Mapping[str, CameraStatus], *, complete: bool) -> None:
        """See :class:`facegate.sinks.base.Sink`."""
        if isinstance(self._target, AcceptsCameraStatus) and self._thread.is_alive():
            self._target.cameras(cameras, complete=complete)

    def feedback(self) -> FeedbackBatch:
        """See :class:`facegate.sinks.base.Sink`."""
        return self._target.feedback() if isinstance(self._target, GivesFeedback) else FeedbackBatch(expected=False)

    def report(self) -> DeliveryReport:
        """See :class:`facegate.sinks.base.EncodedSink`."""
        answers = self._target.answers if isinstance(self._target, GivesFeedback) else FeedbackQueue()
        with self._changed:
            waiting = self._accepted - self._delivered
            return DeliveryReport(
                answered=answers.answered,
                inconclusive=answers.inconclusive,
                invalid=answers.invalid,
                accepted=self._accepted,
                acknowledged=self._delivered,
                undelivered=waiting,
                kept=waiting,
                dropped=self._dropped,
                bytes_sent=self._bytes,
            )

    def close(self, linger_s: float) -> DeliveryReport:
        """See :class:`facegate.sinks.base.EncodedSink`."""
        deadline = self.finish(linger_s)
        if not self._started:  # held, and never started
            self._started, self._aborted = True, True
            self._thread.start()
        # A thread blocked by an unresponsive target is not waited for; its shots are in the spool.
        self._thread.join(max(0.0, deadline - monotonic()) + FINAL_GRACE_S)
        return self.report()

    def finish(self, linger_s: float) -> float:
        """Stop when all is delivered, or ``linger_s`` after the first call; return that monotonic time."""
        with self._changed:
            if self._deadline is None:
                self._deadline = monotonic() if self._aborted else monotonic() + linger_s
            self._changed.notify_all()
            return self._deadline

    def abort(self) -> None:
        """See :class:`facegate.sinks.base.EncodedSink`."""
        with self._changed:
            self._aborted = True
            self._changed.notify_all()

    def _is_over(self) -> bool:
        return self._aborted or (self._deadline is not None and monotonic() >= self._deadline)

    def _run(self) -> None:
        backoff = Backoff(OUTPUT_RETRY_S)
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(
                        lambda: (
                            self._is_over()
                            or self._deadline is not None
                            or len(self._spool) > 0
                            or len(self._tracks) > 0
                            or self._tracks.new
                        )
                    )
                    if self._is_over() or not (len(self._spool) or len(self._tracks) or self._deadline is None):
                        return
                try:
                    self._announce_tracks()
                    if not len(self._spool):
                        continue
                    self._expire()
                    entries = self._spool.after(0, self._target.batch_size)
                    self._target.deliver(entries)
                    done = self._spool.delete(entries)
                except Exception as error:  # a failing output must not stop the gate or other outputs
                    reason = str(error) if isinstance(error, DeliveryError) else repr(error)
                    wait_s = backoff.next_s()
                    log.warning("delivery failed, will retry", to=self.name, reason=reason, retry_in_s=wait_s)
                    with self._changed:
                        self._changed.wait_for(self._is_over, min(wait_s, self._left_s()))
                    continue
                backoff.reset()
                with self._changed:
                    self._delivered += done
                    self._bytes += sum(entry.size for entry in entries)
        finally:
            self._target.close()
            self._spool.close()

    def _announce_tracks(self) -> None:
        """Announce live tracks and, once the spool is empty, ended ones."""
        if not isinstance(self._target, AcceptsTrackEnds):
            return
        if not len(self._spool) and (ends := self._tracks.take_ends()):
            self._target.ended(ends)
        if live := self._tracks.take_live(monotonic()):
            self._target.live(live)

    def _expire(self) -> None:
        if not self._spool.changed_elsewhere() and monotonic() < self._tidies:
            return
        self._tidies = monotonic() + TIDY_S
        with self._changed:
            self._spool.expire(time(), elapsed_s())
            erased = self._accepted - self._delivered - len(self._spool)
            if erased:
                log.warning("shots erased", to=self.name, shots=erased)
            self._dropped += erased
            self._accepted -= erased

    def _left_s(self) -> float:
        return OUTPUT_RETRY_S[1] if self._deadline is None else max(0.0, self._deadline - monotonic())


class FanOut:
    """Delivers to workers and other outputs, or to these alone; each shot is encoded once."""

    def __init__(
        self,
        workers: EncodedSink | None,
        others: Sequence[SpooledSink] = (),
        *,
        embedding: bool = False,
        pictured: Sequence[object] | None = None,
    ) -> None:
        """Own all of them.

        Args:
            workers: may block the pipeline.
            others: never block.
            embedding: include the face template.
            pictured: those that get whole pictures; all of them by default.
        """
        self._pictured = [*others, workers] if pictured is None else list(pictured)
        self._workers = workers
        self._outputs = tuple(others)
        self._embedding = embedding

    def send(self, *shots: Shot) -> None:
        """See :class:`facegate.sinks.base.Sink`."""
        entries = [wire.pack(shot, embedding=self._embedding) for shot in shots]
        bare = [wire.without_context(entry) for entry in entries]
        for other in self._outputs:
            other.put(entries if other in self._pictured else bare)
        if self._workers is not None:
            self._workers.put(entries if self._workers in self._pictured else bare)

    def ended(self, *tracks: TrackEnd) -> None:
        """See :class:`facegate.sinks.base.Sink`."""
        for other in self._outputs:
            other.ended(tracks)
        if self._workers is not None:
            self._workers.ended(tracks)

    def live(self, tracks: LiveTracks) -> None:
        """See :class:`facegate.sinks.base.Sink`."""
        for other in self._outputs:
            other.live(tracks)
        if self._workers is not None:
            self._workers.live(tracks)

    def cameras(self, cameras: Mapping[str, CameraStatus], *, complete: bool) -> None:
        """See :class:`facegate.sinks.base.Sink`; not sent to workers."""
        for other in self._outputs:
            other.cameras(cameras, complete=complete)

    def feedback(self) -> FeedbackBatch:
        """See :class:`facegate.sinks.base.Sink`; of workers over ZeroMQ and JetStream."""
        batches = [sink.feedback() for sink in self._outputs]
        if self._workers is not None:
            batches.append(self._workers.feedback())
        return FeedbackBatch(
            expected=any(batch.expected for batch in batches),
            items=tuple(item for batch in batches for item in batch.items),
        )

    def report(self) -> DeliveryReport:
        """The workers' report, with those of the other outputs in ``outputs``."""
        report = DeliveryReport() if self._workers is None else self._workers.report()
        return msgspec.structs.replace(report, outputs={other.name: other.report() for other in self._outputs})

    def close(self, linger_s: float) -> DeliveryReport:
        """See :class:`facegate.sinks.base.Sink`; all outputs finish concurrently."""
        for other in self._outputs:
            other.finish(linger_s)
        try:
            report = DeliveryReport() if self._workers is None else self._workers.close(linger_s)
        finally:
            outputs = {other.name: other.close(linger_s) for other in self._outputs}
        return msgspec.structs.replace(report, outputs=outputs)

    def abort(self) -> None:
        """See :class:`facegate.sinks.base.Sink`."""
        for other in self._outputs:
            other.abort()
        if self._workers is not None:
            self._workers.abort()
