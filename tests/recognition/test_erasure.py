"""Somebody is taken out of gallery, unknown faces, spools and results; everybody else stays, to the byte."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Sequence
from pathlib import Path
from time import time

import msgspec
import numpy as np
import pytest

from facegate.console.processes.abandoned_visits import ABANDONED_S, WORKER_AWAY_S, AbandonedVisits
from facegate.errors import DeliveryError, GalleryError
from facegate.pipeline.records import Floats, Image
from facegate.recognition.enrollment.erasure import erase_everywhere
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.enrollment.records import Erased, FaceSample
from facegate.recognition.enrollment.unknowns import UnknownStore
from facegate.recognition.matching.gallery import Match
from facegate.recognition.worker.open_visits import claim_visits
from facegate.recognition.worker.visit_state import VisitEvent, VisitState
from facegate.sinks import wire
from facegate.sinks.spool import Spool
from facegate.sinks.wire import EncodedShot
from facegate.store.reader import StoreReader
from facegate.store.records import TrackRecord, VisitUpdate
from facegate.store.writer import StoreWriter

from ..helpers import facegate
from ..sinks.test_wire import make_shot

ADA, BO = (220, 60, 60), (60, 220, 60)


class Colors:
    """Tells people apart by the color of their crops, which a JPEG keeps."""

    name = version = "colors"
    threshold = 0.9

    def embed(self, crops: Sequence[Image]) -> Floats:
        rows = np.array([crop.mean((0, 1)) - 128 for crop in crops], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)  # type: ignore[no-any-return]


def crop(color: tuple[int, int, int]) -> Image:
    return np.full((112, 112, 3), color, np.uint8)


def shot(number: int, color: tuple[int, int, int]) -> EncodedShot:
    made = make_shot(number)
    face = msgspec.structs.replace(made.scored.face, crop=crop(color))
    return wire.pack(msgspec.structs.replace(made, scored=msgspec.structs.replace(made.scored, face=face)))


LINES = [
    {"event": "shot", "shot_id": "a", "name": "Ada"},
    {"event": "seen", "visit": "r/door/1", "name": None},
    {"event": "named", "visit": "r/door/1", "name": "Ada"},
    {"event": "seen", "visit": "r/door/2", "name": None},
    {"event": "changed", "visit": "r/door/2", "name": "Bo", "before": "Ada"},
    {"event": "named", "visit": "r/door/3", "name": "Bo"},
    {"event": "ended", "visit": "r/door/4", "name": None},
]


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    path = tmp_path / "people.db"
    with GalleryStore(path, create=True) as people, UnknownStore(path) as unknowns:
        people.add("Ada", [FaceSample("a.png", "a" * 64, crop(ADA), 80, 90.0, 0.1, 1)])
        people.add("Bo", [FaceSample("b.png", "b" * 64, crop(BO), 80, 90.0, 0.1, 1)])
        for number, color in enumerate((ADA, BO, ADA)):
            vector = Colors().embed([crop(color)])[0]
            unknowns.keep(f"r/door/{number}", "door", time(), 60, crop(color), "colors", vector)
    return path


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    path = tmp_path / "gate.spool"
    made = Spool(path)
    made.put([shot(0, ADA), shot(1, BO), shot(2, ADA)])
    made.put([EncodedShot("v/named/1", "door", 1, json.dumps(LINES[2]).encode(), b"")])
    made.put([EncodedShot("v/named/2", "door", 1, json.dumps(LINES[5]).encode(), b"")])
    made.dead_letter(made.after(0, 1)[0])
    made.close()
    return path


def test_one_goes_from_everywhere_and_the_others_stay(tmp_path: Path, gallery: Path, spool: Path) -> None:
    results = tmp_path / "names.jsonl"
    torn = b'{"event":"shot","name":"Ad\n'
    results.write_bytes(b"".join(json.dumps(line).encode() + b"\n" for line in LINES) + torn)
    results.chmod(0o640)
    erased = erase_everywhere(gallery, "Ada", Colors(), Colors.threshold, [spool], [results])
    assert erased == [
        Erased(str(spool), 3, "pending entries"),
        Erased(str(results), 5, "lines"),
        Erased(str(gallery), 2, "unknown faces"),
        Erased(str(gallery), 1, "pictures"),
    ]
    left = Spool(spool)
    assert [entry.shot_id for entry in left.after(0, 9)] == [shot(1, BO).shot_id, "v/named/2"]
    assert left.status().dead == 0
    left.close()
    kept = b"".join(json.dumps(line).encode() + b"\n" for line in LINES[5:]) + torn
    assert results.read_bytes() == kept and results.stat().st_mode & 0o777 == 0o640
    with GalleryStore(gallery) as people, UnknownStore(gallery) as unknowns:
        assert [person.name for person in people.people()] == ["Bo"] and len(unknowns.vectors(Colors())[0]) == 1
    with pytest.raises(GalleryError, match="Ada"):
        erase_everywhere(gallery, "Ada", Colors(), Colors.threshold)


def test_nothing_is_removed_where_a_place_is_missing_or_in_use(tmp_path: Path, gallery: Path, spool: Path) -> None:
    results = tmp_path / "names.jsonl"
    results.write_text(json.dumps(LINES[0]) + "\n")
    with pytest.raises(GalleryError, match="nothing was removed"):
        erase_everywhere(gallery, "Ada", Colors(), 0.9, [spool, tmp_path / "no.spool"], [results])
    with results.open("a") as worker:
        fcntl.flock(worker, fcntl.LOCK_SH)
        with pytest.raises(GalleryError, match="stop it first"):
            erase_everywhere(gallery, "Ada", Colors(), 0.9, [], [results])
    with pytest.raises(DeliveryError):
        erase_everywhere(gallery, "Ada", Colors(), 0.9, [results])
    with GalleryStore(gallery) as people:
        assert len(people.people()) == 2
    assert results.read_text() == json.dumps(LINES[0]) + "\n"


def test_the_command_says_what_was_found_where(gallery: Path) -> None:
    done = facegate("gallery", "remove", gallery, "Bo", "--everywhere", "--embedder", "builtin", "--json")
    assert done.returncode == 0, done.stderr
    assert [(place["found"], place["what"]) for place in json.loads(done.stdout)][-1] == (1, "pictures")


def told(kind: str, track: int, name: str | None) -> bytes:
    event = VisitEvent(kind, f"r/door/{track}", "door", track, name, 0.7, 0.3, 1e-5, 1, 0.0, 1.0)  # type: ignore[arg-type]
    return msgspec.json.encode(event)


def waiting(path: Path) -> list[tuple[str, str | None]]:
    spool = Spool(path)
    found = [json.loads(entry.header) for entry in spool.after(0, 99)]
    spool.close()
    return [(line["event"], line["name"]) for line in found]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A console's folder: Ada and Bo are stored, and of both something waits."""
    data = tmp_path / "data"
    (data / "names").mkdir(parents=True)
    with StoreWriter(data / "store.db", create=True) as store:
        store.update_visits([news(track, name) for track, name in ((1, "Ada"), (2, "Bo"))])
        store.update_visits([news(3, None)])
    outbox = Spool(data / "names" / "x.spool")
    outbox.put([
        EncodedShot(f"{track}/{kind}", "door", track, told(kind, track, name), b"")
        for kind, track, name in [("named", 3, "Ada"), ("ended", 1, "Ada"), ("ended", 2, "Bo"), ("seen", 3, None)]
    ])  # fmt: skip
    outbox.close()
    return data


