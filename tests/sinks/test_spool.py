"""The spool: nothing is lost with the gate, nothing is delivered that was acknowledged, and erased means gone."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread
from time import monotonic, time

import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from facegate.errors import DeliveryError
from facegate.sinks import wire, zeromq
from facegate.sinks.spool import Spool
from facegate.sinks.wire import EncodedShot
from facegate.sinks.zeromq import ZmqSink

from ..helpers import PATIENCE_S, ROOT, bytes_in, facegate, process, wait_until
from .test_wire import entries
from .test_zeromq import peers


def entry(number: int, size: int = 100) -> EncodedShot:
    return EncodedShot(f"shot-{number}", "door", number, b"header", bytes([number % 256]) * size)


def test_shots_survive_and_come_back_in_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s.db")
    assert [item.row for item in spool.put([entry(i) for i in range(5)])] == [1, 2, 3, 4, 5] and spool.newest == 5
    assert not spool.put([entry(3)]), "the same shot twice is one shot"
    spool.close()
    again = Spool(tmp_path / "s.db")
    found = again.after(0, 10)
    assert [item.shot_id for item in found] == [f"shot-{i}" for i in range(5)] and found[2].crop == bytes([2]) * 100
    again.delete(found[:2])
    assert len(again) == 3 and again.bytes == 3 * 106
    assert [item.shot_id for item in again.after(found[2].row, 10)] == ["shot-3", "shot-4"]
    again.close()


@settings(max_examples=30)
@given(steps=st.lists(st.tuples(st.sampled_from("pda"), st.integers(0, 9)), max_size=40))
def test_counts_are_those_of_the_file_whatever_was_done(
    steps: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("spool") / "s.db"
    spool = Spool(path)
    for what, number in steps:
        if what == "p":
            spool.put([entry(number, 10 * number), entry(number + 1)])
        elif what == "d":
            spool.drop_oldest()
        else:
            spool.delete(spool.after(0, number))
    assert len(spool) == len(spool.after(0, 100)) == spool.status().shots
    assert spool.bytes == sum(len(item.header) + len(item.crop) for item in spool.after(0, 100))
    spool.close()


def test_what_is_erased_is_not_in_the_files_any_more(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s.db")
    mark = b"the face of somebody who asked to be forgotten"
    spool.put([EncodedShot("a", "door", 7, b"h", mark * 50), EncodedShot("b", "door", 8, b"h", b"other")])
    assert mark in bytes_in(tmp_path)
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}
    assert spool.erase(camera="door", track_id=7) == ["a"] and not spool.erase(before=time() - 3600)
    assert mark not in bytes_in(tmp_path)
    assert [item.shot_id for item in spool.after(0, 9)] == ["b"]
    assert spool.status().cameras == {"door": 1}
    spool.close()


def test_what_is_no_spool_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello " * 1000)
    with pytest.raises(DeliveryError, match="cannot use spool"):
        Spool(tmp_path / "text")
    with sqlite3.connect(tmp_path / "newer.db") as db:
        db.execute("PRAGMA user_version=9")
    with pytest.raises(DeliveryError, match="version 9"):
        Spool(tmp_path / "newer.db")
    with pytest.raises(DeliveryError, match="cannot use spool"):
        Spool(tmp_path / "text" / "s.db")


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace to see what reaches the disk")
def test_full_waits_for_the_disk_at_every_commit_and_normal_does_not(tmp_path: Path) -> None:
    syncs = {}
    for mode in ("normal", "full"):
        code = f"""
from pathlib import Path
from threading import Thread
from facegate.sinks.spool import Spool
from tests.sinks.test_spool import entry
spool = Spool(Path({str(tmp_path / mode)!r}), synchronous={mode!r})
for number in range(20):
    spool.put([entry(number)])
