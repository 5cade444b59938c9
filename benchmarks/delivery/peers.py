"""Receivers of the delivery benchmark, a process each: ``python -m benchmarks.delivery.peers ROLE ...``."""

from __future__ import annotations

import sys
from pathlib import Path
from time import monotonic, sleep, time

import msgspec
import zmq

from facegate.sinks import wire

BEAT_S = 0.5


def worker(endpoint: str, delay_s: float, window: int, log: str) -> None:
    """Acknowledge shots after ``delay_s`` each; one line per shot in ``log``: its id and age when done, in ms."""
    socket = zmq.Context().socket(zmq.DEALER)
    socket.connect(endpoint)
    ready, beat = [wire.READY, wire.encode(wire.Ready(window))], 0.0
    with Path(log).open("a", buffering=1 if delay_s else -1) as told:
        while True:
            if monotonic() >= beat:
                socket.send_multipart(ready)
                beat = monotonic() + BEAT_S
            if not socket.poll(100):
                continue
            kind, *body = socket.recv_multipart()
            if kind == wire.END:
                break
            header = wire.decode_header(body[0])
            if delay_s:
                sleep(delay_s)
            told.write(f"{header.shot_id} {1000 * (time() - (header.captured_at or 0)):.2f}\n")
            socket.send_multipart([wire.ACK, msgspec.msgpack.encode(wire.Ack(header.shot_id, 0.0))])
    socket.close(linger=1000)


def puller(data: str, done: str, count: int) -> None:
    """Receive ``count`` messages and say so."""
    context = zmq.Context()
    socket = context.socket(zmq.PULL)
    socket.connect(data)
    for _ in range(count):
        socket.recv_multipart()
    told = context.socket(zmq.PUSH)
    told.connect(done)
    told.send(b"done")
    told.close(linger=1000)


def loud(endpoint: str) -> None:
    """Say nothing of use, as fast as it goes, until killed."""
    socket = zmq.Context().socket(zmq.DEALER)
    socket.connect(endpoint)
    receipt = [wire.ACK, wire.encode(wire.Ack("none", 0.0))]
    while True:
        socket.send_multipart(receipt)


def hub(endpoint: str, answers: bool, delay_s: float, log: str) -> None:
    """imagezmq's receiver; one line per picture in ``log``, its name and when it came, until it is killed."""
    import imagezmq

    receiver = imagezmq.ImageHub(open_port=endpoint, REQ_REP=answers)
    with Path(log).open("a", buffering=1) as told:
        while True:
            name, _ = receiver.recv_jpg()
            if delay_s:
                sleep(delay_s)
            told.write(f"{name} {time()}\n")
            if answers:
                receiver.send_reply(b"OK")


if __name__ == "__main__":
    role, *given = sys.argv[1:]
    if role == "worker":
        worker(given[0], float(given[1]), int(given[2]), given[3])
    elif role == "puller":
        puller(given[0], given[1], int(given[2]))
    elif role == "loud":
        loud(given[0])
    else:
        hub(given[0], given[1] == "answers", float(given[2]), given[3])
