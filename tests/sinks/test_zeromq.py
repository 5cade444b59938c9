"""Delivery over real sockets: by credit, acknowledged, and back to the queue when a worker fails."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from time import sleep

import pytest
import zmq
from structlog.testing import capture_logs

from facegate.errors import DeliveryError
from facegate.sinks import wire, worker_pool
from facegate.sinks.zeromq import ZmqSink

from ..helpers import PATIENCE_S, ROOT
from .test_wire import entries

TIMEOUT_MS = 10_000


class Peer:
    """A worker spoken by hand."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVTIMEO, TIMEOUT_MS)
        self.socket.connect(endpoint)

    def ready(self, window: int) -> None:
        self.socket.send_multipart([wire.READY, wire.encode(wire.Ready(window))])

    def shot(self) -> str:
        kind, header, _ = self.socket.recv_multipart()
        assert kind == wire.SHOT
        return wire.decode_header(header).shot_id

    def ack(self, shot_id: str, latency_ms: float = 1.0) -> None:
        self.socket.send_multipart([wire.ACK, wire.encode(wire.Ack(shot_id, latency_ms))])

    def has_mail(self, within_ms: int = 300) -> bool:
        return bool(self.socket.poll(within_ms))


@contextmanager
def peers(endpoint: str, count: int = 1) -> Iterator[list[Peer]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        yield [Peer(context, endpoint) for _ in range(count)]
    finally:
        context.destroy(linger=0)


@pytest.fixture
def sink() -> Iterator[ZmqSink]:
    made = ZmqSink("tcp://127.0.0.1:*", lease_s=PATIENCE_S)
    yield made
    made.abort()
    made.close(0.0)


def test_no_worker_gets_more_than_its_window(sink: ZmqSink) -> None:
    for number in range(5):
        sink.put(entries(number))
    with peers(sink.endpoint) as (worker,):
        worker.ready(2)
        first, second = worker.shot(), worker.shot()
        assert not worker.has_mail(200)
        worker.ack(first)
        assert worker.shot() not in (first, second)


def test_every_shot_is_acknowledged_once_and_the_report_adds_up(sink: ZmqSink) -> None:
    for number in range(20):
        sink.put(entries(number))
    with peers(sink.endpoint, 2) as workers:
        for worker in workers:
            worker.ready(4)
        seen: list[str] = []
        while len(seen) < 20:
            for worker in workers:
                if worker.has_mail(20):
                    seen.append(worker.shot())
                    worker.ack(seen[-1], latency_ms=2.0)
                    worker.ack(seen[0], latency_ms=2.0)  # said again, it is no second receipt
        report = sink.close(PATIENCE_S)
    assert len(set(seen)) == 20
    assert (report.accepted, report.acknowledged, report.undelivered) == (20, 20, 0)
    assert report.recognition_ms == pytest.approx(40.0)


def test_a_shot_whose_lease_runs_out_goes_to_somebody_else_with_the_same_id() -> None:
    sink = ZmqSink("tcp://127.0.0.1:*", lease_s=0.5)
    sink.put(entries(1))
    with peers(sink.endpoint, 2) as (stuck, other):
        stuck.ready(1)
        lost = stuck.shot()
        assert not stuck.has_mail(1000)
        other.ready(1)
        assert other.shot() == lost
        other.ack(lost)
        report = sink.close(PATIENCE_S)
    assert report.acknowledged == 1 and report.redelivered >= 1


def test_a_worker_that_says_goodbye_returns_its_shots_to_the_queue(sink: ZmqSink) -> None:
    sink.put(entries(1))
    with peers(sink.endpoint, 2) as (leaving, other):
        leaving.ready(1)
        taken = leaving.shot()
        leaving.socket.send_multipart([wire.BYE, b""])
        other.ready(1)
        assert other.shot() == taken


def test_a_silent_worker_is_forgotten_and_its_shots_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "WORKER_TIMEOUT_S", 0.3)
    sink = ZmqSink("tcp://127.0.0.1:*")
    try:
        sink.put(entries(1))
        with peers(sink.endpoint, 2) as (dead, other):
            dead.ready(1)
            taken = dead.shot()
            assert not other.has_mail(600)
            other.ready(1)
            assert other.shot() == taken
    finally:
        sink.abort()
        sink.close(0.0)


def test_who_takes_and_never_answers_holds_up_little(sink: ZmqSink) -> None:
    with peers(sink.endpoint, 2) as (hoarder, worker):
        hoarder.ready(200)
        for number in range(60):
            sink.put(entries(number))
        assert hoarder.has_mail(1000 * PATIENCE_S)
        worker.ready(4)
        seen = set()
        while len(seen) < 60 - worker_pool.SLOW_START_WINDOW:
            seen.add(shot_id := worker.shot())
            worker.ack(shot_id)
        for _ in range(worker_pool.SLOW_START_WINDOW):
            hoarder.shot()
        assert not hoarder.has_mail(50)


def test_a_worker_whose_connection_is_gone_is_noticed_at_the_next_shot() -> None:
    sink = ZmqSink("tcp://127.0.0.1:*")  # a lease far longer than the test waits
    try:
        with peers(sink.endpoint, 2) as (dead, other):
            dead.ready(10)
            sink.put(entries(0))
            seen, first = set(), dead.shot()
            dead.socket.close(linger=0)
            other.ready(1)
            sleep(0.2)
            sink.put(entries(1, 2, 3))
            other.socket.setsockopt(zmq.RCVTIMEO, 1000 * PATIENCE_S)
            while len(seen) < 4:
                seen.add(shot_id := other.shot())
                other.ack(shot_id)
            assert first in seen
    finally:
        sink.abort()
        sink.close(0.0)


