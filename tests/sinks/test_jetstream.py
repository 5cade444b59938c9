"""Shots through a real NATS server, which dies too.

FACEGATE_CHAOS=10000 pytest -n 0 -s tests/sinks/test_jetstream.py
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import Any

import nats
import numpy as np
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from facegate.demo.clip import DemoClip
from facegate.errors import ConfigError, DeliveryError
from facegate.pipeline.config import build_config
from facegate.pipeline.records import LiveTracks, RecognitionFeedback, TrackEnd
from facegate.recognition.embedders import load_embedder
from facegate.recognition.matching.decision_rule import FixedThresholdRule
from facegate.recognition.matching.gallery import Gallery
from facegate.recognition.worker import jetstream_worker
from facegate.recognition.worker.jetstream_worker import JetStreamWorker
from facegate.recognition.worker.metrics import WorkerMetrics
from facegate.recognition.worker.zmq_worker import Recognizer
from facegate.sinks.jetstream import DEAD_STREAM, FEEDBACK_HEADER, STREAM, SUBJECT, JetStream, make_streams
from facegate.sinks.spool import Spool
from facegate.sinks.spooled_sink import SpooledSink
from facegate.sinks.wire import ShotHeader

from ..fault_proxy import FaultProxy
from ..helpers import PATIENCE_S, ROOT, facegate, free_port, shots_of, wait_until
from .test_chaos import (
    GATE_DEATHS,
    MEMORY_MB,
    SEED,
    SHOTS,
    WORKER_DEATHS,
    GateUnderTest,
    Workers,
    end,
    everything,
    play,
)
from .test_wire import entries, make_shot

SERVER_DEATHS = 3 if SHOTS >= 10_000 else 1

WORKER = """
import asyncio, sys, msgspec, nats
from nats.js.api import ConsumerConfig
log = open(sys.argv[2], "a", buffering=1)
log.write("\\n")  # one that was killed may have left half a line
async def quiet(error): pass
async def work():
    client = await nats.connect(sys.argv[1], allow_reconnect=False, error_cb=quiet)
    stream = client.jetstream()
    shots = await stream.pull_subscribe(
        "facegate.shots.>", durable="recognition", stream="FACEGATE", config=ConsumerConfig(ack_wait=3)
    )
    while client.is_connected:
        try:
            found = await shots.fetch(16, timeout=1)
        except nats.errors.TimeoutError:
            continue
        for message in found:
            header, *_ = msgspec.msgpack.decode(message.data)
            log.write(header["shot_id"] + "\\n")
            await asyncio.sleep(0.001)
            await message.ack()
while True:
    try:
        asyncio.run(work())
    except Exception:
        pass
    import time; time.sleep(0.1)
"""


class Server:
    """A NATS server with JetStream on loopback."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self._options = options
        self._port = free_port()
        self.url = f"nats://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        program = Path(sys.executable).parent / "nats-server"
        self.process = subprocess.Popen(
            [program, "-js", "-sd", self._folder, "-a", "127.0.0.1", "-p", str(self._port), *self._options],
            stderr=subprocess.PIPE,
        )
        assert self.process.stderr is not None
        next(line for line in self.process.stderr if b"Server is ready" in line)

    def kill(self) -> None:
        end(self.process)
        self.start()


def test_one_server_of_several_takes_connections_and_says_nothing(tmp_path: Path) -> None:
    server = Server(tmp_path / "js")
    try:
        # As it is with what stands before a server that is gone.
        with FaultProxy(free_port()) as silent:
            for entry in entries(8):
                target = JetStream(f"nats://127.0.0.1:{silent.port},{server.url.removeprefix('nats://')}")
                target.deliver([entry])
                target.close()
            alone = JetStream(f"nats://127.0.0.1:{silent.port}")
            with pytest.raises(DeliveryError, match="refused shots"):
                alone.deliver(entries(1))
            alone.close()
    finally:
        end(server.process)


def test_whatever_dies_the_server_too_every_shot_arrives(tmp_path: Path) -> None:
    print(f"seed {SEED}")
    random, server = Random(SEED), Server(tmp_path / "js")
    gate = GateUnderTest(server.url, tmp_path / "s.db")
    workers = Workers(WORKER, server.url, tmp_path)
    try:
        faults = {
            "worker": (WORKER_DEATHS, lambda: workers.kill(random.randrange(3))),
            "gate": (GATE_DEATHS, gate.kill),
            "server": (SERVER_DEATHS, server.kill),
        }
        play(faults, gate, random)
        wait_until(lambda: len(workers.received()) >= SHOTS, every_s=0.1)
    finally:
        end(gate.process, server.process, *workers.processes)
    received = workers.received()
    told, undelivered, grown_mb = gate.words()[-1].split()
    print(f"{SHOTS} shots, {received.total() - len(received)} second copies, gate grew by {grown_mb} MB")
    assert (told, undelivered) == ("end", "0")
    assert set(received) == everything()
    assert int(grown_mb) < MEMORY_MB


