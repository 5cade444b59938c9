"""Recognition worker over ZeroMQ: receives shots from gates, recognizes and acknowledges them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event
from time import monotonic

import msgspec
import structlog
import zmq

from facegate.errors import DeliveryError
from facegate.recognition.worker.recognizer import Recognizer, ShotResult
from facegate.sinks import wire
from facegate.sinks.keys import KeyFile, load_key

__all__ = ["Recognizer", "ShotResult", "Worker"]

HEARTBEAT_S = 1.0
POLL_MS = 100
WINDOW = 8
MAX_RUNS = 100
"""Maximum number of runs remembered per gate."""

log = structlog.get_logger(__name__)


class _GateConnection:
    """Connection to one gate."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, own: KeyFile | None) -> None:
        self.endpoint = endpoint
        self.runs: OrderedDict[str, None] = OrderedDict()
        """Its known runs, newest last."""
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

    def receive(self, limit: int) -> Iterator[list[bytes]]:
        """Received messages, at most ``limit``."""
        for _ in range(limit):
            try:
                yield self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return

    def send(self, kind: bytes, body: bytes) -> None:
        # While the gate is away the queue fills with heartbeats; a full one needs no more.
        try:
            self.socket.send_multipart([kind, body], zmq.NOBLOCK)
        except zmq.Again:
            log.debug("gate not reachable, message dropped", gate=self.endpoint, kind=kind.decode())


class _ReceivedShot(msgspec.Struct, frozen=True, eq=False):
    """A shot and the gate to acknowledge it to."""

    gate: _GateConnection
    header: wire.ShotHeader
    crop: bytes


class Worker:
    """Connects to gates and processes their shots until stopped."""

    def __init__(self, endpoints: Sequence[str], recognizer: Recognizer, key: Path | None = None) -> None:
        """Connect (ZeroMQ keeps trying until the gates are there).

        Args:
            endpoints: endpoints of the gates.
            recognizer: recognizes the shots.
            key: key file of this worker, used for all gates.

        Raises:
            DeliveryError: an endpoint is malformed.
            ConfigError: ``key`` is not a worker's key.
        """
        own = None if key is None else load_key(key, secret=True, gate=True)
        self._recognizer = recognizer
        self._context = zmq.Context()
        try:
            self._gates = [_GateConnection(self._context, endpoint, own) for endpoint in endpoints]
        except DeliveryError:
            self._context.destroy(linger=0)
            raise

    def run(self, stop: Event, *, once: bool = False) -> None:
        """Serve until ``stop``; with ``once``, until every gate has ended its run."""
        poller, gates = zmq.Poller(), {gate.socket: gate for gate in self._gates}
        for gate in self._gates:
            poller.register(gate.socket, zmq.POLLIN)
        running, beat = set(self._gates), 0.0
        try:
            while not stop.is_set() and (running or not once):
                if monotonic() >= beat:
                    for gate in self._gates:
                        gate.send(
                            wire.READY, wire.encode(wire.Ready(WINDOW, visits=True, feedback=True, live=True))
                        )
                    beat = monotonic() + HEARTBEAT_S
                    self._recognizer.expire_visits()
                shots: list[_ReceivedShot] = []
                for socket, _ in poller.poll(POLL_MS):
                    gate = gates[socket]
                    for frames in gate.receive(WINDOW - len(shots)):
                        if frames[:1] == [wire.END]:
                            log.info("run of the gate ended", gate=gate.endpoint)
                            running.discard(gate)
                            self._over(gate, [*gate.runs])
                            continue
                        running.add(gate)  # it may have restarted
                        shots += self._handle(gate, frames)
                self._process(shots)
            for gate in running:
                gate.send(wire.BYE, b"")
        finally:
            self._recognizer.finish()
            self._context.destroy(linger=500)

    def _handle(self, gate: _GateConnection, frames: list[bytes]) -> list[_ReceivedShot]:
        """Handle a message; return its shot, if it is one."""
        try:
            if len(frames) == 2 and frames[0] == wire.ENDED:
                self._recognizer.ended(wire.decode(frames[1], wire.TrackEnded))
                return []
            if len(frames) == 2 and frames[0] == wire.LIVE:
                live = wire.decode(frames[1], wire.LiveTracksMessage)
                gate.runs[live.run_id] = None
                self._over(gate, [run_id for run_id in gate.runs if run_id != live.run_id])
                self._recognizer.live(live)
                return []
            if len(frames) < 3 or frames[0] != wire.SHOT:
                raise DeliveryError(f"unexpected message of {len(frames)} parts")
            shot = _ReceivedShot(gate, wire.decode_header(frames[1]), frames[2])
            gate.runs[shot.header.run_id] = None
            if len(gate.runs) > MAX_RUNS:
                gate.runs.popitem(last=False)
            return [shot]
        except DeliveryError as error:
            self._recognizer.metrics.messages_rejected.inc()
            log.error("invalid message ignored", gate=gate.endpoint, reason=str(error))
            return []

    def _over(self, gate: _GateConnection, runs: Sequence[str]) -> None:
        """End runs of a gate, which has one at a time."""
        for run_id in runs:
            del gate.runs[run_id]
            self._recognizer.run_over(run_id)

    def _process(self, shots: Sequence[_ReceivedShot]) -> None:
        """Recognize and acknowledge a batch of shots."""
        results = self._recognizer.recognize([(shot.header, shot.crop) for shot in shots]) if shots else []
        for shot, ack in zip(shots, results, strict=True):
            if isinstance(ack, DeliveryError):
                # Acknowledged anyway: sending it again would not help.
                log.error("invalid shot ignored", shot_id=shot.header.shot_id, reason=str(ack))
                ack = wire.Ack(shot.header.shot_id, 0.0)
            shot.gate.send(wire.ACK, wire.encode(ack))
