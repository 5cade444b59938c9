"""Rotation, privacy masks, the detection region and the zones of a camera."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import msgspec
import numpy as np

from facegate.pipeline.records import Box, Detection, Frame, Image, contiguous

Polygon = tuple[tuple[float, float], ...]
"""Corners as fractions of width and height."""


def rotated(frame: Frame, degrees: int) -> Frame:
    """Return the frame rotated counterclockwise by a multiple of 90 degrees."""
    if not degrees:
        return frame
    image, large = (
        None if picture is None else contiguous(np.rot90(picture, degrees // 90))
        for picture in (frame.image, frame.large)
    )
    assert image is not None
    ref = frame.ref
    if degrees % 180:
        ref = msgspec.structs.replace(ref, width=ref.height, height=ref.width)
    return Frame(ref=ref, image=image, large=large)


def rescaled(face: Detection, scale_x: float, scale_y: float) -> Detection:
    """Return the detection in the pixels of a picture of another size."""
    x1, y1, x2, y2 = face.box
    return Detection(
        box=(x1 * scale_x, y1 * scale_y, x2 * scale_x, y2 * scale_y),
        confidence=face.confidence,
        landmarks=face.landmarks * np.array([scale_x, scale_y], np.float32),
    )


class Regions:
    """Masks and regions of one camera. Pure."""

    def __init__(
        self, *, detect_region: Box | None = None, zones: Sequence[Polygon] = (), mask: Sequence[Polygon] = ()
    ) -> None:
        """Configure; all in fractions of the frame's width and height.

        Args:
            detect_region: left, top, right, bottom of the part in which faces are detected; by default all.
            zones: faces whose center is in none of them do not count. Everywhere by default.
            mask: privacy masks.
        """
        self._roi = detect_region
        self._zones = [np.array(polygon, np.float32) for polygon in zones]
        self._masks = [np.array(polygon, np.float64) for polygon in mask]

    def masked(self, image: Image) -> Image:
        """Return the picture with masked parts black."""
        if not self._masks:
            return image
        size = np.array([image.shape[1], image.shape[0]])
        copy = image.copy()
        cv2.fillPoly(copy, [np.rint(polygon * size).astype(np.int32) for polygon in self._masks], (0, 0, 0))
        return copy

    def crop_to_roi(self, image: Image) -> Image:
        """Return the part of the picture in which faces are detected."""
        left, top, right, bottom = self._edges(image)
        return contiguous(image[top:bottom, left:right])

    def to_frame_coords(self, found: Sequence[Detection], image: Image) -> list[Detection]:
        """Return detections of the cropped part in pixels of the whole picture."""
        left, top, _, _ = self._edges(image)
        if not left and not top:
            return list(found)
        shift = np.array([left, top], np.float32)
        return [
            Detection(
                box=(face.box[0] + left, face.box[1] + top, face.box[2] + left, face.box[3] + top),
                confidence=face.confidence,
                landmarks=face.landmarks + shift,
            )
            for face in found
        ]

    def in_zone(self, face: Detection, width: int, height: int) -> bool:
        """Whether the face's center is in a zone."""
        if not self._zones:
            return True
        x, y = (face.box[0] + face.box[2]) / 2 / width, (face.box[1] + face.box[3]) / 2 / height
        return any(cv2.pointPolygonTest(polygon, (x, y), False) >= 0 for polygon in self._zones)

    def _edges(self, image: Image) -> tuple[int, int, int, int]:
        height, width = image.shape[:2]
        if self._roi is None:
            return 0, 0, width, height
        left, top, right, bottom = self._roi
        return round(left * width), round(top * height), round(right * width), round(bottom * height)
