"""What covers a face, painted on aligned crops: closed lids, dark glasses, a mask, a hand.

A recognizer hardly minds closed eyes, and its pool shows few hands; so they are painted where the template has
eyes, mouth and cheeks (``facegate.detectors.align``). Randomness comes from the caller.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from facegate.pipeline.records import Image, contiguous

EYES = ((38.3, 51.7), (73.5, 51.5))
CHEEKS = ((32, 68), (80, 68))
Cover = Callable[[Image, np.random.Generator], Image]


def _skin(crop: Image, rng: np.random.Generator) -> NDArray[np.float32]:
    """The color of a cheek, a little lighter or darker."""
    x, y = CHEEKS[int(rng.integers(2))]
    color = np.median(crop[y - 4 : y + 5, x - 4 : x + 5].reshape(-1, 3), axis=0)
    return np.asarray(np.clip(color * rng.uniform(0.75, 1.1), 0, 255), np.float32)


def _painted(crop: Image, mask: NDArray[np.float32], color: NDArray[np.float32]) -> Image:
    """``color`` with a soft edge, keeping a quarter of the light and shade below."""
    soft = cv2.GaussianBlur(mask, (0, 0), 1.2)[:, :, None]
    shade = 0.25 * (crop.astype(np.float32) - crop.mean((0, 1)))
    return contiguous(np.clip(crop * (1 - soft) + (color + shade) * soft, 0, 255))


def lids(crop: Image, rng: np.random.Generator) -> Image:
    """Both eyes closed: skin over them and a dark line of lashes."""
    mask = np.zeros(crop.shape[:2], np.float32)
    size = (int(rng.integers(8, 11)), int(rng.integers(4, 7)))
    points = [(round(x + rng.normal(0, 0.7)), round(y + rng.normal(0, 0.7))) for x, y in EYES]
    for point in points:
        cv2.ellipse(mask, point, size, 0, 0, 360, 1.0, -1)
    painted = _painted(crop, mask, _skin(crop, rng))
    lash = tuple(float(v) for v in _skin(crop, rng) * rng.uniform(0.25, 0.5))
    for x, y in points:
        cv2.ellipse(painted, (x, y), (size[0] - 1, size[1] - 2), 0, 20, 160, lash, 1, cv2.LINE_AA)
    return painted


def glasses(crop: Image, rng: np.random.Generator) -> Image:
    """Dark glasses."""
    mask = np.zeros(crop.shape[:2], np.float32)
    size = (int(rng.integers(12, 17)), int(rng.integers(8, 13)))
    for x, y in EYES:
        cv2.ellipse(mask, (round(x), round(y + 2)), size, 0, 0, 360, 1.0, -1)
    cv2.line(mask, (50, 50), (62, 50), 1.0, 3)
    return _painted(crop, mask * float(rng.uniform(0.8, 1.0)), np.asarray(rng.uniform(0, 50, 3), np.float32))


def mask(crop: Image, rng: np.random.Generator) -> Image:
    """A mask over nose and mouth."""
    top = int(rng.integers(60, 74))
    outline = np.array([(18, top + 4), (56, top - 4), (94, top + 4), (88, 104), (56, 114), (24, 104)], np.int32)
    covered = np.zeros(crop.shape[:2], np.float32)
    cv2.fillPoly(covered, [outline], 1.0)
    return _painted(crop, covered, np.asarray(rng.uniform(30, 255, 3), np.float32))


def hand(crop: Image, rng: np.random.Generator) -> Image:
    """A few fingers across the face, in the color of its skin."""
    covered = np.zeros(crop.shape[:2], np.float32)
    angle, at = rng.uniform(0, np.pi), rng.uniform(30, 82, 2)
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    for finger in range(int(rng.integers(2, 5))):
        center = at + across * 11 * finger
        ends = [tuple(int(v) for v in np.rint(center + along * reach)) for reach in (-60, rng.uniform(5, 30))]
        cv2.line(covered, ends[0], ends[1], 1.0, int(rng.integers(8, 12)), cv2.LINE_AA)
    return _painted(crop, covered, _skin(crop, rng))


COVERS: dict[str, Cover] = {"lids": lids, "glasses": glasses, "mask": mask, "hand": hand}


def cover_one(crop: Image, rng: np.random.Generator) -> Image:
    """Cover with one kind, chosen at random."""
    return list(COVERS.values())[int(rng.integers(len(COVERS)))](crop, rng)
