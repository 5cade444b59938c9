"""SCRFD from a local insightface pack, loaded and decoded by the ``insightface`` package.

Nothing is downloaded: a pack (for example ``buffalo_l``) is used only where its directory already exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2

from facegate.cpu import threads
from facegate.detectors import face_window
from facegate.detectors.base import make_detection
from facegate.errors import ModelError
from facegate.extras import require
from facegate.inference.devices import Device
from facegate.inference.session import session
from facegate.pipeline.records import Box, Detection, Image

PACKS = Path("~/.insightface/models")


def find_pack() -> Path | None:
    """Return the directory of a local insightface pack with a detector, if there is one."""
    root = PACKS.expanduser()
    if not root.is_dir():
        return None
    packs = sorted(path for path in root.iterdir() if path.is_dir() and any(path.glob("*.onnx")))
    return next((pack for pack in packs if _detector_file(pack) is not None), None)


def _detector_file(pack: Path) -> Path | None:
    """Return the SCRFD file of a pack: ``det_*.onnx`` or ``scrfd_*.onnx``."""
    files = sorted([*pack.glob("det_*.onnx"), *pack.glob("scrfd_*.onnx")])
    return files[0] if files else None


MAX_SIDE = 640
"""Longer side of what the network sees where nothing else is said; larger pictures are shrunk."""


class ScrfdDetector:
    """SCRFD with key points, at a square input of ``max_side`` (a multiple of 32)."""

    name = "scrfd"
    smallest_px = 24.0

    def __init__(
        self,
        path: Path,
        *,
        max_side: int | None = 640,
        min_confidence: float = 0.4,
        device: Device = "cpu",
    ) -> None:
        require("insightface", "detector 'scrfd'")
        from insightface.model_zoo import get_model

        file = _detector_file(path) if path.is_dir() else path
        if file is None or not file.is_file():
            raise ModelError(
                f"no SCRFD detector in {path}: an insightface pack holds a det_*.onnx or scrfd_*.onnx file"
            )
        try:
            model: Any = get_model(str(file), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime and onnx raise many unrelated types here
            raise ModelError(f"cannot load ONNX model {file}: {error}") from error
        if model is None or not hasattr(model, "use_kps") or not model.use_kps:
            raise ModelError(f"{file} is not SCRFD with key points: use a model with nine or fifteen outputs")
        side = max(32, (max_side or MAX_SIDE) // 32 * 32)
        if device != "cpu":
            model.session = session(file, threads(), device)
        model.prepare(ctx_id=-1, input_size=(side, side), det_thresh=min_confidence)
        self._model = model

    def detect(
        self, images: Sequence[Image], known: Sequence[Sequence[Box]] | None = None
    ) -> list[list[Detection]]:
        """See :class:`facegate.detectors.base.Detector`; insightface takes images one by one."""
        return [self._detect_one(image) for image in images]

    def detect_near(
        self, images: Sequence[Image], expected: Sequence[Sequence[Box]]
    ) -> list[list[Detection | None]]:
        """See :class:`facegate.detectors.base.Detector`."""
        return face_window.follow(images, expected, partial(self._detect_one, side=face_window.SIDE))

    def _detect_one(self, image: Image, side: int | None = None) -> list[Detection]:
        size = None if side is None else (side, side)
        boxes, points = self._model.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), input_size=size)
        found = [
            make_detection(row[:4], row[4], landmarks, 1.0, image.shape)
            for row, landmarks in zip(boxes, points, strict=True)
        ]
        return sorted(found, key=lambda detection: -detection.confidence)
