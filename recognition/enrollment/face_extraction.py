"""Extracts and measures the face of a picture file for enrollment."""

from __future__ import annotations

import hashlib

import cv2
import msgspec
import numpy as np
import structlog

from facegate.detectors.align import align, aligned_landmarks
from facegate.detectors.base import Detector
from facegate.errors import GalleryError
from facegate.pipeline.images import decode_image
from facegate.pipeline.quality.explain import reasons
from facegate.pipeline.records import Floats, Image, contiguous
from facegate.recognition.enrollment.records import FaceSample, Pose
from facegate.scoring.engine import Scorer

UPRIGHT_QUALITY = 40
"""A picture with a face of less quality, or with none, may lie on its side: faces of photographs on their side or
upside down scored 0 to 36 (99.7 % of 318), upright ones 19 to 95."""
TURNED_YAW_RATIO = 0.3
"""Yaw ratio from which a face looks to a side."""
SECOND_FACE_RATIO = 0.75
"""Faces at least this wide, relative to the largest one, make the picture ambiguous."""

log = structlog.get_logger(__name__)


class FaceExtractor:
    """Extracts faces from picture files."""

    def __init__(self, detector: Detector, scorer: Scorer) -> None:
        """Create with a detector and a scorer for the quality."""
        self._detector = detector
        self._scorer = scorer

    def extract(self, content: bytes, source: str) -> FaceSample:
        """Extract and measure the largest face of a picture file, rotated where only that shows a clear one.

        Args:
            content: content of the file.
            source: name of the file in messages.

        Raises:
            SourceError: not a picture.
            GalleryError: no face found.
        """
        image = decode_image(content, source)
        digest, best, turns = hashlib.sha256(content).hexdigest(), self._measured(image, source), 0
        if best is None or best.quality < UPRIGHT_QUALITY:
            for turn in (1, 2, 3):
                found = self._measured(contiguous(np.rot90(image, turn)), source)
                if found is not None and (
                    best is None or found.quality * found.confidence > best.quality * best.confidence
                ):
                    best, turns = found, turn
        if best is None:
            raise GalleryError(f"no face found in {source}: replace or remove the picture")
        if turns:
            log.info("picture rotated", picture=source, degrees=90 * turns, reason="its face was not upright")
        return msgspec.structs.replace(best, digest=digest, rotated=90 * turns)

    def _measured(self, image: Image, source: str) -> FaceSample | None:
        """Measure the largest face of a picture; ``None`` without one."""
        faces = self._detector.detect([image])[0]
        if not faces:  # aligned crops and tight ones have no room around the face
            side = max(image.shape[:2])
            image = _bordered(image, side // 2)
            faces = self._detector.detect([image])[0]
        if not faces:
            return None
        largest = max(faces, key=lambda face: face.width * face.height)
        crop = align(image, largest.landmarks)
        landmarks = aligned_landmarks([largest.landmarks])
        scores = self._scorer.score(crop[None], landmarks=landmarks, embedding=False)
        quality, size = int(scores.quality[0]), (image.shape[1], image.shape[0])
        why = reasons(crop, largest, size, scores.patches[0], quality, self._scorer.card.name).advice
        return FaceSample(
            source=source,
            digest="",
            crop=crop,
            quality=quality,
            width=largest.width,
            yaw_ratio=yaw_ratio(largest.landmarks),
            faces=sum(face.width >= SECOND_FACE_RATIO * largest.width for face in faces),
            advice=why.text if why is not None and why.defect is not None else "",
            confidence=largest.confidence,
            pose=pose_of(largest.landmarks),
        )


def yaw_ratio(landmarks: Floats) -> float:
    """Yaw of a face as the offset of the nose: 0 midway between the eyes, 1 below one of them.

    Args:
        landmarks: ``(5, 2)`` eyes, nose, corners of the mouth.
    """
    return abs(_yaw(landmarks))


def pose_of(landmarks: Floats) -> Pose:
    """Where a face looks, as seen in the picture; see :func:`yaw_ratio`."""
    yaw = _yaw(landmarks)
    return "front" if abs(yaw) < TURNED_YAW_RATIO else "left" if yaw < 0 else "right"


def _yaw(landmarks: Floats) -> float:
    left, right, nose = (landmarks[i].astype(float) for i in range(3))
    across = right - left
    distance = float(across @ across)
    return 0.0 if distance == 0 else 2 * float((nose - left) @ across) / distance - 1


def _bordered(image: Image, pixels: int) -> Image:
    found: Image = np.asarray(
        cv2.copyMakeBorder(image, pixels, pixels, pixels, pixels, cv2.BORDER_REPLICATE), np.uint8
    )
    return found
