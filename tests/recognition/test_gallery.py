"""The gallery: people from folders and files, an open set, and pictures that cannot be enrolled."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from threading import Event

import cv2
import numpy as np
import pytest
from structlog.testing import capture_logs

from facegate.demo.clip import DemoClip
from facegate.detectors.base import Detector
from facegate.errors import GalleryError, SourceError
from facegate.pipeline.records import Floats, Image
from facegate.recognition.embedders import unit
from facegate.recognition.enrollment.enroller import find_people
from facegate.recognition.enrollment.face_extraction import FaceExtractor
from facegate.recognition.enrollment.gallery_store import GalleryStore
from facegate.recognition.enrollment.records import Embedded, FaceSample
from facegate.recognition.matching import gallery as gallery_module
from facegate.recognition.matching.decision_rule import FixedThresholdRule
from facegate.recognition.matching.gallery import Gallery
from facegate.recognition.matching.gallery_watcher import GalleryWatcher
from facegate.recognition.matching.nearest import NearestNeighbors
from facegate.scoring.engine import load_scorer

from ..helpers import wait_until

LIMIT = FixedThresholdRule(0.9)


class MeanColor:
    """An embedder that only knows colors: enough to see who is who in a gallery."""

    name = version = "mean-color"
    threshold = 0.9

    def embed(self, crops: Sequence[Image]) -> Floats:
        rows = np.array([crop.reshape(-1, 3).mean(0) - 120 for crop in crops], dtype=np.float32).reshape(-1, 3)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)  # type: ignore[no-any-return]


def keeper(
    path: Path, detector: Detector, cache: Path, steps: list[tuple[int, int]] | None = None
) -> GalleryWatcher:
    def progress(done: int, total: int) -> None:
        if steps is not None:
            steps.append((done, total))

    return GalleryWatcher(
        path, MeanColor(), LIMIT, lambda: FaceExtractor(detector, load_scorer()), cache, progress, strict=False
    )


def test_a_gallery_names_the_nearest_person_or_nobody() -> None:
    gallery = Gallery(["a", "b"], np.eye(2, dtype=np.float32))
    probe = np.array([0.8, 0.6], np.float32)
    assert gallery.match(probe, FixedThresholdRule(0.7)).name == "a"
    unknown = gallery.match(probe, FixedThresholdRule(0.9))
    assert unknown.name is None and unknown.fpir is None
    assert (unknown.similarity, unknown.margin) == pytest.approx((0.8, 0.2))
    assert Gallery([], np.empty((0, 2), np.float32)).match(probe, LIMIT).name is None


def test_better_pictures_count_for_more_and_a_negative_takes_a_name_away() -> None:
    def embedded(negative: bool) -> Embedded:
        vectors = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
        return Embedded(
            names=["ann", "bob"],
            rows=np.arange(3),
            people=np.array([0, 0, 1 - negative]),
            negative=np.array([False, False, negative]),
            quality=np.array([95, 15, 80]),
            used=np.ones(3, bool),
            vectors=vectors,
        )

    gallery = Gallery.of(embedded(False))
    assert gallery.names == ["ann", "bob"]
    assert gallery.templates[0] == pytest.approx([1 / np.hypot(1, 0.2), 0.2 / np.hypot(1, 0.2), 0], abs=1e-6)
    probe = np.array([0.6, 0.0, 0.8], np.float32)
    assert Gallery.of(embedded(False)).match(probe, FixedThresholdRule(0.5)).name == "bob"
    gallery = Gallery.of(embedded(True))  # the third picture: somebody who was taken for ann
    assert gallery.names == ["ann"], "bob has no picture of his own"
    assert gallery.match(probe, FixedThresholdRule(0.5)).name is None
    assert gallery.match(np.array([0.9, 0, 0.1], np.float32), FixedThresholdRule(0.5)).name == "ann"


@pytest.mark.parametrize("exact", [100, 10_000])
def test_a_large_gallery_is_searched_by_an_index_and_finds_the_same(
    exact: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery_module, "NearestNeighbors", partial(NearestNeighbors, exact=exact))
    rng = np.random.default_rng(0)
    templates = unit(rng.normal(size=(5000, 64)).astype(np.float32))
    gallery = Gallery([str(number) for number in range(5000)], templates, templates[7:8], np.array([7]))
    wrong = 0
    for number in rng.permutation(5000)[:200]:
        probe = unit(templates[number] + 0.1 * rng.normal(size=64).astype(np.float32))
        match = gallery.match(probe, FixedThresholdRule(0.5))
        best = templates @ probe
        assert match.similarity == pytest.approx(float(best[int(match.name or 0)]), abs=1e-5)
        wrong += match.name != str(number) and number != 7
    assert not wrong
    assert gallery.match(templates[7], FixedThresholdRule(0.9)).name is None, "a negative counts here too"


def test_everybody_in_the_folder_is_enrolled(clip: DemoClip, mtcnn: Detector, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    with keeper(clip.gallery, mtcnn, tmp_path, steps) as kept:
        gallery = kept.gallery
    assert gallery.names == ["guest-1", "guest-3", "guest-4", "guest-6"]
    assert steps[-1] == (4, 4)


def test_a_tightly_cropped_picture_is_enrolled_too(clip: DemoClip, mtcnn: Detector, tmp_path: Path) -> None:
    picture = cv2.imread(str(clip.gallery / "guest-3" / "1.png"))
    height, width = picture.shape[:2]
    (tmp_path / "g" / "tight").mkdir(parents=True)
    tight = picture[height // 4 : -height // 4, width // 4 : -width // 4]
    cv2.imwrite(str(tmp_path / "g" / "tight" / "1.png"), tight)
    with keeper(tmp_path / "g", mtcnn, tmp_path) as kept:
        assert kept.gallery.names == ["tight"]


def test_what_cannot_be_enrolled_is_refused_by_name(tmp_path: Path, mtcnn: Detector) -> None:
    def strictly() -> None:
        extractor = FaceExtractor(mtcnn, load_scorer())
        GalleryWatcher(folder, MeanColor(), LIMIT, lambda: extractor, tmp_path, strict=True).close()

    folder = tmp_path / "staff"
    with pytest.raises(GalleryError, match="no gallery at"):
        find_people(folder)
    with pytest.raises(GalleryError, match=r"no gallery at .*: 'facegate gallery add .*' creates one"):
        keeper(tmp_path / "none.db", mtcnn, tmp_path)
    folder.mkdir()
    with pytest.raises(GalleryError, match="is empty"):
        find_people(folder)
    (folder / "wall").mkdir()
    cv2.imwrite(str(folder / "wall" / "gray.png"), np.full((200, 200, 3), 127, np.uint8))
    for _ in range(2):  # the second time it is known
        with pytest.raises(GalleryError, match="no usable picture in the gallery"):
            keeper(folder, mtcnn, tmp_path)
    with pytest.raises(GalleryError, match=r"no face found in .*gray\.png"):
        strictly()
    (folder / "wall" / "gray.png").write_bytes(b"no picture")
    with pytest.raises((GalleryError, SourceError), match=r"gray\.png is not a readable picture"):
        strictly()
    (folder / "wall" / "gray.png").unlink()
    (folder / "door").mkdir()
    (folder / "door" / "notes.txt").write_text("no picture")
    with pytest.raises((GalleryError, SourceError), match=r"notes\.txt is not a readable picture"):
        strictly()


def test_two_hundred_pictures_with_five_bad_ones_name_all_others(
    clip: DemoClip, yunet: Detector, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Every format that decodes; each bad file is told once, and a person of whom nothing is left as well."""
    tmp_path, cache = tmp_path_factory.mktemp("staff"), tmp_path_factory.mktemp("cache")
    faces = [cv2.imread(str(file)) for file in sorted(clip.gallery.rglob("*.png"))]
    suffixes = (".jpg", ".png", ".webp", ".bmp", ".tiff", ".avif", ".JPEG")
    for index in range(195):
        person = tmp_path / f"person-{index % 65:02d}"
        person.mkdir(exist_ok=True)
        path = person / f"{index}{suffixes[index % len(suffixes)]}"
        path.write_bytes(cv2.imencode(path.suffix.lower(), faces[index % len(faces)])[1].tobytes())
    (tmp_path / "person-00" / "Thumbs.db").write_bytes(bytes(range(256)))
    (tmp_path / "person-01" / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    (tmp_path / "person-02" / "empty.png").write_bytes(b"")
    cv2.imwrite(str(tmp_path / "person-03" / "wall.webp"), np.full((200, 200, 3), 90, np.uint8))
    (tmp_path / "nobody").mkdir()
    (tmp_path / "nobody" / "page.html").write_text("<html>")
    with capture_logs() as logs, keeper(tmp_path, yunet, cache) as kept:
        gallery = kept.gallery
    assert gallery.names == [f"person-{number:02d}" for number in range(65)]
    told = [entry["event"] for entry in logs]
    assert told.count("picture skipped") == 5
    assert told.count("person skipped") == 1
    with keeper(tmp_path, None, cache) as kept:  # type: ignore[arg-type]
        assert kept.gallery.names == gallery.names, "nothing is looked at twice"
        assert np.array_equal(kept.gallery.templates, gallery.templates)
    reasons = " ".join(str(entry.get("reason")) for entry in logs)
    assert all(name in reasons for name in ("Thumbs.db", "cut.jpg", "empty.png", "wall.webp", "page.html"))


def test_a_running_worker_takes_over_what_changes_in_a_folder_and_in_a_file(
    clip: DemoClip, yunet: Detector, tmp_path: Path
) -> None:
    def until(kept: GalleryWatcher, names: list[str]) -> None:
        wait_until(lambda: kept.gallery.names == names, f"{names}")

    pictures = sorted(clip.gallery.rglob("*.png"))
    folder, ann = tmp_path / "staff", tmp_path / "staff" / "ann"
    ann.mkdir(parents=True)
    (ann / "1.png").write_bytes(pictures[0].read_bytes())
    with keeper(folder, yunet, tmp_path) as kept:
        kept.watch()
        assert kept.gallery.names == ["ann"]
        (folder / "bob").mkdir()
        (folder / "bob" / "1.png").write_bytes(pictures[1].read_bytes())
        until(kept, ["ann", "bob"])
        (ann / "1.png").unlink()
        until(kept, ["bob"])
        (folder / "bob" / "1.png").unlink()
        Event().wait(1.5)
        assert kept.gallery.names == ["bob"], "an empty gallery is no gallery"
    look = FaceExtractor(yunet, load_scorer()).extract(pictures[0].read_bytes(), "1.png")
    with (
        GalleryStore(tmp_path / "people.db", create=True) as people,
        keeper(tmp_path / "people.db", yunet, tmp_path) as kept,
    ):
        kept.watch()
        people.add("ann", [look])
        until(kept, ["ann"])
        people.rename("ann", "eve")
        until(kept, ["eve"])
        people.add("bob", [FaceSample("2.png", "2", 255 - look.crop, 50, 80.0, 0.1, 1)])
        until(kept, ["bob", "eve"])
        people.remove("eve")
        until(kept, ["bob"])
