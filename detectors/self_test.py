"""Self-test of a detector that a user plugs in: it has to find the reference faces, and name landmarks right."""

from __future__ import annotations

import cv2
import msgspec
import numpy as np

from facegate.detectors.align import ARCFACE_TEMPLATE, CROP_SIZE
from facegate.detectors.base import Detector
from facegate.detectors.reference_faces import reference_faces
from facegate.pipeline.records import Detection, Floats, Image, contiguous

COLUMNS, MARGIN = 4, 56
"""Faces beside each other in the test picture, and pixels around each."""
TILE = CROP_SIZE + 2 * MARGIN
EMPTY = 120
"""Columns without a face on the right side, by which a mirrored picture differs."""
MIN_FOUND = 9
"""Number of the twelve faces that a detector has to find."""
MAX_ERROR = 0.2
"""Mean distance of landmarks from their place, as a share of the distance between the eyes."""
MIN_SIDE = 320
"""Longer side of pictures from which a detector sees the faces of the test picture well enough."""
SWAPPED = [1, 0, 2, 4, 3]
"""Order of landmarks that are named by the side of the person."""


class Found(msgspec.Struct, frozen=True):
    """What a detector found in the test picture."""

    faces: int
    error: float
    """Mean error of the landmarks, see ``MAX_ERROR``."""
    swapped_error: float
    """The same with left and right exchanged."""
    mirrored: int
    """Number of faces where a mirror image has them."""


def find_problem(detector: Detector) -> str | None:
    """What is wrong with a detector; ``None`` if nothing is."""
    found = measure(detector)
    if found.mirrored > found.faces:
        return "it gets a mirrored picture: its faces are where those of a mirror image would be"
    if found.faces and found.swapped_error < MAX_ERROR < found.error:
        return "its landmarks have left and right exchanged: name them as they are seen in the picture"
    if found.faces < MIN_FOUND:
        total = len(reference_faces())
        return f"it finds {found.faces} of {total} large faces: it is damaged, or expects another input"
    if found.error > MAX_ERROR:
        return f"its landmarks are {found.error:.1f} eye distances off: it is no face detector"
    return None


def measure(detector: Detector) -> Found:
    """Detect the faces of the test picture."""
    picture = test_picture()
    (detections,) = detector.detect([picture])
    errors, swapped, mirrored = [], [], 0
    for index in range(len(reference_faces())):
        place = np.array([index % COLUMNS, index // COLUMNS], np.float32) * TILE + MARGIN
        middle = place + CROP_SIZE / 2
        mirrored += _nearest(detections, np.array([picture.shape[1] - middle[0], middle[1]])) is not None
        nearest = _nearest(detections, middle)
        if nearest is not None:
            errors.append(_error(nearest.landmarks - place))
            swapped.append(_error(nearest.landmarks[SWAPPED] - place))
    if not errors:
        return Found(0, np.inf, np.inf, mirrored)
    return Found(len(errors), float(np.median(errors)), float(np.median(swapped)), mirrored)


def test_picture() -> Image:
    """All reference faces in one picture, each with its edge continued around it."""
    tiles = [
        cv2.copyMakeBorder(face, MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_REPLICATE) for face in reference_faces()
    ]
    rows = [np.hstack(tiles[start : start + COLUMNS]) for start in range(0, len(tiles), COLUMNS)]
    picture = cv2.copyMakeBorder(np.vstack(rows), 0, 0, 0, EMPTY, cv2.BORDER_CONSTANT, value=(128, 128, 128))
    return contiguous(picture)


def _nearest(detections: list[Detection], center: Floats) -> Detection | None:
    inside = [each for each in detections if np.abs(_center(each) - center).max() < CROP_SIZE / 3]
    return min(inside, key=lambda each: float(np.abs(_center(each) - center).max()), default=None)


def _center(detection: Detection) -> Floats:
    left, top, right, bottom = detection.box
    return np.array([(left + right) / 2, (top + bottom) / 2], np.float32)


def _error(landmarks: Floats) -> float:
    eyes = float(ARCFACE_TEMPLATE[1, 0] - ARCFACE_TEMPLATE[0, 0])
    return float(np.linalg.norm(landmarks - ARCFACE_TEMPLATE, axis=1).mean()) / eyes
