"""Faces and templates of visits without a name are in no file after their time, while others come and are read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from threading import Event, Thread
from time import monotonic, time

import msgspec
import numpy as np

from facegate.recognition.enrollment.unknowns import UnknownStore
from facegate.sinks import wire
from facegate.sinks.wire import EncodedShot
from facegate.store.reader import StoreReader, VisitFilter
from facegate.store.records import VisitTemplate, VisitUpdate, packed
from facegate.store.retention import CameraRetention, Retention, RetentionLimits
from facegate.store.writer import StoreWriter

from ..helpers import bytes_in
from ..sinks.test_wire import make_shot

DAY_S = 86_400.0
HEADER = wire.decode_header(wire.pack(make_shot(0)).header)
NUMBERS = count(1)
RANDOM = np.random.default_rng(0)


def add(store: StoreWriter, name: str | None, seen: float) -> tuple[bytes, bytes]:
    """Store a visit; return parts of its crop and of its template that occur nowhere else."""
    track = next(NUMBERS)
    crop = b"\xff\xd8" + RANDOM.bytes(3000)
    header = msgspec.structs.replace(HEADER, shot_id=f"{track:032x}", track_id=track, received_at=seen)
    store.add_shots([EncodedShot(header.shot_id, "door", track, wire.encode(header), crop)])
    visit = f"run/door/{track}"
    store.update_visits([VisitUpdate(visit, "door", track, name, 0.5, 0.1, 1e-2, seen, "ended")])
    template = packed(RANDOM.normal(size=128).astype(np.float32))
    store.put_templates([VisitTemplate(visit, "r" * 16, template)])
    return crop[1000:1024], template[:24]


@contextmanager
def load(path: Path) -> Iterator[None]:
    """Somebody stores, and somebody reads, all the time."""
    stop = Event()

    def write() -> None:
        with StoreWriter(path) as store:
            while not stop.wait(0.005):
                add(store, None, time())

    def read() -> None:
        with StoreReader(path) as store:
            while not stop.wait(0.002):
                store.visits(VisitFilter())

    threads = [Thread(target=write), Thread(target=read)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_what_had_no_name_is_in_no_file_after_its_time_under_load(tmp_path: Path) -> None:
    path, now = tmp_path / "store.db", time()
    with StoreWriter(path, create=True) as store:
        old = [add(store, None, now - 2 * DAY_S) for _ in range(60)]
        named = [add(store, "Ada", now - 2 * DAY_S) for _ in range(10)]
    with StoreReader(path) as reader:
        oldest = reader.oldest_unmatched()
        assert oldest is not None and oldest < now - DAY_S
    limits, own = RetentionLimits(30, 1000), {"door": CameraRetention(30, 1, 30)}
    with Retention(path) as retention, load(path):
        assert all(part in bytes_in(tmp_path) for parts in (*old, *named) for part in parts)
        deadline = monotonic() + 60
        while True:
            retention.apply(tmp_path / "recordings", limits, time(), cameras=own)
            content = bytes_in(tmp_path)
            left = [part for parts in old for part in parts if part in content]
            if not left or monotonic() > deadline:
                break
    assert left == []
    assert all(part in content for parts in named for part in parts)
    with StoreReader(path) as reader:
        oldest = reader.oldest_unmatched()
        assert oldest is not None and oldest > now - DAY_S, "the metric says so"


def test_unknown_faces_of_the_gallery_are_in_no_file_after_their_time(tmp_path: Path) -> None:
    path, now = tmp_path / "people.db", time()
    with UnknownStore(path, create=True) as unknowns:
        vectors = [RANDOM.normal(size=128).astype(np.float32) for _ in range(30)]
        for number, vector in enumerate(vectors):
            seen = now - (2 * DAY_S if number % 2 else 0)
            crop = RANDOM.integers(0, 255, (112, 112, 3)).astype(np.uint8)
            unknowns.keep(f"run/door/{number}", "door", seen, 60, crop, "m", vector)
        assert unknowns.forget_before({"door": now - DAY_S}) == 15
        content = bytes_in(tmp_path)
    parts = [np.asarray(vector, "<f4").tobytes()[:24] for vector in vectors]
    assert [part in content for part in parts] == [number % 2 == 0 for number in range(30)]
