"""The recognition worker: receives shots, embeds, matches, writes JSON lines of shots and visits, acknowledges."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event
from time import monotonic, perf_counter, time
from typing import IO

import msgspec
import structlog
import zmq

from facegate.errors import DeliveryError, GalleryError
from facegate.pipeline.records import Box, Floats, Image
from facegate.recognition.embedders import Embedder, recogniser_id
from facegate.recognition.matching.gallery import Gallery, Match, Rule
from facegate.recognition.people.unknowns import Unknowns
from facegate.recognition.working.metrics import WorkerMetrics
from facegate.recognition.working.visits import VisitEvent, VisitKey, Visits, visit_key
from facegate.sinks import wire
from facegate.sinks.keys import KeyFile, load_key

HEARTBEAT_S = 1.0
POLL_MS = 100
WINDOW = 8
REMEMBERED = 10_000
"""Shot ids kept to recognise duplicates by."""

log = structlog.get_logger(__name__)


class Result(msgspec.Struct, frozen=True, tag_field="event", tag="shot", omit_defaults=True):
    """One recognised (or unknown) shot by itself: a line of the output; see :class:`VisitEvent` for the others."""

    shot_id: str
    camera: str
    track_id: int
    name: str | None
    similarity: float
    quality: int
    latency_ms: float
    pts_s: float
    rank: int
    box: Box
    lease: int = 0
    """Of a gate in a fleet; where another shot of the camera has a higher one, that gate had the camera before."""


class _Face(msgspec.Struct, frozen=True, eq=False):
    """The best of a visit so far."""

    header: wire.ShotHeader
    crop: Image
    embedding: Floats


class Recognizer:
    """Names the person of each shot and writes a line for it; a shot that comes twice is written once."""

    def __init__(
        self,
        gallery: Callable[[], Gallery],
        embedder: Embedder,
        rule: Rule,
        output: IO[str] = sys.stdout,
        unknowns: Unknowns | None = None,
        tell: Callable[[Sequence[VisitEvent]], None] | None = None,
    ) -> None:
        """Configure.

        Args:
            gallery: what to compare with; it may change.
            embedder: how.
            rule: who is named.
            output: where lines go.
            unknowns: keeps the best face of visits without a name; its owner closes it.
            tell: takes the events of visits to other places.
        """
        self._gallery = gallery
        self._embedder = embedder
        self._rule = rule
        self._recogniser = recogniser_id(embedder)
        self._visits = Visits(gallery, rule)
        self._output = output
        self._unknowns = unknowns
        self._elsewhere = tell
        self._best: dict[VisitKey, _Face] = {}
        self._seen: OrderedDict[str, wire.Ack] = OrderedDict()
        self.results = 0
        self.named = 0
        self.metrics = WorkerMetrics(lambda: len(gallery().names))

    def answer(self, shots: Sequence[tuple[wire.ShotHeader, bytes]]) -> list[wire.Ack | DeliveryError]:
        """Recognise shots, together; return their receipts.

        A crop that cannot be read gets an error instead: sent again, it would be as damaged.
        """
        started = perf_counter()
        results: list[DeliveryError | None] = [None] * len(shots)
        new: dict[str, tuple[wire.ShotHeader, Image]] = {}
        for index, (header, crop) in enumerate(shots):
            try:
                if header.shot_id in self._seen or header.shot_id in new:
                    self.metrics.shots.labels("duplicate").inc()
                else:
                    new[header.shot_id] = header, wire.unpack_crop(header, crop)
            except DeliveryError as error:
                self.metrics.shots.labels("invalid").inc()
                results[index] = error
        embeddings = self._embedder.embed([crop for _, crop in new.values()])
        for (header, _), embedding in zip(new.values(), embeddings, strict=True):
            match = self._gallery().match(embedding, self._rule)
            self._remember(header, new[header.shot_id][1], embedding)
            events = self._visits.shot(header, embedding, match, monotonic())
            latency_ms = round((perf_counter() - started) * 1000 / len(new), 3)
            self._write(header, match.name, match.similarity, latency_ms)
            self._tell(events)
            self._seen[header.shot_id] = self._receipt(header, match, latency_ms)
            if len(self._seen) > REMEMBERED + len(shots):
                self._seen.popitem(last=False)
        return [
            self._seen[header.shot_id] if result is None else result
            for result, (header, _) in zip(results, shots, strict=True)
        ]

    def health(self) -> tuple[bool, bytes]:
        """Return the answer of ``/healthz``: a worker that runs is healthy."""
        found = {"ok": True, "people": len(self._gallery().names), "shots": self.results, "named": self.named}
        return True, msgspec.json.encode(found)

    def ended(self, end: wire.Ended) -> None:
        """A track is over."""
        self._visits.ended(end, monotonic())

    def tend(self) -> None:
        """End visits that are over; to be called now and then."""
        self._tell(self._visits.over(monotonic()))

    def finish(self) -> None:
        """End all visits."""
        self._tell(self._visits.finish())

    def _receipt(self, header: wire.ShotHeader, match: Match, latency_ms: float) -> wire.Ack:
        named, sure = self._visits.standing(header)
        answer = wire.AnswerBlock(named, sure, match.similarity, match.second, self._recogniser)
        return wire.Ack(header.shot_id, latency_ms, answer)

    def _remember(self, header: wire.ShotHeader, crop: Image, embedding: Floats) -> None:
        key = visit_key(header)
        known = self._best.get(key)
        if self._unknowns is not None and (known is None or header.quality.value > known.header.quality.value):
            self._best[key] = _Face(header, crop, embedding)

    def _keep_unknown(self, event: VisitEvent) -> None:
        face = self._best.pop(event.key, None)
        if self._unknowns is None or face is None or event.name is not None:
            return
        header = face.header
        seen = time() if header.received_at is None else header.received_at
        version = self._embedder.version
        try:
            self._unknowns.keep(
                event.visit, header.camera, seen, header.quality.value, face.crop, version, face.embedding
            )
        except GalleryError as error:
            log.error("unknown face not kept", visit=event.visit, reason=str(error))

    def _tell(self, events: Sequence[VisitEvent]) -> None:
        for event in events:
            self.metrics.visit_events.labels(event.event).inc()
            if event.event == "ended":
                self._keep_unknown(event)
            self._output.write(msgspec.json.encode(event).decode() + "\n")
        if events:
            self._output.flush()
            if self._elsewhere is not None:
                self._elsewhere(events)

    def _write(self, header: wire.ShotHeader, name: str | None, similarity: float, latency_ms: float) -> None:
        result = Result(
            shot_id=header.shot_id,
            camera=header.camera,
            track_id=header.track_id,
            name=name,
            similarity=round(similarity, 4),
            quality=header.quality.value,
            latency_ms=latency_ms,
            pts_s=round(header.pts_s, 3),
            rank=header.rank,
            box=tuple(round(value, 1) for value in header.box),  # type: ignore[arg-type]
        )
        self._output.write(msgspec.json.encode(result).decode() + "\n")
        self._output.flush()
        self.results += 1
        self.named += name is not None
        self.metrics.shots.labels("unknown" if name is None else "named").inc()
        self.metrics.duration.observe(latency_ms / 1000)


class _Gate:
    """The worker's end of one gate."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, own: KeyFile | None) -> None:
        self.endpoint = endpoint
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 500)
        self.socket.setsockopt(zmq.RECONNECT_IVL, 100)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2000)
        self.socket.setsockopt(zmq.MAXMSGSIZE, wire.MAX_CONTEXT_BYTES)
        self.socket.setsockopt(zmq.IPV6, endpoint.startswith("tcp://["))
        if own is not None:
            self.socket.curve_publickey = own.public.encode()
            self.socket.curve_secretkey = own.secret.encode()
            self.socket.curve_serverkey = own.gate.encode()
        try:
            self.socket.connect(endpoint)
        except zmq.ZMQError as error:
            raise DeliveryError(f"cannot connect to {endpoint}: use tcp://HOST:PORT") from error

    def waiting(self, most: int) -> Iterator[list[bytes]]:
        """Messages that have come, at most so many."""
        for _ in range(most):
            try:
                yield self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return

    def send(self, kind: bytes, body: bytes) -> None:
        # Without a gate the queue would fill with heartbeats; a full one needs no more of them.
        try:
            self.socket.send_multipart([kind, body], zmq.NOBLOCK)
        except zmq.Again:
            log.debug("gate not reachable, message dropped", gate=self.endpoint, kind=kind.decode())