def test_a_shot_that_its_workers_die_of_lets_others_pass(sink: ZmqSink) -> None:
    sink.put(entries(0, 1))
    with peers(sink.endpoint) as (worker,):
        for _ in range(3):
            worker.ready(1)
            assert worker.shot() == entries(0)[0].shot_id
            worker.socket.send_multipart([wire.BYE, b""])
        worker.ready(1)
        for number in (1, 0):
            shot_id = worker.shot()
            assert shot_id == entries(number)[0].shot_id
            worker.ack(shot_id, latency_ms=1e308)
        report = sink.close(PATIENCE_S)
    assert (report.acknowledged, report.redelivered) == (2, 3) and report.recognition_ms < 1e8


def test_nonsense_from_one_peer_does_not_disturb_another(sink: ZmqSink) -> None:
    with peers(sink.endpoint, 2) as (hostile, worker):
        for frames in (
            [b"?"],
            [b"", b""],
            [b"a"] * 50,
            [wire.READY, b"\xff"],
            [wire.READY, wire.encode(wire.Ready(10**9))],
            [wire.ACK, b"x" * 60_000],
            [wire.ACK, wire.encode(wire.Ack("none", 1e308))],
            [wire.ACK, wire.encode(wire.Ack("none", 1.0)).replace(b"none", b"\xff\xfe\xfd\xfc")],
            [wire.ACK, b"x" * 100_000],
        ):
            hostile.socket.send_multipart(frames)
        worker.ready(1)
        sink.put(entries(1))
        worker.ack(worker.shot())
        assert sink.close(PATIENCE_S).acknowledged == 1


def test_who_says_too_much_is_not_listened_to_and_told_of_once(sink: ZmqSink) -> None:
    with peers(sink.endpoint, 2) as (loud, worker), capture_logs() as said:
        loud.ready(4)
        sink.put(entries(1))
        held = loud.shot()
        for _ in range(3 * worker_pool.MAX_IDLE_MESSAGES):
            loud.socket.send_multipart([wire.ACK, wire.encode(wire.Ack("none", 1.0))])
        worker.ready(1)
        assert worker.shot() == held, "what it had goes to somebody else"
        loud.ready(4)
        sink.put(entries(2, 3))
        worker.ack(held)
        for _ in range(2):
            worker.ack(worker.shot())
        assert sink.close(PATIENCE_S).acknowledged == 3
    assert sum("rate limit" in line["event"] for line in said) == 1


def test_half_open_and_foreign_connections_do_not_keep_a_worker_out(sink: ZmqSink) -> None:
    port = int(sink.endpoint.rpartition(":")[2])
    strangers = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
    for number, stranger in enumerate(strangers):
        stranger.sendall([b"", b"GET / HTTP/1.1\r\n\r\n", b"\xff" + bytes(8) + b"\x7f", bytes(1000)][number % 4])
    sink.put(entries(1))
    with peers(sink.endpoint) as (worker,):
        worker.ready(1)
        worker.ack(worker.shot())
        assert sink.close(PATIENCE_S).acknowledged == 1
    for stranger in strangers:
        stranger.close()


def test_the_end_of_a_run_is_told_and_undelivered_shots_are_counted(sink: ZmqSink) -> None:
    sink.put(entries(1))
    with peers(sink.endpoint) as (worker,):
        worker.ready(1)
        worker.shot()
        report = sink.close(0.1)
        assert worker.socket.recv_multipart() == [wire.END]
    assert (report.accepted, report.acknowledged, report.undelivered) == (1, 0, 1)


def test_a_full_queue_makes_the_sender_wait_until_there_is_room() -> None:
    sink = ZmqSink("tcp://127.0.0.1:*", max_pending=2)
    try:
        sender = Thread(target=lambda: [sink.put(entries(number)) for number in range(4)])
        sender.start()
        sender.join(0.3)
        assert sender.is_alive()
        with peers(sink.endpoint) as (worker,):
            worker.ready(10)
            assert len({worker.shot() for _ in range(4)}) == 4
        sender.join(PATIENCE_S)
        assert not sender.is_alive()
    finally:
        sink.abort()
        sink.close(0.0)


def test_the_plain_pyzmq_worker_of_the_examples_gets_its_shots(sink: ZmqSink) -> None:
    for number in range(6):
        sink.put(entries(number))
    example = ROOT / "examples" / "plain_worker.py"
    with subprocess.Popen([sys.executable, example, sink.endpoint], stdout=subprocess.PIPE, text=True) as worker:
        assert sink.close(PATIENCE_S).acknowledged == 6
        said, _ = worker.communicate(timeout=PATIENCE_S)
    assert said.splitlines() == ["door 7 88 (112, 112, 3)"] * 6


def test_an_abort_frees_a_waiting_sender_with_an_error() -> None:
    sink = ZmqSink("tcp://127.0.0.1:*", max_pending=1)
    sink.put(entries(0))
    caught: list[DeliveryError] = []

    def send() -> None:
        try:
            sink.put(entries(1))
        except DeliveryError as error:
            caught.append(error)

    sender = Thread(target=send)
    sender.start()
    sink.abort()
    sender.join(PATIENCE_S)
    sink.close(0.0)
    assert len(caught) == 1


def test_a_port_in_use_and_a_foreign_address_are_refused(sink: ZmqSink) -> None:
    with pytest.raises(DeliveryError, match="the address is in use; choose another port"):
        ZmqSink(sink.endpoint)
    with pytest.raises(DeliveryError, match="give an address of this host"):
        ZmqSink("tcp://192.0.2.1:5555", allow_insecure=True)
