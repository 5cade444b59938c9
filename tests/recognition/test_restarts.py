"""A worker that is killed with somebody in view: the next one goes on with the visit, and tells its end once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any

import pytest

from facegate.demo.clip import DemoClip
from facegate.pipeline.records import LiveTracks
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.enrollment.records import FaceSample
from facegate.recognition.publishers.factory import PublisherSet
from facegate.recognition.worker.visit_state import Kind, VisitEvent
from facegate.sinks import wire
from facegate.sinks.spool import Spool
from facegate.sinks.zeromq import ZmqSink
from facegate.store.reader import StoreReader

from ..helpers import process
from ..sinks.test_wire import entries, make_shot

GIVE_UP_S = 60.0


class FakeGate:
    """A gate's end of delivery, with one camera of which a test says which tracks live."""

    def __init__(self) -> None:
        shot = make_shot(1)
        self.sink = ZmqSink("tcp://127.0.0.1:*")
        self.run_id, self.camera, self.track_id = shot.run_id, shot.camera, shot.track_id
        self.live: tuple[int, ...] = (shot.track_id,)
        self._stop = Event()
        self._thread = Thread(target=self._report)
        self._thread.start()

    def _report(self) -> None:
        while not self._stop.wait(0.1):
            self.sink.live(LiveTracks(self.run_id, {self.camera: self.live}))

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.sink.abort()
        self.sink.close(0.0)


@pytest.fixture
def gate() -> Iterator[FakeGate]:
    made = FakeGate()
    yield made
    made.close()


def lines(path: Path) -> list[dict[str, Any]]:
    """Of visits alone."""
    text = path.read_text() if path.is_file() else ""
    return [line for line in map(json.loads, text.split("\n")[:-1]) if line["event"] != "shot"]


def until(path: Path, event: str) -> None:
    deadline = monotonic() + GIVE_UP_S
    while not any(line["event"] == event for line in lines(path)):
        assert monotonic() < deadline, lines(path)
        sleep(0.05)


@pytest.mark.parametrize("stored", [True, False])
def test_a_visit_outlives_its_worker_and_ends_with_its_track(
    gate: FakeGate, clip: DemoClip, tmp_path: Path, stored: bool
) -> None:
    output, store = tmp_path / "names.jsonl", tmp_path / "store.db"

    @contextmanager
    def worker() -> Iterator[None]:
        to = ("--publish", f"store://{store}") if stored else ()
        with process(
            "recognize", "--gallery", clip.gallery, "--embedder", "builtin", "--connect", gate.sink.endpoint,
            "--output", output, "--spool-dir", tmp_path / "waiting", *to,
        ):  # fmt: skip
            yield  # and then it is killed

    with worker():
        gate.sink.put(entries(1))
        until(output, "seen")
        before = gate.live
    with worker():
        deadline = monotonic() + GIVE_UP_S
        while not len(gate.sink._workers) and monotonic() < deadline:
            sleep(0.05)
        gate.live = ()
        until(output, "ended")
        sleep(0.5)
        if stored:
            with StoreReader(store) as reader:
                while not (visit := reader.visit(f"{gate.run_id}/{gate.camera}/{before[0]}")) or not visit.ended:
                    assert monotonic() < deadline, visit
                    sleep(0.05)
    found = lines(output)
    assert Counter(line["event"] for line in found) == Counter(seen=1, ended=1)
    assert len({line["id"] for line in found}) == 2


def test_what_waits_goes_out_under_the_names_that_hold_now(tmp_path: Path) -> None:
    """In an outbox whose server is away: an end is told without the name of somebody who was removed."""
    places = PublisherSet(["nats://127.0.0.1:9"], tmp_path)
    kinds: tuple[Kind, ...] = ("seen", "named", "ended")
    for track, name in enumerate(["Ann", "Bob", "Eve"]):
        for kind in kinds:
            given = None if kind == "seen" else name
            told = VisitEvent(
                kind, f"r/c/{track}", "c", track, given, 0.7, 0.3, None, 1, 0.0, 1.0, id=f"{track}/{kind}"
            )
            places.publish([told])
    places.rename(lambda name: {"Ann": "Ann Smith", "Bob": None}.get(name, name))
    for outbox in places._sinks:
        outbox.abort()
    places.close()
    spool = Spool(next(tmp_path.glob("*.spool")))
    waiting = [json.loads(entry.header) for entry in spool.after(0, 99)]
    spool.close()
    assert [(line["event"], line["name"]) for line in waiting] == [
        ("seen", None), ("named", "Ann Smith"), ("ended", "Ann Smith"),
        ("seen", None), ("ended", None),
        ("seen", None), ("named", "Eve"), ("ended", "Eve"),
    ]  # fmt: skip


def test_a_name_that_goes_while_somebody_is_in_view_goes_from_the_next_lines_too(
    gate: FakeGate, tmp_path: Path
) -> None:
    gallery, output = tmp_path / "people.db", tmp_path / "names.jsonl"
    (entry,) = entries(1)
    crop = wire.unpack_crop(wire.decode_header(entry.header), entry.crop)
    look = FaceSample("a.png", "a" * 64, crop, 80, 90.0, 0.1, 1)
    with GalleryStore(gallery, create=True) as people:
        people.add("Ann", [look])
        with process(
            "recognize", "--gallery", gallery, "--embedder", "builtin", "--connect", gate.sink.endpoint,
            "--output", output, "--spool-dir", tmp_path / "waiting", "--threshold", "0.9",
        ):  # fmt: skip
            gate.sink.put(entries(1))
            until(output, "named")
            people.rename("Ann", "Ann Smith")
            until(output, "changed")
            gate.live = ()
            until(output, "ended")
    found = [(line["event"], line["name"]) for line in lines(output)]
    assert found == [("seen", None), ("named", "Ann"), ("changed", "Ann Smith"), ("ended", "Ann Smith")]
    assert all(line["before"] is None for line in lines(output))