def test_the_worker_of_the_examples_takes_what_two_gates_publish(tmp_path: Path) -> None:
    server = Server(tmp_path / "js")
    outboxes = [SpooledSink(JetStream(server.url), Spool(tmp_path / f"{name}.db")) for name in ("one", "two")]
    for number in range(6):
        outboxes[number % 2].put(entries(number))
    assert [outbox.close(PATIENCE_S).undelivered for outbox in outboxes] == [0, 0]
    example = ROOT / "examples" / "nats_worker.py"
    with subprocess.Popen([sys.executable, example, server.url], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        said = [next(worker.stdout).split() for _ in range(6)]
        worker.kill()
    end(server.process)
    assert {words[0] for words in said} == {make_shot(number).shot_id for number in range(6)}
    assert all(words[1:3] == ["door", "88"] for words in said)


def test_the_built_in_worker_recognizes_puts_aside_what_it_cannot_read_and_empties_the_stream(
    clip: DemoClip, tmp_path: Path
) -> None:
    server = Server(tmp_path / "js")
    sink = SpooledSink(JetStream(server.url), Spool(tmp_path / "s.db"))
    sink.put([*entries(0, 1), replace(entries(2)[0], crop=b"no picture")])
    assert sink.close(PATIENCE_S).undelivered == 0
    asyncio.run(publish(server.url, b"no shot"))
    arguments = ("--gallery", clip.gallery, "--embedder", "builtin", "--once")
    result = facegate("recognize", "--connect", server.url, *arguments)
    assert result.returncode == 0, result.stderr
    lines = shots_of(result.stdout)
    assert [line["shot_id"] for line in lines] == [entry.shot_id for entry in entries(0, 1)]
    waiting, dead = asyncio.run(look(server.url))
    assert waiting == 0, "a face does not stay at the server when it was recognized"
    reasons = {data == b"no shot": reason for data, reason in dead}
    assert "malformed message" in reasons[True] and "not a 112x112 JPEG" in reasons[False]
    keyed = facegate("recognize", "--connect", server.url, "--key", tmp_path / "k.json")
    assert keyed.returncode == 2 and "--key is for gates only" in keyed.stderr
    nowhere = facegate("recognize", "--connect", "nats://x:99999")
    assert nowhere.returncode == 2 and "from 1 to 65535" in nowhere.stderr
    end(server.process)


def test_a_visit_ends_when_its_track_does(tmp_path: Path) -> None:
    server, told, stop = Server(tmp_path / "js"), StringIO(), Event()
    nobody = Gallery([], np.zeros((0, 128), np.float32))
    recognizer = Recognizer(lambda: nobody, load_embedder("builtin"), FixedThresholdRule(0.8), told)
    worker = Thread(target=JetStreamWorker(server.url, recognizer).run, args=(stop,))
    worker.start()
    sink, shot = SpooledSink(JetStream(server.url), Spool(tmp_path / "s.db")), make_shot(1)
    sink.put(entries(1))
    wait_until(lambda: '"event":"seen"' in told.getvalue())
    sink.ended([TrackEnd(shot.run_id, shot.camera, shot.track_id, 9.0)])
    wait_until(lambda: '"event":"ended"' in told.getvalue())
    stop.set()
    worker.join()
    sink.close(PATIENCE_S)
    end(server.process)


def test_feedback_of_a_worker_comes_back_to_the_gate_that_sent_the_shot_and_to_no_other(tmp_path: Path) -> None:
    server, stop = Server(tmp_path / "js"), Event()
    nobody = Gallery([], np.zeros((0, 128), np.float32))
    recognizer = Recognizer(lambda: nobody, load_embedder("builtin"), FixedThresholdRule(0.8), StringIO())
    gates = [SpooledSink(JetStream(server.url), Spool(tmp_path / f"{name}.db")) for name in ("one", "two")]
    assert not any(gate.feedback().expected for gate in gates), "no worker is there yet"
    worker = Thread(target=JetStreamWorker(server.url, recognizer).run, args=(stop,))
    worker.start()
    answers: list[RecognitionFeedback] = []
    gates[0].put(entries(1))
    wait_until(lambda: answers.extend(gates[0].feedback().items) or answers)
    assert [answer.shot_id for answer in answers] == [entries(1)[0].shot_id]
    assert not answers[0].named and answers[0].recognizer
    assert gates[0].feedback().expected
    wait_until(lambda: gates[1].live(LiveTracks("run", {})) or gates[1].feedback().expected)
    assert not gates[1].feedback().items
    stop.set()
    worker.join()
    reports = [gate.close(PATIENCE_S) for gate in gates]
    assert [report.answered for report in reports] == [1, 0]
    end(server.process)


@pytest.mark.parametrize("subject", ["facegate.shots.door", "facegate.feedback.>", "facegate.feedback.a.ack.b", ""])
def test_a_message_cannot_make_a_worker_publish_elsewhere(subject: str, tmp_path: Path) -> None:
    server = Server(tmp_path / "js")
    nobody = Gallery([], np.zeros((0, 128), np.float32))
    recognizer = Recognizer(lambda: nobody, load_embedder("builtin"), FixedThresholdRule(0.8), StringIO())
    (entry,) = entries(1)
    gate = JetStream(server.url)
    body = gate.payload(entry)
    gate.close()
    asyncio.run(publish(server.url, body, {FEEDBACK_HEADER: subject}))
    heard: list[str] = []
    listens, done = Event(), Event()
    thread = Thread(target=lambda: asyncio.run(listen(server.url, heard, listens, done)))
    thread.start()
    assert listens.wait(PATIENCE_S)
    JetStreamWorker(server.url, recognizer).run(Event(), once=True)
    done.set()
    thread.join()
    assert recognizer.results == 1 and not [each for each in heard if each.startswith("facegate.")]
    end(server.process)


def test_a_shot_that_kills_its_workers_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jetstream_worker, "ACK_WAIT_S", 0.5)
    monkeypatch.setattr(jetstream_worker, "MAX_DELIVERIES", 2)

    class Dying:
        deaths = 0
        metrics = WorkerMetrics(lambda: 0)

        def recognize(self, shots: Sequence[tuple[ShotHeader, bytes]]) -> list[float | DeliveryError]:
            self.deaths += 1
            raise MemoryError

        def expire_visits(self) -> None:
            pass

        finish = expire_visits

    server, dying = Server(tmp_path / "js"), Dying()
    sink = SpooledSink(JetStream(server.url), Spool(tmp_path / "s.db"))
    sink.put(entries(0))
    assert sink.close(PATIENCE_S).undelivered == 0
    worker = JetStreamWorker(server.url, dying)  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(MemoryError):
            worker.run(Event(), once=True)
    worker.run(Event(), once=True)
    waiting, dead = asyncio.run(look(server.url))
    assert (dying.deaths, waiting) == (2, 0)
    assert [reason for _, reason in dead] == ["delivered 3 times, never acknowledged"]
    end(server.process)