class _Given(msgspec.Struct, frozen=True, eq=False):
    """A shot, and where its receipt goes."""

    gate: _Gate
    header: wire.ShotHeader
    crop: bytes


class Worker:
    """Connects to gates and answers their shots in turn until stopped."""

    def __init__(self, endpoints: Sequence[str], recognizer: Recognizer, key: Path | None = None) -> None:
        """Connect (ZeroMQ keeps trying until the gates are there).

        Args:
            endpoints: of the gates.
            recognizer: does the work.
            key: this worker's key, the same for all gates.

        Raises:
            DeliveryError: an endpoint is malformed.
            ConfigError: ``key`` is not a worker's key.
        """
        own = None if key is None else load_key(key, secret=True, gate=True)
        self._recognizer = recognizer
        self._context = zmq.Context()
        try:
            self._gates = [_Gate(self._context, endpoint, own) for endpoint in endpoints]
        except DeliveryError:
            self._context.destroy(linger=0)
            raise

    def run(self, stop: Event, *, once: bool = False) -> None:
        """Serve until ``stop``; with ``once``, until every gate has said that its run has ended."""
        poller, gates = zmq.Poller(), {gate.socket: gate for gate in self._gates}
        for gate in self._gates:
            poller.register(gate.socket, zmq.POLLIN)
        running, beat = set(self._gates), 0.0
        try:
            while not stop.is_set() and (running or not once):
                if monotonic() >= beat:
                    for gate in self._gates:
                        gate.send(wire.READY, wire.encode(wire.Ready(WINDOW, visits=True, answers=True)))
                    beat = monotonic() + HEARTBEAT_S
                    self._recognizer.tend()
                shots: list[_Given] = []
                for socket, _ in poller.poll(POLL_MS):
                    gate = gates[socket]
                    for frames in gate.waiting(WINDOW - len(shots)):
                        if frames[:1] == [wire.END]:
                            log.info("the gate ended its run", gate=gate.endpoint)
                            running.discard(gate)
                            continue
                        running.add(gate)  # it may have come back
                        shots += self._take(gate, frames)
                self._answer(shots)
            for gate in running:
                gate.send(wire.BYE, b"")
        finally:
            self._recognizer.finish()
            self._context.destroy(linger=500)

    def _take(self, gate: _Gate, frames: list[bytes]) -> list[_Given]:
        """The shot in a message, if it is one."""
        try:
            if len(frames) == 2 and frames[0] == wire.ENDED:
                self._recognizer.ended(wire.decode(frames[1], wire.Ended))
                return []
            if len(frames) < 3 or frames[0] != wire.SHOT:
                raise DeliveryError(f"unexpected message of {len(frames)} parts")
            return [_Given(gate, wire.decode_header(frames[1]), frames[2])]
        except DeliveryError as error:
            self._recognizer.metrics.messages_rejected.inc()
            log.error("message refused", gate=gate.endpoint, reason=str(error))
            return []

    def _answer(self, shots: Sequence[_Given]) -> None:
        """Recognise what waits together, and acknowledge it."""
        answers = self._recognizer.answer([(given.header, given.crop) for given in shots]) if shots else []
        for given, answer in zip(shots, answers, strict=True):
            receipt = answer
            if isinstance(receipt, DeliveryError):
                # Acknowledged all the same: sent again, it would be as damaged.
                log.error("shot refused", shot_id=given.header.shot_id, reason=str(receipt))
                receipt = wire.Ack(given.header.shot_id, 0.0)
            given.gate.send(wire.ACK, wire.encode(receipt))