"""
        command = [
            "strace",
            "-f",
            "-e",
            "trace=fsync,fdatasync",
            "-o",
            tmp_path / "calls",
            sys.executable,
            "-c",
            code,
        ]
        subprocess.run(command, check=True, cwd=ROOT)
        syncs[mode] = (tmp_path / "calls").read_text().count("sync(")
    assert syncs["full"] >= syncs["normal"] + 20


def test_a_spool_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "s.db")) as db, db:
        db.execute(
            "CREATE TABLE shots (id INTEGER PRIMARY KEY AUTOINCREMENT, shot_id TEXT NOT NULL UNIQUE, camera TEXT, "
            "track_id INTEGER, created REAL, size INTEGER, header BLOB, crop BLOB)"
        )
        db.execute("INSERT INTO shots VALUES (1, 'old', 'door', 7, 1.0, 3, x'01', x'0203')")
        db.execute("PRAGMA user_version=1")
    spool = Spool(tmp_path / "s.db")
    spool.put([EncodedShot("new", "door", 8, b"h", b"crop", b"context")])
    assert [item.pictures for item in spool.after(0, 9)] == [[b"\x02\x03"], [b"crop", b"context"]]
    spool.close()
    assert len(Spool(tmp_path / "s.db")) == 2


def test_what_has_waited_too_long_is_erased_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zeromq, "TIDY_S", 0.1)
    sink = ZmqSink("tcp://127.0.0.1:*", spool=Spool(tmp_path / "s.db", max_age_s=0.5), max_pending=2)
    sink.put(entries(0, 1, 2))
    wait_until(lambda: sink.report().dropped >= 3)
    sink.put(entries(3))
    taken = take(sink.endpoint, 1, acknowledge=True)
    report = sink.close(PATIENCE_S)
    assert (report.accepted, report.acknowledged, report.dropped) == (1, 1, 3)
    assert taken == [entries(3)[0].shot_id]


def test_what_is_erased_while_a_gate_holds_it_is_not_sent_and_not_waited_for(tmp_path: Path) -> None:
    sink = ZmqSink("tcp://127.0.0.1:*", spool=Spool(tmp_path / "s.db"))
    sink.put(entries(0, 1, 2))
    erased = facegate("spool", "purge", tmp_path / "s.db", "--camera", "door", "--track", 7)
    assert "3 shots erased" in erased.stdout
    sink.put(entries(3))
    with worker_at(sink.endpoint) as worker:
        thread = Thread(target=sink.close, args=(PATIENCE_S,))
        thread.start()
        shot_id = receive(worker)
        worker.send_multipart([wire.ACK, wire.encode(wire.Ack(shot_id, 1.0))])
        thread.join(PATIENCE_S)
    report = sink.report()
    assert shot_id == entries(3)[0].shot_id
    assert (report.accepted, report.acknowledged, report.dropped) == (1, 1, 3)


def test_what_is_erased_while_a_worker_has_it_goes_to_nobody_else(tmp_path: Path) -> None:
    sink = ZmqSink("tcp://127.0.0.1:*", spool=Spool(tmp_path / "s.db"))
    sink.put(entries(0))
    with worker_at(sink.endpoint) as worker, closing(Spool(tmp_path / "s.db")) as other:
        first = receive(worker)
        other.erase(camera="door")
        wait_until(lambda: sink.report().dropped)
        worker.send_multipart([wire.BYE, b""])
        worker.send_multipart([wire.READY, wire.encode(wire.Ready(64))])
        sink.put(entries(1))
        thread = Thread(target=sink.close, args=(PATIENCE_S,))
        thread.start()
        came = {first}
        while thread.is_alive():  # it may come twice: before the gate has read the worker's BYE, and after
            frames = worker.recv_multipart() if worker.poll(50) else []
            if frames[:1] == [wire.SHOT]:
                came.add(second := wire.decode_header(frames[1]).shot_id)
                worker.send_multipart([wire.ACK, wire.encode(wire.Ack(second, 1.0))])
        report = sink.report()
    assert came == {entry.shot_id for entry in entries(0, 1)}
    assert (report.accepted, report.acknowledged, report.dropped) == (1, 1, 1)


def test_one_gate_at_a_time_delivers_from_a_spool(tmp_path: Path) -> None:
    sink = ZmqSink("tcp://127.0.0.1:*", spool=Spool(tmp_path / "s.db"))
    second = facegate("spool", "retry", tmp_path / "s.db", "--bind", f"ipc://{tmp_path}/gate", "--seconds", 1)
    assert second.returncode == 1 and "is in use: another gate delivers from it" in second.stderr
    assert json.loads(facegate("spool", "status", tmp_path / "s.db").stdout)["shots"] == 0
    sink.close(0.0)
    assert facegate("spool", "retry", tmp_path / "s.db", "--bind", f"ipc://{tmp_path}/gate").returncode == 0


def take(
    endpoint: str,
    count: int,
    *,
    acknowledge: bool,
    seconds: float = PATIENCE_S,
    until: Callable[[], bool] = lambda: False,
) -> list[str]:
    """A worker that takes ``count`` shots, or what there is ``until`` something."""
    seen: list[str] = []
    deadline = monotonic() + seconds
    with worker_at(endpoint) as worker:
        while len(seen) < count and monotonic() < deadline and not until():
            if worker.poll(100):
                kind, *body = worker.recv_multipart()
                if kind == wire.SHOT:
                    seen.append(wire.decode_header(body[0]).shot_id)
                    if acknowledge:
                        worker.send_multipart([wire.ACK, wire.encode(wire.Ack(seen[-1], 1.0))])
    return seen


def test_a_gate_that_was_not_heard_delivers_in_its_next_life(tmp_path: Path) -> None:
    sink = ZmqSink("tcp://127.0.0.1:*", spool=Spool(tmp_path / "s.db"))
    sent = entries(*range(10))
    for item in sent:
        sink.put([item])
    taken = take(sink.endpoint, 4, acknowledge=True)
    report = sink.close(0.5)
    assert report.kept == report.undelivered == 10 - report.acknowledged
    second = ZmqSink("tcp://127.0.0.1:*", spool=Spool(tmp_path / "s.db"))
    rest = take(second.endpoint, report.kept, acknowledge=True)
    last = second.close(PATIENCE_S)
    assert last.undelivered == 0
    assert set(taken) | set(rest) == {item.shot_id for item in sent}
    assert len(Spool(tmp_path / "s.db")) == 0


def test_a_full_spool_blocks_drops_or_stops_as_told(tmp_path: Path) -> None:
    one = entries(0)[0].size
    stopping = ZmqSink(
        "tcp://127.0.0.1:*", spool=Spool(tmp_path / "a.db", max_bytes=int(2.5 * one)), when_full="stop"
    )
    for i in range(3):
        stopping.put(entries(i))
    with pytest.raises(DeliveryError, match="start workers"):
        stopping.put(entries(3))
    stopping.close(0.0)
    dropping = ZmqSink(
        "tcp://127.0.0.1:*", spool=Spool(tmp_path / "b.db", max_bytes=int(2.5 * one)), when_full="drop_oldest"
    )
    for i in range(8):
        dropping.put(entries(i))
    report = dropping.close(0.0)
    assert report.dropped == 5 and report.kept == 3
    kept = [item.shot_id for item in Spool(tmp_path / "b.db").after(0, 9)]
    assert kept == [item.shot_id for item in entries(5, 6, 7)]


def test_a_shot_dropped_while_a_worker_has_it_is_counted_once(tmp_path: Path) -> None:
    one = entries(0)[0].size
    sink = ZmqSink(
        "tcp://127.0.0.1:*", spool=Spool(tmp_path / "s.db", max_bytes=int(2.5 * one)), when_full="drop_oldest"
    )
    for i in range(3):
        sink.put(entries(i))
    with worker_at(sink.endpoint) as worker:
        first = [receive(worker) for _ in range(3)]
        for i in range(3, 6):  # the three that the worker holds make room
            sink.put(entries(i))
        rest = [receive(worker) for _ in range(3)]
        for shot_id in (*first, *rest):
            worker.send_multipart([wire.ACK, wire.encode(wire.Ack(shot_id, 1.0))])
        report = sink.close(PATIENCE_S)
    assert (report.accepted, report.acknowledged, report.undelivered) == (3, 3, 0)
    assert report.dropped == 3 and len(Spool(tmp_path / "s.db")) == 0


@contextmanager
def worker_at(endpoint: str) -> Iterator[zmq.Socket[bytes]]:
    context = zmq.Context()
    worker = context.socket(zmq.DEALER)
    worker.setsockopt(zmq.LINGER, 1000)
    worker.connect(endpoint)
    worker.send_multipart([wire.READY, wire.encode(wire.Ready(64))])
    yield worker
    worker.close()
    context.term()


def receive(worker: zmq.Socket[bytes]) -> str:
    assert worker.poll(1000 * PATIENCE_S)
    return wire.decode_header(worker.recv_multipart()[1]).shot_id


def test_the_command_line_shows_exports_erases_and_delivers(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    sink = ZmqSink("tcp://127.0.0.1:*", spool=Spool(path))
    for i in range(3):
        sink.put(entries(i))
    sink.close(0.0)
    assert json.loads(facegate("spool", "status", path).stdout)["shots"] == 3
    assert "3 crops" in facegate("spool", "export", path, tmp_path / "out").stdout
    index = [json.loads(row) for row in (tmp_path / "out" / "index.jsonl").read_text().splitlines()]
    assert all((tmp_path / "out" / f"door-{row['shot_id']}.jpg").is_file() for row in index)
    assert len(index) == 3
    again = facegate("spool", "export", path, tmp_path / "out")
    assert again.returncode == 2 and "give a new folder" in again.stderr
    nothing = facegate("spool", "purge", path)
    assert nothing.returncode == 2 and "nothing selected" in nothing.stderr
    assert "0 shots" in facegate("spool", "purge", path, "--camera", "other").stdout
    alone = facegate("spool", "purge", path, "--track", 7)
    assert alone.returncode == 2 and "--track needs --camera" in alone.stderr
    endpoint = f"ipc://{tmp_path}/gate"
    with process("spool", "retry", path, "--bind", endpoint) as gate:
        assert len(take(endpoint, 3, acknowledge=True)) == 3
        assert gate.wait(PATIENCE_S) == 0
    assert json.loads(facegate("spool", "status", path).stdout)["shots"] == 0
    missing = facegate("spool", "status", tmp_path / "none.db")
    assert missing.returncode == 2 and "no spool at" in missing.stderr


def test_a_shot_that_nobody_acknowledges_is_put_aside_shown_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zeromq, "DEAD_LETTER_AFTER", 2)
    path = tmp_path / "s.db"
    deadly, good = entries(1)[0], entries(2)[0]
    sink = ZmqSink("tcp://127.0.0.1:*", lease_s=0.3, spool=Spool(path))
    sink.put([deadly, good])
    with peers(sink.endpoint) as (worker,):
        until, done = monotonic() + PATIENCE_S, 0
        while sink.report().dead_lettered < 1 or not done:
            assert monotonic() < until
            worker.ready(2)
            if worker.has_mail(100) and (shot_id := worker.shot()) == good.shot_id:
                worker.ack(shot_id)
                done += 1
        report = sink.close(PATIENCE_S)
    assert (report.accepted, report.acknowledged, report.undelivered, report.dead_lettered) == (1, 1, 0, 1)
    assert json.loads(facegate("spool", "status", path).stdout)["dead"] == 1
    listed = facegate("spool", "dead", path, "--to", tmp_path / "dead", "--retry")
    assert json.loads(listed.stdout)["shot_id"] == deadly.shot_id, listed.stderr
    assert listed.stderr == "1 shot requeued\n"
    assert len(list((tmp_path / "dead").glob("*.jpg"))) == 1
    with closing(Spool(path)) as spool:
        assert len(spool) == 1 and spool.status().dead == 0
        assert spool.after(0, 10)[0].crop == deadly.crop
