"""Self-test of a quality model: the reference faces have to score higher than degraded copies of themselves."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from facegate.detectors.align import CROP_SIZE
from facegate.detectors.reference_faces import reference_faces
from facegate.scoring.engine import Scorer

Crop = NDArray[np.uint8]

MIN_RIGHT = 10
"""Number of the twelve faces that have to score higher than their degraded copies, by their mean."""
COARSE = 14
"""Side in pixels of a crop in which nobody can be recognized."""


def find_problem(scorer: Scorer) -> str | None:
    """What is wrong with a quality model; ``None`` if nothing is."""
    faces = np.stack(reference_faces())
    copies = [
        scorer.score(np.stack([degrade(face) for face in faces])).raw_score for degrade in (_coarse, _covered)
    ]
    clean, degraded = scorer.score(faces).raw_score, np.mean(copies, axis=0)
    if not (np.isfinite(clean).all() and np.isfinite(degraded).all()):
        return "its score is not finite: it overflows in this precision"
    if np.ptp(clean) < 1e-9 and np.ptp(degraded) < 1e-9:
        return "it gives every face the same score: its output is dead"
    right = int((clean > degraded).sum())
    if right < MIN_RIGHT:
        return (
            f"only {right} of {len(faces)} faces score higher than coarse and covered copies of themselves: "
            "check 'mean' and 'std' of its card, or it is no face quality model"
        )
    return None


def _coarse(face: Crop) -> Crop:
    small = cv2.resize(face, (COARSE, COARSE), interpolation=cv2.INTER_AREA)
    large: Crop = cv2.resize(small, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_LINEAR)
    return large


def _covered(face: Crop) -> Crop:
    covered = face.copy()
    covered[40:96, 20:92] = 128
    return covered
