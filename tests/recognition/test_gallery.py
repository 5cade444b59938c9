"""The gallery: people from folders, an open set, and pictures that cannot be enrolled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from structlog.testing import capture_logs

from facegate.demo.clip import DemoClip
from facegate.detectors.base import Detector
from facegate.errors import GalleryError, SourceError
from facegate.pipeline.records import Floats, Image
from facegate.recognition.gallery import Gallery, enrol, find_people


class MeanColour:
    """An embedder that only knows colours: enough to see who is who in a gallery."""

    name = "mean-colour"
    threshold = 0.9

    def embed(self, crops: Sequence[Image]) -> Floats:
        rows = np.array([crop.reshape(-1, 3).mean(0) - 120 for crop in crops], dtype=np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)  # type: ignore[no-any-return]


def test_a_gallery_names_the_nearest_person_or_nobody() -> None:
    gallery = Gallery(["a", "b"], np.eye(2, dtype=np.float32))
    probe = np.array([0.8, 0.6], np.float32)
    assert gallery.match(probe, 0.7).name == "a"
    assert gallery.match(probe, 0.9).name is None
    assert gallery.match(probe, 0.9).similarity == pytest.approx(0.8)


def test_everybody_in_the_folder_is_enrolled(clip: DemoClip, mtcnn: Detector) -> None:
    steps: list[tuple[int, int]] = []
    gallery = enrol(find_people(clip.gallery), mtcnn, MeanColour(), lambda done, total: steps.append((done, total)))
    assert gallery.names == ["guest-1", "guest-3", "guest-4", "guest-6"]
    assert steps[-1] == (4, 4)


def test_a_tightly_cropped_picture_is_enrolled_too(clip: DemoClip, mtcnn: Detector, tmp_path: Path) -> None:
    picture = cv2.imread(str(clip.gallery / "guest-3" / "1.png"))
    height, width = picture.shape[:2]
    (tmp_path / "tight").mkdir()
    cv2.imwrite(str(tmp_path / "tight" / "1.png"), picture[height // 4 : -height // 4, width // 4 : -width // 4])
    assert enrol(find_people(tmp_path), mtcnn, MeanColour()).names == ["tight"]


def test_what_cannot_be_enrolled_is_refused_by_name(tmp_path: Path, mtcnn: Detector) -> None:
    with pytest.raises(GalleryError, match="no gallery at"):
        find_people(tmp_path / "none")
    with pytest.raises(GalleryError, match="is empty"):
        find_people(tmp_path)
    (tmp_path / "wall").mkdir()
    cv2.imwrite(str(tmp_path / "wall" / "grey.png"), np.full((200, 200, 3), 127, np.uint8))
    with pytest.raises(GalleryError, match="no picture in the gallery can be used"):
        enrol(find_people(tmp_path), mtcnn, MeanColour())
    with pytest.raises(GalleryError, match=r"no face found in .*grey\.png"):
        enrol(find_people(tmp_path), mtcnn, MeanColour(), strict=True)
    (tmp_path / "wall" / "grey.png").write_bytes(b"no picture")
    with pytest.raises(SourceError, match=r"grey\.png is not a picture"):
        enrol(find_people(tmp_path), mtcnn, MeanColour(), strict=True)
    (tmp_path / "wall" / "grey.png").unlink()
    (tmp_path / "door").mkdir()
    (tmp_path / "door" / "notes.txt").write_text("no picture")
    with pytest.raises(GalleryError, match="no picture of wall can be used"):
        enrol({"wall": []}, mtcnn, MeanColour(), strict=True)


def test_two_hundred_pictures_with_five_bad_ones_name_all_others(
    clip: DemoClip, yunet: Detector, tmp_path: Path
) -> None:
    """Every format that decodes; each bad file is told once, and a person of whom nothing is left as well."""
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
    with capture_logs() as logs:
        gallery = enrol(find_people(tmp_path), yunet, MeanColour())
    assert gallery.names == [f"person-{number:02d}" for number in range(65)]
    told = [entry["event"] for entry in logs]
    assert told.count("picture left out of the gallery") == 5
    assert told.count("nobody will be named so: no picture of this person can be used") == 1
    reasons = " ".join(str(entry.get("reason")) for entry in logs)
    assert all(name in reasons for name in ("Thumbs.db", "cut.jpg", "empty.png", "wall.webp", "page.html"))