def news(track: int, name: str | None) -> VisitUpdate:
    return VisitUpdate(f"r/door/{track}", "door", track, name, 0.7, 0.3, 1e-5, time(), "named")


def test_nothing_that_comes_late_brings_back_who_was_removed(gallery: Path, folder: Path) -> None:
    """Stored, about to be stored under the name, or still in view: what follows of these visits is refused."""
    erase_everywhere(gallery, "Ada", Colors(), Colors.threshold, data=folder)
    path = folder / "store.db"
    assert waiting(folder / "names" / "x.spool") == [("ended", None), ("ended", "Bo"), ("seen", None)]
    with StoreWriter(path) as store, StoreReader(path) as reader:
        for track in (1, 3):
            store.update_visits([news(track, "Ada"), news(track, None)])
            store.add_tracks([TrackRecord("r", "door", track, 1.0, 2.0, 1, None, {}, ())])
            assert reader.visit(f"r/door/{track}") is None and reader.track(f"r/door/{track}") is None
        late = msgspec.structs.replace(
            wire.decode_header(shot(0, ADA).header), run_id="r", camera="door", track_id=1
        )
        store.add_shots([EncodedShot("late", "door", 1, wire.encode(late), shot(0, ADA).crop)])
        assert reader.count() == {"shots": 0, "visits": 1}


def test_a_new_name_holds_for_what_is_stored_and_what_waits(gallery: Path, folder: Path) -> None:
    done = facegate("gallery", "rename", gallery, "Ada", "Ada L.", "--data", folder)
    assert done.returncode == 0, done.stderr
    assert waiting(folder / "names" / "x.spool") == [
        ("named", "Ada L."),
        ("ended", "Ada L."),
        ("ended", "Bo"),
        ("seen", None),
    ]
    with StoreReader(folder / "store.db") as reader:
        assert reader.names_of(["r/door/1", "r/door/2"]) == {"r/door/1": "Ada L.", "r/door/2": "Bo"}


def test_a_visit_that_nobody_will_end_is_over_and_one_that_a_worker_holds_is_not(folder: Path) -> None:
    held, _, owner = claim_visits(folder / "names", ["a"])
    state = VisitState("r", "door", 2, 0.0, 0.0, None, Match("Bo", 0.7, 0.3, 0.7, None), b"", b"", 80, 1, [])
    held.save([(state, True)])
    runs = [True]
    with StoreReader(folder / "store.db") as store:
        watch = AbandonedVisits(store, folder / "store.db", folder / "names", lambda: runs[0])
        assert watch.end(0.0) == [] and watch.end(ABANDONED_S - 1) == []
        assert sorted(watch.end(ABANDONED_S)) == ["r/door/1", "r/door/3"]
        assert watch.end(1000.0) == [] and list(store.open_visits()) == ["r/door/2"]
        runs[0] = False  # and never comes back
        assert watch.end(1000.0 + WORKER_AWAY_S) == ["r/door/2"]
        with StoreWriter(folder / "store.db") as writer:
            writer.update_visits([news(2, "Bo")])
        assert list(store.open_visits()) == ["r/door/2"], "somebody holds it open after all"
    owner.close()
