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

from facegate.errors import DeliveryError, GalleryError
from facegate.pipeline.records import Floats, Image
from facegate.recognition.people.erasing import Erased, erase_everywhere
from facegate.recognition.people.records import Look
from facegate.recognition.people.store import People
from facegate.recognition.people.unknowns import Unknowns
from facegate.sinks import wire
from facegate.sinks.spool import Spool
from facegate.sinks.wire import Entry

from ..helpers import facegate
from ..sinks.test_wire import make_shot

ADA, BO = (220, 60, 60), (60, 220, 60)


class Colours:
    """Tells people apart by the colour of their crops, which a JPEG keeps."""

    name = version = "colours"
    threshold = 0.9

    def embed(self, crops: Sequence[Image]) -> Floats:
        rows = np.array([crop.mean((0, 1)) - 128 for crop in crops], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)  # type: ignore[no-any-return]


def crop(colour: tuple[int, int, int]) -> Image:
    return np.full((112, 112, 3), colour, np.uint8)


def shot(number: int, colour: tuple[int, int, int]) -> Entry:
    made = make_shot(number)
    face = msgspec.structs.replace(made.scored.face, crop=crop(colour))
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
    with People(path, create=True) as people, Unknowns(path) as unknowns:
        people.add("Ada", [Look("a.png", "a" * 64, crop(ADA), 80, 90.0, 0.1, 1)])
        people.add("Bo", [Look("b.png", "b" * 64, crop(BO), 80, 90.0, 0.1, 1)])
        for number, colour in enumerate((ADA, BO, ADA)):
            vector = Colours().embed([crop(colour)])[0]
            unknowns.keep(f"r/door/{number}", "door", time(), 60, crop(colour), "colours", vector)
    return path


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    path = tmp_path / "gate.spool"
    made = Spool(path)
    made.put([shot(0, ADA), shot(1, BO), shot(2, ADA)])
    made.put([Entry("v/named/1", "door", 1, json.dumps(LINES[2]).encode(), b"")])
    made.put([Entry("v/named/2", "door", 1, json.dumps(LINES[5]).encode(), b"")])
    made.bury(made.after(0, 1)[0])
    made.close()
    return path


def test_one_goes_from_everywhere_and_the_others_stay(tmp_path: Path, gallery: Path, spool: Path) -> None:
    results = tmp_path / "names.jsonl"
    torn = b'{"event":"shot","name":"Ad\n'
    results.write_bytes(b"".join(json.dumps(line).encode() + b"\n" for line in LINES) + torn)
    results.chmod(0o640)
    erased = erase_everywhere(gallery, "Ada", Colours(), Colours.threshold, [spool], [results])
    assert erased == [
        Erased(str(spool), 3, "that waited"),
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
    with People(gallery) as people, Unknowns(gallery) as unknowns:
        assert [person.name for person in people.people()] == ["Bo"] and len(unknowns.vectors(Colours())[0]) == 1
    with pytest.raises(GalleryError, match="Ada"):
        erase_everywhere(gallery, "Ada", Colours(), Colours.threshold)


def test_nothing_is_removed_where_a_place_is_missing_or_in_use(tmp_path: Path, gallery: Path, spool: Path) -> None:
    results = tmp_path / "names.jsonl"
    results.write_text(json.dumps(LINES[0]) + "\n")
    with pytest.raises(GalleryError, match="nothing was removed"):
        erase_everywhere(gallery, "Ada", Colours(), 0.9, [spool, tmp_path / "no.spool"], [results])
    with results.open("a") as worker:
        fcntl.flock(worker, fcntl.LOCK_SH)
        with pytest.raises(GalleryError, match="stop it first"):
            erase_everywhere(gallery, "Ada", Colours(), 0.9, [], [results])
    with pytest.raises(DeliveryError):
        erase_everywhere(gallery, "Ada", Colours(), 0.9, [results])
    with People(gallery) as people:
        assert len(people.people()) == 2
    assert results.read_text() == json.dumps(LINES[0]) + "\n"


def test_the_command_says_what_was_found_where(gallery: Path) -> None:
    done = facegate("gallery", "remove", gallery, "Bo", "--everywhere", "--embedder", "builtin", "--json")
    assert done.returncode == 0, done.stderr
    assert [(place["found"], place["what"]) for place in json.loads(done.stdout)][-1] == (1, "pictures")
