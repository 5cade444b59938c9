"""Seven degradations of aligned crops, each with a severity from 0 to 1.

Used for degraded copies of evaluation sets and for training views. The caller supplies the random generator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from facegate.pipeline.records import Image, contiguous

Degradation = Callable[[Image, float, np.random.Generator], Image]


def _between(low: float, high: float, severity: float) -> float:
    return low + (high - low) * severity


def blur(crop: Image, severity: float, rng: np.random.Generator) -> Image:
    """Gaussian blur, sigma 1 to 3.5 pixels."""
    del rng
    return contiguous(cv2.GaussianBlur(crop, (0, 0), _between(1.0, 3.5, severity)))


def motion_blur(crop: Image, severity: float, rng: np.random.Generator) -> Image:
    """A straight smear of 5 to 15 pixels in any direction."""
    length = _between(5.0, 15.0, severity)
    angle = rng.uniform(0, np.pi)
    side = int(np.ceil(length)) | 1
    kernel = np.zeros((side, side), dtype=np.float32)
    center = (side - 1) / 2
    reach = (length - 1) / 2 * np.array([np.cos(angle), np.sin(angle)])
    start, end = center - reach, center + reach
    scale = 256  # cv2.line takes fixed-point coordinates with 8 fractional bits
    points = [tuple(round(float(v) * scale) for v in point) for point in (start, end)]
    cv2.line(kernel, points[0], points[1], 1.0, 1, cv2.LINE_AA, 8)
    return contiguous(
        cv2.filter2D(crop, -1, kernel / max(float(kernel.sum()), 1e-6), borderType=cv2.BORDER_REPLICATE)
    )


def downscale(crop: Image, severity: float, rng: np.random.Generator) -> Image:
    """Shrunk to 44 down to 18 pixels and enlarged again."""
    del rng
    side = round(_between(44, 18, severity))
    small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
    return contiguous(cv2.resize(small, crop.shape[1::-1], interpolation=cv2.INTER_LINEAR))


def noise(crop: Image, severity: float, rng: np.random.Generator) -> Image:
    """Gaussian noise, sigma 6 to 22 gray levels."""
    noisy = crop + rng.normal(0.0, _between(6.0, 22.0, severity), crop.shape).astype(np.float32)
    return contiguous(np.clip(noisy, 0, 255))


def jpeg(crop: Image, severity: float, rng: np.random.Generator) -> Image:
    """JPEG at quality 28 down to 6."""
    del rng
    quality = round(_between(28, 6, severity))
    _, encoded = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded: Any = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    return contiguous(decoded)


def dark(crop: Image, severity: float, rng: np.random.Generator) -> Image:
    """Brightness times 0.5 down to 0.12, with a sensor's shot and read noise."""
    light = crop.astype(np.float32) * _between(0.5, 0.12, severity)
    sigma = np.sqrt(0.35 * light + 4.0)
    noisy = light + sigma * rng.standard_normal(crop.shape).astype(np.float32)
    return contiguous(np.clip(noisy, 0, 255))


def patch(crop: Image, severity: float, rng: np.random.Generator) -> Image:
    """A filled square of 20 to 50 pixels somewhere on the crop."""
    side = round(_between(20, 50, severity))
    x, y = (int(v) for v in rng.integers(0, crop.shape[0] - side + 1, 2))
    covered = crop.copy()
    covered[y : y + side, x : x + side] = rng.integers(0, 256, 3)
    return covered


KINDS: dict[str, Degradation] = {
    "blur": blur,
    "motion_blur": motion_blur,
    "downscale": downscale,
    "noise": noise,
    "jpeg": jpeg,
    "dark": dark,
    "patch": patch,
}


def degrade_one(crop: Image, rng: np.random.Generator) -> Image:
    """Apply one kind, chosen at random, at a random severity."""
    kind = list(KINDS.values())[int(rng.integers(len(KINDS)))]
    return kind(crop, float(rng.uniform()), rng)


def degrade_half(crops: Image, seed: int) -> Image:
    """Return a copy of ``(N, 112, 112, 3)`` in which a seeded half has one degradation each."""
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(crops))[: len(crops) // 2]
    result = crops.copy()
    for index in chosen:
        result[index] = degrade_one(crops[index], rng)
    return result
