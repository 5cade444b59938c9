"""Shots per second through spool, wire and one worker on loopback, against bare ZeroMQ on the same crops.

    python -m benchmarks.delivery --json delivery.json
    python -m benchmarks.delivery --quick

The worker is a process of its own that acknowledges at once. Rounds are interleaved; medians are shown. Messages
are packed before the clock starts for bare ZeroMQ and inside it for facegate, which encodes each crop as JPEG.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import numpy as np
import zmq

from benchmarks.machine import cpu
from facegate.pipeline.records import Detection, Face, FrameRef, QualityInfo, Reason, ScoredFace, Shot, make_shot_id
from facegate.sinks import wire
from facegate.sinks.spool import Spool
from facegate.sinks.zeromq import ZmqSink

INFO = QualityInfo(algorithm="vitnt", model="benchmark", calibration="1")
DIFFERENT = 64
DATA, DONE = "tcp://127.0.0.1:5581", "tcp://127.0.0.1:5582"


def crops() -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    """Smooth pictures that compress like faces do (about 5 KB as JPEG)."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (DIFFERENT, 14, 14, 3)).astype(np.float32)
    smooth = coarse.repeat(8, 1).repeat(8, 2) + rng.normal(0, 4, (DIFFERENT, 112, 112, 3))
    return list(smooth.clip(0, 255).astype(np.uint8))


def shots(count: int, run: str) -> list[Shot]:
    pictures, points = crops(), np.zeros((5, 2), np.float32)
    made = []
    for number in range(count):
        face = Face(
            f"{number}-0",
            FrameRef("cam", number, number / 25, 0.0, None, 640, 360),
            Detection((0.0, 0.0, 100.0, 100.0), 0.9, points),
            pictures[number % DIFFERENT],
        )
        scored = ScoredFace(face, number, 50, 0.4, np.zeros(49, np.float32), None)
        key = make_shot_id(run, "cam", number, face.face_id)
        made.append(Shot(key, run, "cam", number, 1, Reason.TRACK_ENDED, scored, INFO))
    return made


def worker(endpoint: str, count: int) -> None:
    """Acknowledge ``count`` shots as fast as they come."""
    socket = zmq.Context().socket(zmq.DEALER)
    socket.connect(endpoint)
    socket.send_multipart([wire.READY, wire.encode(wire.Ready(256))])
    for _ in range(count):
        while (frames := socket.recv_multipart())[0] != wire.SHOT:
            pass
        socket.send_multipart([wire.ACK, wire.encode(wire.Ack(wire.decode_header(frames[1]).shot_id, 0.0))])
    socket.close(linger=1000)


def puller(endpoint: str, count: int) -> None:
    """Receive ``count`` messages and say so."""
    context = zmq.Context()
    socket = context.socket(zmq.PULL)
    socket.connect(endpoint)
    for _ in range(count):
        socket.recv_multipart()
    done = context.socket(zmq.PUSH)
    done.connect(DONE)
    done.send(b"done")
    done.close(linger=1000)


def child(role: str, endpoint: str, count: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "benchmarks.delivery", "--role", role, endpoint, str(count)])


def bare(items: list[Shot]) -> float:
    """Shots per second of PUSH/PULL, packed beforehand, no acknowledgement, nothing on disk."""
    packed = [wire.pack_shot(item) for item in items]
    context = zmq.Context()
    push, done = context.socket(zmq.PUSH), context.socket(zmq.PULL)
    push.bind(DATA)
    done.bind(DONE)
    process = child("puller", DATA, len(items) + 1)
    push.send_multipart([b"first", b""])  # returns when the puller is there
    start = perf_counter()
    for header, crop in packed:
        push.send_multipart([header, crop])
    done.recv()
    passed = perf_counter() - start
    process.wait()
    context.destroy(linger=0)
    return len(items) / passed


def ours(items: list[Shot], spooled: bool) -> float:
    """Shots per second until the last is acknowledged."""
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder) / "spool.db") if spooled else None
        sink = ZmqSink("tcp://127.0.0.1:*", spool=spool)
        process = child("worker", sink.endpoint, len(items))
        sink.send(items[0])
        while sink.report().acknowledged < 1:
            pass
        start = perf_counter()
        for item in items[1:]:
            sink.send(item)
        report = sink.close(60.0)
        passed = perf_counter() - start
        process.wait()
    assert report.acknowledged == len(items)
    return (len(items) - 1) / passed


def packing(items: list[Shot]) -> float:
    """Shots per second of encoding alone."""
    start = perf_counter()
    for item in items:
        wire.pack_shot(item)
    return len(items) / (perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--role", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role:
        role, endpoint, count = arguments.role
        (worker if role == "worker" else puller)(endpoint, int(count))
        return
    count, rounds = (1000, 1) if arguments.quick else (10_000, arguments.rounds)
    items = shots(count, "run")
    jobs: dict[str, Callable[[], float]] = {
        "PUSH/PULL, packed beforehand": lambda: bare(items),
        "facegate, in memory": lambda: ours(items, spooled=False),
        "facegate, spooled": lambda: ours(items, spooled=True),
        "packing alone": lambda: packing(items),
    }
    rates: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            rates[name].append(job())
    median = {name: round(statistics.median(values)) for name, values in rates.items()}
    result = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu(),
        "shots": count,
        "shots_per_s": median,
        "to_bare": round(median["facegate, spooled"] / median["PUSH/PULL, packed beforehand"], 3),
    }
    print(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
