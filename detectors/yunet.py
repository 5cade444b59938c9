"""YuNet from an ONNX file given by path: OpenCV's ``FaceDetectorYN`` on the CPU, a session of ours elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2

from facegate.detectors import face_window
from facegate.detectors.base import make_detection
from facegate.detectors.yunet_network import YuNetNetwork
from facegate.errors import ModelError
from facegate.inference.devices import Device
from facegate.pipeline.images import shrink_to
from facegate.pipeline.records import Box, Detection, Image

MIN_CONFIDENCE = 0.4
MAX_IOU = 0.3
"""Boxes that overlap more are one face."""


class YuNetDetector:
    """YuNet (libfacedetection.train): small, fast, any image size."""

    name = "yunet"
    smallest_px = 24.0

    def __init__(
        self,
        path: Path,
        *,
        max_side: int | None = 640,
        min_confidence: float = MIN_CONFIDENCE,
        device: Device = "cpu",
    ) -> None:
        if not path.is_file():
            raise ModelError(f"no YuNet model at {path}: set the path of its ONNX file")
        self._max_side = max_side
        self._network = None
        if device != "cpu":
            self._network = YuNetNetwork(path, device, min_confidence, MAX_IOU)
            return
        # OpenCV 5 warns about its own default target at every load.
        level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        try:
            self._net = cv2.FaceDetectorYN.create(str(path), "", (320, 320), min_confidence, MAX_IOU, 5000)
        except cv2.error as error:
            raise ModelError(
                f"{path} is not a YuNet ONNX file that OpenCV can load ({error.func}): give another file"
            ) from error
        finally:
            cv2.utils.logging.setLogLevel(level)

    def detect(
        self, images: Sequence[Image], known: Sequence[Sequence[Box]] | None = None
    ) -> list[list[Detection]]:
        """See :class:`facegate.detectors.base.Detector`; images are taken one by one."""
        return [self._detect_one(image) for image in images]

    def detect_near(
        self, images: Sequence[Image], expected: Sequence[Sequence[Box]]
    ) -> list[list[Detection | None]]:
        """See :class:`facegate.detectors.base.Detector`."""
        return face_window.follow(images, expected, self._detect_one)

    def _detect_one(self, image: Image) -> list[Detection]:
        small, scale = shrink_to(image, self._max_side)
        rows: Any
        if self._network is not None:
            rows = self._network.detect(small)
        else:
            self._net.setInputSize((small.shape[1], small.shape[0]))
            _, rows = self._net.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        if rows is None:
            return []
        # YuNet names points by the person's side: its first eye is the right one, which is left in the image.
        found = [
            make_detection((x, y, x + w, y + h), score, points, scale, image.shape)
            for (x, y, w, h), points, score in ((row[:4], row[4:14], row[14]) for row in rows)
        ]
        return sorted(found, key=lambda detection: -detection.confidence)
