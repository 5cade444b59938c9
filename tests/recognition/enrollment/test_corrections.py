"""Somebody says who a visit was: every worker that remembers it tells so, and takes it back."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from facegate.errors import GalleryError
from facegate.recognition.enrollment.corrections import UNDO_S, CorrectionStore
from facegate.recognition.enrollment.records import FaceSample
from facegate.recognition.matching.gallery_watcher import GalleryWatcher
from facegate.recognition.worker.open_visits import OpenVisits
from facegate.recognition.worker.recognizer import Recognizer
from facegate.sinks import wire
from facegate.sinks.wire import TrackEnded

from ...sinks.test_wire import make_shot
from ..test_gallery import LIMIT, MeanColor

RED, BLUE = (230, 40, 40), (40, 40, 230)


def sample(color: tuple[int, int, int], digest: str) -> FaceSample:
    crop = np.full((112, 112, 3), color, np.uint8)
    return FaceSample(f"{digest}.png", digest, crop, 80, 112.0, 0.0, 1)


def shot(track: int) -> tuple[wire.ShotHeader, bytes]:
    packed = wire.pack(make_shot(track))
    header = wire.decode_header(packed.header)
    return header, np.full((112, 112, 3), RED, np.uint8).tobytes()


class FollowingWorker:
    """A recognizer with a gallery and visits on disk."""

    def __init__(self, folder: Path) -> None:
        path = folder / "people.db"
        self.people = CorrectionStore(path, create=True)
        if not self.people.people():
            self.people.add("Ada", [sample(RED, "ada")])
            self.people.add("Ben", [sample(BLUE, "ben")])
        self.gallery = GalleryWatcher(path, MeanColor(), LIMIT, lambda: pytest.fail("no pictures"), folder)
        self.visits = OpenVisits(folder / "open.visits", create=True)
        self.output = io.StringIO()
        self.recognizer = Recognizer(
            lambda: self.gallery.gallery, MeanColor(), LIMIT, self.output, visits=(self.visits, self.visits.load())
        )

    def told(self) -> list[dict[str, Any]]:
        """What is new after the gallery was looked at."""
        self.gallery.refresh()
        self.recognizer.expire_visits()
        lines = [json.loads(line) for line in self.output.getvalue().splitlines()]
        self.output.seek(0)
        self.output.truncate()
        return lines

    def close(self) -> None:
        self.gallery.close()
        self.people.close()
        self.visits.close()


def brief(lines: list[dict[str, Any]]) -> list[tuple[str, str | None, str | None, bool]]:
    return [
        (line["event"], line["name"], line["before"], line["corrected"])
        for line in lines
        if line["event"] != "shot"
    ]


def raw(header: wire.ShotHeader, crop: bytes) -> tuple[wire.ShotHeader, bytes]:
    return msgspec.structs.replace(header, crop_encoding="rgb24"), crop


@pytest.mark.parametrize("ended", [False, True])
def test_a_correction_is_told_once_survives_a_restart_and_is_taken_back(tmp_path: Path, ended: bool) -> None:
    worker = FollowingWorker(tmp_path)
    header, crop = raw(*shot(1))
    visit = f"{header.run_id}/{header.camera}/{header.track_id}"
    worker.recognizer.recognize([(header, crop)])
    if ended:
        worker.recognizer.ended(TrackEnded(header.run_id, header.camera, header.track_id, 1.0))
        worker.recognizer.finish()
    assert brief(worker.told())[:2] == [("seen", None, None, False), ("named", "Ada", None, False)]
    worker.people.correct(visit, "ben ", "Ada")
    assert brief(worker.told()) == [("changed", "Ben", "Ada", True)]
    assert worker.told() == []
    worker.close()
    worker = FollowingWorker(tmp_path)
    assert [line for line in brief(worker.told()) if line[0] == "changed"] == []
    worker.people.correct(visit, None, "Ben")
    assert brief(worker.told())[-1:] == [("changed", None, "Ben", True)]
    worker.people.undo(visit, 1.0)
    assert brief(worker.told()) == [("changed", "Ben", None, True)]
    worker.people.undo(visit, 1.0)
    assert brief(worker.told()) == [("changed", "Ada", "Ben", False)]
    worker.people.correct(visit, "Ben", "Ada")
    worker.people.remove("Ben")  # nothing of Ben stays, and the worker's own decision counts again
    assert [line for line in worker.told() if line["name"] == "Ben"] == []
    assert worker.people.of_visit(visit) is None
    worker.close()


def test_later_shots_do_not_take_a_correction_back(tmp_path: Path) -> None:
    worker = FollowingWorker(tmp_path)
    header, crop = raw(*shot(1))
    worker.recognizer.recognize([(header, crop)])
    worker.people.correct(f"{header.run_id}/{header.camera}/{header.track_id}", "Ben", "Ada")
    worker.told()
    worker.recognizer.recognize([(msgspec.structs.replace(header, shot_id="f" * 32), crop)])
    worker.recognizer.finish()
    assert brief(worker.told()) == [("ended", "Ben", None, True)]
    worker.close()


def test_a_correction_is_undone_for_a_day_with_what_it_enrolled(tmp_path: Path) -> None:
    with CorrectionStore(tmp_path / "people.db", create=True) as people:
        people.add("Ada", [sample(RED, "ada")])
        made = people.correct("run/door/1", None, "Ada", at=1000.0)
        assert (made.name, made.before) == (None, "Ada")
        with pytest.raises(GalleryError, match="for a day only"):
            people.undo("run/door/1", 1001.0 + UNDO_S)
        people.undo("run/door/1", 1000.0 + UNDO_S)
        with pytest.raises(GalleryError, match="has not been corrected"):
            people.undo("run/door/1", 1000.0)
        at = people.people()[0].added
        people.add("New", [sample(BLUE, "face")])
        people.add("Ada", [sample(BLUE, "face")], kind="negative")
        people.correct("run/door/2", "New", "Ada", "face", at)
        people.rename("New", "Newer")
        people.undo("run/door/2", at + 10)
        assert [(p.name, p.pictures, p.negatives) for p in people.people()] == [("Ada", 1, 0)]
        with pytest.raises(GalleryError, match="no person"):
            people.correct("run/door/3", "Nobody", None)
