"""Visits without a name: kept, put together, named, and forgotten in time."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from time import time

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facegate.clock import FileClock
from facegate.pipeline.records import Floats, Image
from facegate.recognition.embedders import load_embedder
from facegate.recognition.enrollment import unknowns as module
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.enrollment.unknowns import MAX_AGE_S, UnknownStore, enroll_cluster
from facegate.recognition.matching.decision_rule import FixedThresholdRule
from facegate.recognition.matching.gallery import Gallery
from facegate.recognition.worker.zmq_worker import Recognizer
from facegate.sinks import wire

from ..helpers import facegate
from ..sinks.test_wire import make_shot


class FirstPixels:
    """An embedder whose embeddings a test can choose."""

    name = version = "first-pixels"
    threshold = 0.8

    def embed(self, crops: Sequence[Image]) -> Floats:
        rows = np.array([crop[0, :3, 0].astype(np.float32) - 128 for crop in crops], np.float32).reshape(-1, 3)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)  # type: ignore[no-any-return]


EMBEDDER = FirstPixels()


def face(*vector: float, mark: int = 0) -> Image:
    crop = np.full((112, 112, 3), mark, np.uint8)
    crop[0, :3, 0] = [round(128 + 100 * value) for value in vector]
    return crop


def keep(unknowns: UnknownStore, number: int, crop: Image, seen: float | None = None, camera: str = "door") -> None:
    vector = EMBEDDER.embed([crop])[0]
    unknowns.keep(
        f"run/{camera}/{number}", camera, time() if seen is None else seen, 60, crop, "first-pixels", vector
    )


def test_unknowns_are_put_together_named_and_forgotten(tmp_path: Path) -> None:
    path, now = tmp_path / "people.db", time()
    with UnknownStore(path, create=True) as unknowns, GalleryStore(path) as people:
        keep(unknowns, 8, face(0, 0, 1), now - MAX_AGE_S - 60)
        for number, day in enumerate((2, 1, 0)):
            keep(
                unknowns, number, face(1, 0.1 * number, 0, mark=number), now - day * 86400, camera=f"c{number % 2}"
            )
        keep(unknowns, 9, face(0, 1, 0), now)
        assert unknowns.tidy(FileClock("unknown faces"), now, 0.0) == 1
        clusters = unknowns.clusters(EMBEDDER, 0.8)
        assert [len(cluster.visits) for cluster in clusters] == [3, 1], "who came too long ago is forgotten"
        assert clusters[0].cameras == ["c0", "c1"] and clusters[0].days == 3
        unknowns.keep("run/x/1", "x", now, 9, face(1, 1, 1), "first-pixels", np.ones(3, np.float32))
        assert len(unknowns.clusters(EMBEDDER, 0.8)) == 2, "nobody can tell whose so poor a face is"
        wrong = clusters[0].visits[1].row
        assert not people.changed(), "nobody follows the unknown"
        assert enroll_cluster(unknowns, people, clusters[0], "ann", {wrong}) == 2
        assert [picture.accepted for picture in people.pictures("ann")] == [True, True]
        left = unknowns.clusters(EMBEDDER, 0.8)
        assert sorted(visit.row for cluster in left for visit in cluster.visits) == sorted(
            [wrong, clusters[1].visits[0].row]
        )


def test_no_more_than_so_many_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_VISITS", 5)
    now = time()
    with UnknownStore(tmp_path / "people.db", create=True) as unknowns:
        for number in range(12):
            keep(unknowns, number, face(1, 0, 0), now + number)
        (cluster,) = unknowns.clusters(EMBEDDER, 0.8)
        assert [visit.visit for visit in cluster.visits] == [f"run/door/{number}" for number in range(7, 12)]


VECTORS = st.lists(st.floats(-1, 1), min_size=3, max_size=3).filter(lambda v: max(map(abs, v)) > 0.1)


@settings(max_examples=30)
@given(
    st.lists(
        st.lists(st.floats(-1, 1), min_size=3, max_size=3).filter(lambda v: max(map(abs, v)) > 0.1), max_size=12
    )
)
def test_every_two_faces_of_a_cluster_are_alike_by_themselves(
    tmp_path_factory: pytest.TempPathFactory, vectors: list[list[float]]
) -> None:
    with UnknownStore(tmp_path_factory.mktemp("unknowns") / "people.db", create=True) as unknowns:
        kept: dict[str, Floats] = {}
        for number, vector in enumerate(vectors):
            unit = np.array(vector, np.float32) / np.float32(np.linalg.norm(vector))
            unknowns.keep(f"run/door/{number}", "door", time(), 60, face(1, 0, 0), "first-pixels", unit)
            kept[f"run/door/{number}"] = unit
        clusters = unknowns.clusters(EMBEDDER, 0.7)
        assert sorted(visit.visit for cluster in clusters for visit in cluster.visits) == sorted(kept)
        for cluster in clusters:
            rows = np.stack([kept[visit.visit] for visit in cluster.visits])
            assert (rows @ rows.T).min() >= 0.7 - 1e-5


def test_a_worker_keeps_the_best_face_of_a_visit_without_a_name(tmp_path: Path) -> None:
    path, model = tmp_path / "people.db", load_embedder("builtin")
    known, stranger = make_shot(1), make_shot(2)
    gallery = Gallery(["ann"], model.embed([known.crop]))

    def sent(number: int, track: int, quality: int, crop: Image) -> tuple[wire.ShotHeader, bytes]:
        entry = wire.pack(make_shot(number))
        header = wire.decode_header(entry.header)
        block = msgspec.structs.replace(header.quality, value=quality)
        made = msgspec.structs.replace(header, shot_id=f"{number}-{track}", track_id=track, quality=block)
        return msgspec.structs.replace(made, crop_encoding="rgb24"), crop.tobytes()

    with UnknownStore(path, create=True) as unknowns:
        output = io.StringIO()
        recognizer = Recognizer(lambda: gallery, model, FixedThresholdRule(0.95), output, unknowns)
        recognizer.recognize(
            [sent(1, 1, 80, known.crop), sent(2, 2, 50, stranger.crop), sent(3, 2, 90, stranger.crop)]
        )
        recognizer.finish()
        (cluster,) = unknowns.clusters(model, model.threshold)
        assert [visit.visit for visit in cluster.visits] == ["run/door/2"] and cluster.visits[0].quality == 90
        assert np.array_equal(unknowns.crop(cluster.id), stranger.crop)
    page = tmp_path / "unknown.html"
    listed = facegate("gallery", "unknowns", path, "--embedder", "builtin", "--page", page)
    assert listed.stdout == f"{cluster.id}: 1 visit on 1 day, door\n", listed.stderr
    assert page.read_text().count("<figure>") == 1
    done = facegate("gallery", "name", path, cluster.id, "Ann Smith", "--embedder", "builtin")
    assert done.stdout == "1 picture of Ann Smith added\n", done.stderr
    assert json.loads(facegate("gallery", "unknowns", path, "--embedder", "builtin", "--json").stdout) == []
    done = facegate("gallery", "name", path, 77, "Ann Smith", "--embedder", "builtin")
    assert done.returncode == 1 and "there is no unknown person 77" in done.stderr


def test_a_face_that_is_not_this_persons_gets_no_name(tmp_path: Path, clip: object) -> None:
    pictures = sorted(clip.gallery.rglob("*.png"))[:2]  # type: ignore[attr-defined]
    path = tmp_path / "people.db"
    done = facegate("gallery", "add", path, pictures[0], "--name", "ann", "--embedder", "builtin")
    assert done.returncode == 0, done.stdout + done.stderr
    done = facegate("gallery", "reject", path, "ann", pictures[1])
    assert done.stdout == "1 counterexample added to ann\n", done.stderr
    assert json.loads(facegate("gallery", "list", path, "--json").stdout)[0]["negatives"] == 1
    model = load_embedder("builtin")
    with GalleryStore(path) as people:
        rows = people.missing(model.version)
        people.keep_embeddings(
            model.version, dict(zip(rows, model.embed([people.crop(r) for r in rows]), strict=True))
        )
        gallery = Gallery.of(people.embedded(model.version))
        ann, other = (people.crop(picture.row) for picture in people.pictures("ann"))
    rule = FixedThresholdRule(-1.0)
    assert gallery.match(model.embed([ann])[0], rule).name == "ann"
    blurred = np.asarray(cv2.GaussianBlur(other, (0, 0), 1.0), np.uint8)
    assert gallery.match(model.embed([blurred])[0], FixedThresholdRule(-0.99)).name is None
    refused = facegate("gallery", "reject", path, "bob", pictures[1])
    assert refused.returncode == 1 and "no person 'bob'" in refused.stderr


def test_unknown_faces_go_when_their_camera_no_longer_keeps_them(tmp_path: Path) -> None:
    path = tmp_path / "people.db"
    GalleryStore(path, create=True).close()
    with UnknownStore(path) as unknowns:
        for number, (camera, seen) in enumerate((("door", 100.0), ("door", 200.0), ("yard", 100.0))):
            keep(unknowns, number, face(1.0, 0.0, 0.0, mark=number), seen, camera)
        assert unknowns.forget_before({"door": 150.0, "hall": 900.0}) == 1
        assert len(unknowns.vectors(EMBEDDER)[0]) == 2
