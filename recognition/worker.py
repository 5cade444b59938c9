"""The recognition worker: receives shots, embeds, matches, writes one JSON line per shot, acknowledges."""

from __future__ import annotations

import sys
from collections import OrderedDict
from pathlib import Path
from threading import Event
from time import monotonic, perf_counter
from typing import IO

import msgspec
import structlog
import zmq

from facegate.errors import DeliveryError
from facegate.pipeline.records import Box
from facegate.recognition.embedders import Embedder
from facegate.recognition.gallery import Gallery
from facegate.sinks import wire
from facegate.sinks.keys import load_key

HEARTBEAT_S = 1.0
POLL_MS = 100
WINDOW = 8
REMEMBERED = 10_000
"""Shot ids kept to recognise duplicates by."""

log = structlog.get_logger(__name__)


class Result(msgspec.Struct, frozen=True):
    """One recognised (or unknown) shot: a line of the output."""

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


class Recognizer:
    """Names the person of each shot and writes a line for it; a shot that comes twice is written once."""

    def __init__(
        self, gallery: Gallery, embedder: Embedder, threshold: float, output: IO[str] = sys.stdout
    ) -> None:
        """Args are what to compare with, how, from which similarity on, and where lines go."""
        self._gallery = gallery
        self._embedder = embedder
        self._threshold = threshold
        self._output = output
        self._seen: OrderedDict[str, float] = OrderedDict()
        self.results = 0
        self.named = 0

    def answer(self, header: wire.ShotHeader, crop: bytes) -> float:
        """Return the milliseconds that were spent on a shot.

        Raises:
            DeliveryError: the crop cannot be read; sent again, it would be as damaged.
        """
        started = perf_counter()
        if header.shot_id in self._seen:
            return self._seen[header.shot_id]
        face = wire.unpack_crop(header, crop)
        match = self._gallery.match(self._embedder.embed([face])[0], self._threshold)
        latency_ms = round((perf_counter() - started) * 1000, 3)
        self._write(header, match.name, match.similarity, latency_ms)
        self._seen[header.shot_id] = latency_ms
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return latency_ms

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


class Worker:
    """Connects to a gate and answers its shots until stopped."""

    def __init__(self, endpoint: str, recognizer: Recognizer, key: Path | None = None) -> None:
        """Connect (ZeroMQ keeps trying until the gate is there).

        Raises:
            DeliveryError: the endpoint is malformed.
            ConfigError: ``key`` is not a worker's key.
        """
        own = None if key is None else load_key(key, secret=True, gate=True)
        self._recognizer = recognizer
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 500)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 100)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2000)
        self._socket.setsockopt(zmq.MAXMSGSIZE, wire.MAX_CONTEXT_BYTES)
        self._socket.setsockopt(zmq.IPV6, endpoint.startswith("tcp://["))
        if own is not None:
            self._socket.curve_publickey = own.public.encode()
            self._socket.curve_secretkey = own.secret.encode()
            self._socket.curve_serverkey = own.gate.encode()
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise DeliveryError(f"cannot connect to {endpoint}: use tcp://HOST:PORT") from error

    def run(self, stop: Event, *, once: bool = False) -> None:
        """Serve until ``stop``; with ``once``, until the gate says that its run has ended."""
        try:
            beat = 0.0
            while not stop.is_set():
                if monotonic() >= beat:
                    # Without a gate the queue would fill with heartbeats; a full one needs no more of them.
                    self._send(wire.READY, wire.encode(wire.Ready(WINDOW)))
                    beat = monotonic() + HEARTBEAT_S
                if self._socket.poll(POLL_MS):
                    frames = self._socket.recv_multipart()
                    if frames[:1] == [wire.END]:
                        log.info("the gate ended its run")
                        if once:
                            return
                    else:
                        self._answer(frames)
            self._send(wire.BYE, b"")
        finally:
            self._socket.close()
            self._context.term()

    def _answer(self, frames: list[bytes]) -> None:
        try:
            if len(frames) < 3 or frames[0] != wire.SHOT:
                raise DeliveryError(f"unexpected message of {len(frames)} parts")
            header = wire.decode_header(frames[1])
        except DeliveryError as error:
            log.error("message refused", reason=str(error))
            return
        try:
            latency_ms = self._recognizer.answer(header, frames[2])
        except DeliveryError as error:
            # Acknowledged all the same: sent again, it would be as damaged.
            log.error("shot refused", shot_id=header.shot_id, reason=str(error))
            latency_ms = 0.0
        self._send(wire.ACK, wire.encode(wire.Ack(header.shot_id, latency_ms)))

    def _send(self, kind: bytes, body: bytes) -> None:
        try:
            self._socket.send_multipart([kind, body], zmq.NOBLOCK)
        except zmq.Again:
            log.debug("gate not reachable, message dropped", kind=kind.decode())
