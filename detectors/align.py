"""Five-point alignment to the ArcFace template, used by every path.

The similarity transform is the least-squares solution of Umeyama (IEEE TPAMI 13(4), 1991), warped from the
full-resolution image. Plain bilinear sampling aliases when the face is larger than the crop, which would change
the score of sharp close-ups, so such faces are first shrunk with area averaging.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from facegate.pipeline.records import Floats, Image, contiguous

CROP_SIZE = 112

ARCFACE_TEMPLATE: Floats = np.array(
    [
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ],
    dtype=np.float32,
)
"""Left eye, right eye, nose, left and right mouth corner in a 112x112 crop."""


def similarity_transform(source: Floats, target: Floats) -> NDArray[np.float64]:
    """Return the ``(2, 3)`` similarity (rotation, uniform scale, shift) that maps ``source`` onto ``target``.

    Args:
        source: ``(N, 2)`` points.
        target: ``(N, 2)`` points.

    Coincident source points have no unique solution; they map to the target's center with scale zero.
    """
    src = np.asarray(source, dtype=np.float64)
    dst = np.asarray(target, dtype=np.float64)
    src_mean, dst_mean = src.mean(0), dst.mean(0)
    src_centered, dst_centered = src - src_mean, dst - dst_mean
    variance = (src_centered**2).sum() / len(src)
    u, singular, vt = np.linalg.svd(dst_centered.T @ src_centered / len(src))
    sign = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt)) or 1.0])
    rotation = u @ np.diag(sign) @ vt
    scale = float((singular * sign).sum() / variance) if variance > 1e-12 else 0.0
    matrix = np.empty((2, 3))
    matrix[:, :2] = scale * rotation
    matrix[:, 2] = dst_mean - matrix[:, :2] @ src_mean
    return matrix


def align(image: Image, landmarks: Floats) -> Image:
    """Return the aligned ``(112, 112, 3)`` crop of the face at ``landmarks``.

    Args:
        image: full-resolution ``(H, W, 3)`` RGB.
        landmarks: ``(5, 2)`` pixels of ``image``, in the order of :data:`ARCFACE_TEMPLATE`.

    Parts outside the image are black.
    """
    matrix = similarity_transform(landmarks, ARCFACE_TEMPLATE)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if 0.0 < scale < 1.0:
        image, matrix = _shrink_region(image, matrix, scale)
    warped = cv2.warpAffine(image, matrix, (CROP_SIZE, CROP_SIZE), flags=cv2.INTER_LINEAR)
    return contiguous(warped)


def aligned_landmarks(faces: Sequence[Floats]) -> Floats:
    """Return the landmarks of ``B`` faces, ``(5, 2)`` each in pixels of the frame, in pixels of their aligned
    crops: ``(B, 5, 2)``."""
    inside: Floats = np.empty((len(faces), *ARCFACE_TEMPLATE.shape), np.float32)
    for row, landmarks in enumerate(faces):
        matrix = similarity_transform(landmarks, ARCFACE_TEMPLATE)
        inside[row] = landmarks @ matrix[:, :2].T + matrix[:, 2]
    return inside


def _shrink_region(image: Image, matrix: NDArray[np.float64], scale: float) -> tuple[Image, NDArray[np.float64]]:
    """Cut the region around the face and area-average it to about the crop's resolution."""
    inverse = cv2.invertAffineTransform(matrix)
    corners = np.array([(0, 0, 1), (CROP_SIZE, 0, 1), (0, CROP_SIZE, 1), (CROP_SIZE, CROP_SIZE, 1)])
    reach = corners @ inverse.T
    height, width = image.shape[:2]
    margin = 2.0 / scale
    x1, y1 = (int(v) for v in np.clip(np.floor(reach.min(0) - margin), 0, (width - 1, height - 1)))
    x2, y2 = (int(v) for v in np.clip(np.ceil(reach.max(0) + margin), (x1 + 1, y1 + 1), (width, height)))
    region = image[y1:y2, x1:x2]
    size = (max(1, round((x2 - x1) * scale)), max(1, round((y2 - y1) * scale)))
    small = cv2.resize(region, size, interpolation=cv2.INTER_AREA)
    ratio_x, ratio_y = size[0] / (x2 - x1), size[1] / (y2 - y1)
    # A pixel's center sits at +0.5, so shrinking moves coordinates by half a pixel as well.
    to_full = np.array(
        [
            [1 / ratio_x, 0.0, 0.5 / ratio_x - 0.5 + x1],
            [0.0, 1 / ratio_y, 0.5 / ratio_y - 0.5 + y1],
            [0.0, 0.0, 1.0],
        ]
    )
    return small, matrix @ to_full
