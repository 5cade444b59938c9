"""Objects of a recording, and conversion from and to the pipeline's records."""

from __future__ import annotations

from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from facegate.pipeline.gating.recall_threshold import RecallState
from facegate.pipeline.images import encode_jpeg
from facegate.pipeline.records import (
    Box,
    Detection,
    Face,
    FeedbackBatch,
    FrameRef,
    Image,
    Outcome,
    QualityInfo,
    ScoredFace,
    ScoredFrame,
    SkippedFace,
)

JPEG_QUALITY = 90
NO_CROP: Image = np.zeros((112, 112, 3), np.uint8)
"""Placeholder for crops that were not decoded or not recorded."""


class Header(msgspec.Struct, frozen=True, tag="facegate-recording"):
    """Header: the run and its gates."""

    format: int
    run_id: str
    quality_info: QualityInfo
    people: tuple[float, float] | None
    gates: dict[str, dict[str, Any]]
    """Each camera's gate configuration."""
    learned: dict[str, RecallState] = {}
    """Initial states of cameras with ``target_recall``."""
    began: float = 0.0
    """Unix time (UTC) of the start; 0 in recordings of earlier versions."""


class RecordedFace(msgspec.Struct, frozen=True, array_like=True):
    """One scored face; arrays as little-endian bytes."""

    face_id: str
    track_id: int
    box: Box
    confidence: float
    landmarks: bytes
    quality: int
    raw_score: float
    patches: bytes
    embedding: bytes | None
    left_early: bool
    """Early exit of earlier versions; never set now."""
    crop: bytes
    rank_score: float | None = None


class RecordedSkip(msgspec.Struct, frozen=True, array_like=True):
    """One face that was not scored."""

    face_id: str
    track_id: int
    box: Box
    confidence: float
    landmarks: bytes
    outcome: Outcome
    crop: bytes
    """JPEG; empty if crops of unscored faces are not recorded."""


class RecordedFrame(msgspec.Struct, frozen=True, array_like=True, tag="frame"):
    """One frame as it reached the gate."""

    frame: FrameRef
    faces: tuple[RecordedFace, ...]
    ended: tuple[int, ...]
    last: bool
    skipped: tuple[RecordedSkip, ...] = ()


class RecordedFeedback(msgspec.Struct, frozen=True, array_like=True, tag="answers"):
    """Recognition feedback received before the next frame."""

    batch: FeedbackBatch


class RecordedGates(msgspec.Struct, frozen=True, array_like=True, tag="gates"):
    """Changed gate settings; running cameras keep theirs to their last frame."""

    gates: dict[str, dict[str, Any]]
    learned: dict[str, RecallState] = {}


def record_face(face: ScoredFace) -> RecordedFace:
    """Convert a scored face."""
    detection = face.face.detection
    return RecordedFace(
        face_id=face.face.face_id,
        track_id=face.track_id,
        box=detection.box,
        confidence=detection.confidence,
        landmarks=_floats(detection.landmarks),
        quality=face.quality,
        raw_score=face.raw_score,
        patches=_floats(face.patches),
        embedding=None if face.embedding is None else _floats(face.embedding),
        left_early=False,
        crop=encode_jpeg(face.face.crop, JPEG_QUALITY),
        rank_score=face.rank_score,
    )


def record_skip(face: SkippedFace, crop: bool) -> RecordedSkip:
    """Convert a face that was not scored."""
    detection = face.face.detection
    return RecordedSkip(
        face_id=face.face.face_id,
        track_id=face.track_id,
        box=detection.box,
        confidence=detection.confidence,
        landmarks=_floats(detection.landmarks),
        outcome=face.outcome,
        crop=encode_jpeg(face.face.crop, JPEG_QUALITY) if crop else b"",
    )


def _floats(values: NDArray[np.floating[Any]]) -> bytes:
    return np.ascontiguousarray(values, "<f4").tobytes()


def scored_frame(seen: RecordedFrame, crops: bool) -> ScoredFrame:
    """Convert back to a frame; raises ``ValueError`` if a crop cannot be decoded."""
    faces = tuple(_face(face, seen.frame, crops) for face in seen.faces if not face.left_early)
    skipped: list[tuple[RecordedFace | RecordedSkip, Outcome]] = [(face, face.outcome) for face in seen.skipped]
    skipped += [(face, Outcome.BELOW_THRESHOLD) for face in seen.faces if face.left_early]
    unscored = tuple(
        SkippedFace(_seen_face(face, seen.frame, crops), face.track_id, outcome) for face, outcome in skipped
    )
    return ScoredFrame(frame=seen.frame, faces=faces, ended=seen.ended, last=seen.last, skipped=unscored)


def _seen_face(seen: RecordedFace | RecordedSkip, ref: FrameRef, crops: bool) -> Face:
    landmarks = np.frombuffer(seen.landmarks, "<f4").reshape(5, 2)
    crop = _decoded(seen.crop) if crops and seen.crop else NO_CROP
    return Face(seen.face_id, ref, Detection(seen.box, seen.confidence, landmarks), crop)


def _face(seen: RecordedFace, ref: FrameRef, crops: bool) -> ScoredFace:
    return ScoredFace(
        face=_seen_face(seen, ref, crops),
        track_id=seen.track_id,
        quality=seen.quality,
        raw_score=seen.raw_score,
        patches=np.frombuffer(seen.patches, "<f4"),
        embedding=None if seen.embedding is None else np.frombuffer(seen.embedding, "<f4"),
        rank_score=seen.rank_score,
    )


def _decoded(jpeg: bytes) -> Image:
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if image is None or image.shape != (112, 112, 3):
        raise ValueError("a crop is not a 112x112 JPEG")
    return np.ascontiguousarray(image[:, :, ::-1]).astype(np.uint8, copy=False)
