"""The detector protocol, shared geometry, and the choice of a detector by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from facegate.errors import ModelError
from facegate.extras import installed
from facegate.inference.devices import Device, network_device
from facegate.pipeline.records import Box, Detection, Floats, Image

FOLLOWED_IOU = 0.3
"""Minimum overlap (IoU) of a known face with its expected box; below, it is another face or moved too fast."""


class Detector(Protocol):
    """Finds faces with five landmarks."""

    name: str

    smallest_px: float
    """Width of the smallest face that is found reliably, in pixels of the image."""

    def detect(
        self, images: Sequence[Image], known: Sequence[Sequence[Box]] | None = None
    ) -> list[list[Detection]]:
        """Return the faces of each ``(H, W, 3)`` RGB image, in pixels of that image, most confident first.

        ``known``: boxes in each image of faces that need not be found again; a detector may save their cost.
        """
        ...

    def detect_near(
        self, images: Sequence[Image], expected: Sequence[Sequence[Box]]
    ) -> list[list[Detection | None]]:
        """Detect faces near their expected boxes only, at a small part of the cost of :meth:`detect`.

        Returns for each image one entry per expected box: the face, or ``None``.
        """
        ...


def make_detection(box: Any, confidence: float, landmarks: Any, scale: float, shape: tuple[int, ...]) -> Detection:
    """Build a detection in full-resolution pixels from one found at ``scale``; the box is clipped to the image."""
    height, width = shape[:2]
    x1, y1, x2, y2 = (float(value) / scale for value in box)
    points: Floats = np.asarray(landmarks, dtype=np.float32).reshape(5, 2) / np.float32(scale)
    return Detection(
        box=(max(0.0, x1), max(0.0, y1), min(float(width), x2), min(float(height), y2)),
        confidence=float(confidence),
        landmarks=points,
    )


def same_face(a: Box, b: Box, least: float = FOLLOWED_IOU) -> bool:
    """Whether two boxes overlap (intersection over union) by at least ``least``."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return False
    common = width * height
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return common >= least * (areas - common)


def load_detector(
    kind: str = "auto",
    path: Path | None = None,
    *,
    max_side: int | None = 640,
    min_face_px: int = 32,
    device: Device = "auto",
) -> Detector:
    """Load a detector.

    Args:
        kind: ``auto``, ``mtcnn``, ``yunet`` or ``scrfd``. ``auto`` takes SCRFD if a local insightface pack and the
            ``insightface`` extra are installed, YuNet if ``path`` names its ONNX file, and the built-in MTCNN
            otherwise.
        path: the YuNet ONNX file, or the insightface pack's directory.
        max_side: detection runs on the image shrunk to this longer side; ``None`` never shrinks it.
        min_face_px: smallest face detected, in pixels of the shrunk image (MTCNN only).
        device: where its networks run; ``auto`` takes CUDA where ONNX Runtime has it, else the CPU.

    Raises:
        ModelError: the file or pack is missing or of another kind, or fails its self-test.
        ConfigError: the device is not here.
    """
    from facegate.detectors import mtcnn, scrfd, self_test, yunet

    if kind == "auto":
        if path is not None:
            kind = "yunet" if path.suffix == ".onnx" else "scrfd"
        else:
            path = scrfd.find_pack() if installed("insightface") else None
            kind = "mtcnn" if path is None else "scrfd"
    on = network_device(device)
    if kind == "mtcnn":
        return mtcnn.MtcnnDetector(max_side=max_side, min_face_px=min_face_px, device=on)
    if path is None:
        needs = "its ONNX file" if kind == "yunet" else "the directory of an insightface pack"
        raise ModelError(f"detector '{kind}' needs {needs}: set detector.path or --detector-path")
    found: Detector = (
        yunet.YuNetDetector(path, max_side=max_side, device=on)
        if kind == "yunet"
        else scrfd.ScrfdDetector(path, max_side=max_side, device=on)
    )
    if max_side is None or max_side >= self_test.MIN_SIDE:
        problem = self_test.find_problem(found)
        if problem is not None:
            raise ModelError(f"detector {path} failed its self-test: {problem}")
    return found
