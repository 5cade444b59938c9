"""Photographs on their side or upside down, without a word about it, are enrolled upright, and that is said."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from facegate.demo.clip import DemoClip
from facegate.detectors.base import Detector
from facegate.errors import GalleryError
from facegate.pipeline.images import decode_image
from facegate.recognition.enrollment.face_extraction import FaceExtractor
from facegate.scoring.engine import Scorer

from ...helpers import facegate


def png(picture: np.ndarray) -> bytes:
    return cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()


def check(photos: list[Path], detector: Detector, scorer: Scorer) -> None:
    extractor, rotated = FaceExtractor(detector, scorer), 0
    for photo in photos:
        picture = decode_image(photo.read_bytes(), photo.name)
        upright = extractor.extract(png(picture), photo.name)
        assert upright.rotated == 0
        for turns in (1, 2, 3):
            sample = extractor.extract(png(np.rot90(picture, turns)), photo.name)
            # A detector that finds the landmarks of a face on its side aligns it upright without a rotation.
            assert sample.rotated in (0, 360 - 90 * turns), (photo, turns)
            assert np.abs(sample.crop.astype(int) - upright.crop).mean() < 25, (photo, turns)
            rotated += sample.rotated > 0
    assert rotated > 2 * len(photos)


def test_every_turn_of_a_photograph_is_enrolled_as_the_upright_one(
    clip: DemoClip, mtcnn: Detector, scorer: Scorer
) -> None:
    check(sorted(clip.gallery.rglob("*.png"))[::2], mtcnn, scorer)


def test_with_another_detector_too(data: Path, yunet: Detector, scorer: Scorer) -> None:
    check([sorted(person.iterdir())[0] for person in sorted((data / "photos").iterdir())], yunet, scorer)


def test_a_picture_without_a_face_has_none_in_any_turn(mtcnn: Detector, scorer: Scorer) -> None:
    with pytest.raises(GalleryError, match="no face found in wall"):
        FaceExtractor(mtcnn, scorer).extract(png(np.full((200, 300, 3), 127, np.uint8)), "wall")


def test_gallery_add_says_which_picture_was_rotated(clip: DemoClip, tmp_path: Path) -> None:
    photo = tmp_path / "side.png"
    picture = cv2.imread(str(clip.gallery / "guest-3" / "1.png"))
    cv2.imwrite(str(photo), np.rot90(picture))
    told = facegate("gallery", "add", tmp_path / "people.db", photo, "--name", "Guest")
    assert told.returncode == 0 and "1 picture added" in told.stdout
    assert "side.png: rotated by 270 degrees, as its face was not upright" in told.stdout
