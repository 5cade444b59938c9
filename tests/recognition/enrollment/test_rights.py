"""Legal bases with dates, and the export of everything that is kept of one person."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from time import time

import cv2
import msgspec
import numpy as np
import pytest

from facegate.errors import ConfigError, GalleryError
from facegate.maintenance.person_export import export_person
from facegate.pipeline.records import Floats, Image
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.enrollment.records import FaceSample, LegalBasis
from facegate.recognition.enrollment.watch_lists import Membership, WatchList, WatchListStore
from facegate.recognition.matching import gallery_watcher
from facegate.recognition.matching.decision_rule import FixedThresholdRule
from facegate.recognition.matching.gallery_watcher import GalleryWatcher
from facegate.sinks import wire
from facegate.sinks.wire import EncodedShot
from facegate.store.records import VisitTemplate, VisitUpdate, packed
from facegate.store.writer import StoreWriter

from ...helpers import bytes_in, facegate
from ...sinks.test_wire import entries

DAY_S = 86_400.0


class Colors:
    """Tells people apart by the color of their crops."""

    name = version = "colors"
    threshold = 0.9

    def embed(self, crops: Sequence[Image]) -> Floats:
        rows = np.array([crop.mean((0, 1)) - 128 for crop in crops], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)  # type: ignore[no-any-return]


def sample(name: str, color: tuple[int, int, int]) -> FaceSample:
    return FaceSample(f"{name}.png", name * 8, np.full((112, 112, 3), color, np.uint8), 80, 90.0, 0.1, 1)


def of_track(entry: EncodedShot, track: int) -> EncodedShot:
    header = msgspec.structs.replace(wire.decode_header(entry.header), track_id=track)
    return msgspec.structs.replace(entry, track_id=track, header=wire.encode(header))


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    path = tmp_path / "people.db"
    with GalleryStore(path, create=True) as people:
        people.add("Ada", [sample("ada", (220, 60, 60))])
        people.add("Bo", [sample("bo", (60, 220, 60))])
        people.keep_embeddings("colors", {1: np.array([1, 0, 0], np.float32), 2: np.array([0, 1, 0], np.float32)})
    with WatchListStore(path) as lists:
        lists.put_list(WatchList("staff", "#008000", None))
        lists.put_member(Membership("staff", "Ada", "guard", None))
    return path


def test_somebody_is_recognized_until_the_basis_ends_and_again_once_there_is_another(
    gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [time()]
    monkeypatch.setattr(gallery_watcher, "time", lambda: now[0])
    with GalleryStore(gallery) as people:
        people.set_legal_basis(LegalBasis("Ada", "consent, form 17", now[0] - DAY_S, now[0] + DAY_S))
        watcher = GalleryWatcher(gallery, Colors(), FixedThresholdRule(0.9), lambda: None, tmp_path)  # type: ignore[arg-type, return-value]
        try:
            assert watcher.gallery.names == ["Ada", "Bo"] and not watcher.refresh()
            now[0] += DAY_S
            assert watcher.refresh() and watcher.gallery.names == ["Bo"]
            assert not watcher.refresh()
            people.set_legal_basis(LegalBasis("Ada", "consent, form 18", now[0], None))
            assert watcher.refresh() and watcher.gallery.names == ["Ada", "Bo"]
        finally:
            watcher.close()
        assert people.pictures("Ada"), "nothing is deleted"
        with pytest.raises(GalleryError, match="ends before it begins"):
            people.set_legal_basis(LegalBasis("Ada", "consent", now[0], now[0] - 1))


def test_a_gallery_of_the_version_before_has_no_bases(gallery: Path) -> None:
    with GalleryStore(gallery) as people:
        assert people.legal_bases() == [LegalBasis(name, "", None, None) for name in ("Ada", "Bo")]


def test_the_command_sets_and_shows_bases(gallery: Path) -> None:
    set_ = facegate(
        *("gallery", "basis", gallery, "ada", "consent, form 17", "--since", "2026-11-01", "--until", "2027-11-01")
    )
    assert set_.stdout == "Ada: consent, form 17  since 2026-11-01  until 2027-11-01\n", set_.stderr
    assert "Bo: none recorded\n" in facegate("gallery", "basis", gallery).stdout
    assert facegate("gallery", "basis", gallery, "Eve").returncode == 1


def test_everything_that_is_kept_of_one_person_is_exported_and_nothing_of_others(
    gallery: Path, tmp_path: Path
) -> None:
    data, to = tmp_path / "data", tmp_path / "ada"
    shots = [of_track(entry, number) for number, entry in enumerate(entries(0, 1))]
    (data / "names").mkdir(parents=True)
    with StoreWriter(data / "store.db", create=True) as store:
        store.add_shots(shots)
        for entry, name in zip(shots, ("Ada", "Bo"), strict=True):
            visit = f"run/door/{entry.track_id}"
            store.update_visits([VisitUpdate(visit, entry.camera, entry.track_id, name, 0.8, 0.3, 1e-4)])
            store.put_templates([VisitTemplate(visit, "r" * 16, packed(np.array([1, 0, 0], np.float32)))])
    done = facegate("gallery", "export-person", gallery, "ADA", to, "--data", data)
    assert done.returncode == 0 and "1 picture, 1 visit, 1 shot" in done.stdout, done.stderr
    found = json.loads((to / "person.json").read_bytes())
    assert found["name"] == "Ada" and found["watch_lists"][0]["reason"] == "guard"
    assert found["templates"] == [{"picture": 1, "recognizer": "colors", "vector": [1.0, 0.0, 0.0]}]
    assert np.array_equal(cv2.imread(str(to / found["pictures"][0]["file"]))[0, 0], (60, 60, 220))
    (visit,) = found["visits"]
    assert visit["name"] == "Ada" and visit["template"]["vector"] == [1.0, 0.0, 0.0]
    assert (to / visit["shots"][0]["file"]).read_bytes() == shots[0].crop
    assert b'"Bo"' not in bytes_in(to)
    with pytest.raises(ConfigError, match="not empty"):
        export_person(gallery, "Ada", to)
    with pytest.raises(GalleryError, match="no person 'Eve'"):
        export_person(gallery, "Eve", tmp_path / "eve")
    assert not (tmp_path / "eve").exists()