def test_user_and_password_may_hold_any_letter_and_stay_secret(tmp_path: Path) -> None:
    server = Server(tmp_path / "js", "--user", "g:te", "--pass", "p@ss/wörd")
    good = server.url.replace("//", "//g%3Ate:p%40ss%2Fw%C3%B6rd@")
    sink = SpooledSink(JetStream(good), Spool(tmp_path / "s.db"))
    sink.put(entries(0))
    assert sink.close(PATIENCE_S).acknowledged == 1 and "p@ss" not in sink.name
    with capture_logs() as said:
        wrong = SpooledSink(JetStream(server.url.replace("//", "//me:s3cret@")), Spool(tmp_path / "w.db"))
        wrong.put(entries(0))
        wait_until(lambda: said)
        assert wrong.close(0.0).kept == 1
    assert "refused shots" in said[0]["reason"] and "s3cret" not in str(said)
    end(server.process)


async def publish(url: str, data: bytes, headers: dict[str, str] | None = None) -> None:
    client = await nats.connect(url)
    await make_streams(nats, client.jetstream())
    await client.jetstream().publish(f"{SUBJECT}.door", data, headers=headers)
    await client.close()


async def listen(url: str, heard: list[str], listens: Event, done: Event) -> None:
    client = await nats.connect(url)

    async def hear(message: Any) -> None:
        heard.append(message.subject)

    await client.subscribe("facegate.>", cb=hear)
    await client.flush()
    listens.set()
    while not done.is_set():
        await asyncio.sleep(0.02)
    await client.flush()
    await client.close()


async def look(url: str) -> tuple[int, list[tuple[bytes, str]]]:
    """How many shots wait, and the dead ones with their reasons."""
    client = await nats.connect(url)
    stream = client.jetstream()
    waiting = (await stream.stream_info(STREAM)).state.messages
    dead = (await stream.stream_info(DEAD_STREAM)).state
    found = [await stream.get_msg(DEAD_STREAM, number) for number in range(dead.first_seq, dead.last_seq + 1)]
    await client.close()
    return waiting, [(bytes(item.data or b""), (item.headers or {})["Reason"]) for item in found]


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("http://x", "the URL of a jetstream output"),
        ("nats://10.0.0.5:4222", "use tls://"),
        ("nats://", "the URL of a jetstream output"),
    ],
)
def test_an_address_that_is_wrong_or_not_encrypted_is_refused(to: str, words: str) -> None:
    other = {"kind": "jetstream", "url": to, "spool": "a.db"}
    with pytest.raises(ConfigError, match=words):
        build_config({"cameras": [{"name": "a", "source": "0"}], "delivery": {"outputs": [other]}})
    if "10." in to:
        build_config(
            {"cameras": [{"name": "a", "source": "0"}], "delivery": {"outputs": [other | {"allow_insecure": True}]}}
        )
