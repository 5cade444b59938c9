"""What else cameras do to faces: kinds of degradation beside those of :mod:`facegate.evaluation.degrade`.

They are not drawn by ``degrade_one``, so that degraded copies of evaluation sets stay as they are. Each has a
severity from 0 to 1; randomness comes from the caller.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np

from facegate.evaluation.degrade import Degradation
from facegate.pipeline.records import Image, contiguous

FRAMES = 3
"""Length of the little films that are encoded: the last frame is what is left after two predictions."""


def _between(low: float, high: float, severity: float) -> float:
    return low + (high - low) * severity


def encode_h264(crop: Image, qp: int, motion: tuple[float, float] = (0.8, 0.4)) -> Image:
    """The last frame of a short H.264 film of a moving crop at a fixed quantizer.

    Args:
        crop: ``(H, W, 3)`` RGB with even sides of at least 16 pixels.
        qp: quantizer, 0 to 51.
        motion: pixels a frame, right and down.
    """
    height, width = crop.shape[:2]
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.thread_count = Fraction(1, 25), 1
    encoder.options = {
        "qp": str(qp),
        "preset": "veryfast",
        "tune": "zerolatency",
        "x264-params": "log-level=none:threads=1",
    }
    decoder: Any = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    packets: list[Any] = []
    for index in range(FRAMES):
        back = FRAMES - 1 - index
        shift = np.array([[1, 0, -back * motion[0]], [0, 1, -back * motion[1]]], np.float32)
        moved = crop
        if back:
            moved = contiguous(cv2.warpAffine(crop, shift, (width, height), borderMode=cv2.BORDER_REPLICATE))
        frame: Any = av.VideoFrame.from_ndarray(moved, "rgb24")
        frame.pts = index
        packets += encoder.encode(frame.reformat(format="yuv420p"))
    packets += encoder.encode(None)
    frames = [frame for packet in packets for frame in decoder.decode(packet)]
    frames += decoder.decode(None)
    return contiguous(frames[-1].to_ndarray(format="rgb24"))


def h264(crop: Image, severity: float, rng: np.random.Generator) -> Image:
    """H.264 at QP 28 to 44."""
    motion = rng.normal(0, 0.8, 2)
    return encode_h264(crop, round(_between(28, 44, severity)), (float(motion[0]), float(motion[1])))


def distant(crop: Image, severity: float, rng: np.random.Generator) -> Image:
    """A small face of a compressed stream: shrunk to 80 down to 26 pixels, H.264 at QP 24 to 36, enlarged again."""
    side = 2 * round(_between(40, 13, severity))
    small = contiguous(cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA))
    motion = rng.normal(0, 0.5, 2)
    coded = encode_h264(small, round(_between(24, 36, severity)), (float(motion[0]), float(motion[1])))
    return contiguous(cv2.resize(coded, crop.shape[1::-1], interpolation=cv2.INTER_LINEAR))


def infrared(crop: Image, severity: float, rng: np.random.Generator) -> Image:
    """Gray, lit from the camera, with less of the skin's detail and a sensor's noise."""
    weights = np.array([0.7, 0.25, 0.05]) + 0.1 * rng.uniform(-1, 1, 3)
    gray = (crop.astype(np.float32) @ (weights / weights.sum()).astype(np.float32)) / 255
    gray = cv2.GaussianBlur(gray, (0, 0), _between(0.4, 1.2, severity))
    lit = np.power(np.clip(gray, 0, 1), _between(0.9, 0.5, severity))
    side = crop.shape[0]
    y, x = np.mgrid[:side, :side].astype(np.float32) / side - 0.5
    spot = np.exp(-(x**2 + y**2) * _between(0.5, 3.0, severity))
    noisy = 255 * lit * spot + rng.normal(0, _between(2, 9, severity), lit.shape)
    return contiguous(np.repeat(np.clip(noisy, 0, 255)[:, :, None], 3, axis=2))


def overexposed(crop: Image, severity: float, rng: np.random.Generator) -> Image:
    """Too much light: clipped, with a glow around what is clipped."""
    del rng
    bright = crop.astype(np.float32) * _between(1.3, 3.2, severity)
    glow = cv2.GaussianBlur(np.clip(bright - 255, 0, 255), (0, 0), 5)
    return contiguous(np.clip(bright + glow, 0, 255))


def haze(crop: Image, severity: float, rng: np.random.Generator) -> Image:
    """Little contrast, as through fog or a dirty dome, with noise."""
    contrast, veil = _between(0.7, 0.12, severity), float(rng.uniform(110, 200))
    pale = veil + (crop.astype(np.float32) - 128) * contrast
    return contiguous(np.clip(pale + rng.normal(0, _between(1, 4, severity), crop.shape), 0, 255))


def half_lit(crop: Image, severity: float, rng: np.random.Generator) -> Image:
    """Light from one side: the other is down to 0.5 to 0.05 of it."""
    side, angle = crop.shape[0], rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:side, :side].astype(np.float32) / side - 0.5
    along = 1 / (1 + np.exp(-9 * (x * np.cos(angle) + y * np.sin(angle))))
    lowest = _between(0.5, 0.05, severity)
    shaded = crop * (lowest + (1 - lowest) * along)[:, :, None]
    return contiguous(np.clip(shaded + rng.normal(0, 1.5, crop.shape), 0, 255))


def misaligned(crop: Image, severity: float, rng: np.random.Generator) -> Image:
    """Landmarks that were found badly: turned by 5 to 25 degrees, moved by 3 to 14 pixels, scaled."""
    sign, angle = rng.choice((-1, 1)), rng.uniform(0, 2 * np.pi)
    middle, reach = (crop.shape[0] - 1) / 2, _between(3, 14, severity)
    scale = float(np.exp(rng.choice((-1, 1)) * _between(0.03, 0.2, severity)))
    matrix = cv2.getRotationMatrix2D((middle, middle), float(sign * _between(5, 25, severity)), scale)
    matrix[:, 2] += reach * np.array([np.cos(angle), np.sin(angle)])
    return contiguous(cv2.warpAffine(crop, matrix, crop.shape[1::-1], borderMode=cv2.BORDER_REFLECT))


CAMERA_KINDS: dict[str, Degradation] = {
    "h264": h264,
    "distant": distant,
    "infrared": infrared,
    "overexposed": overexposed,
    "haze": haze,
    "half_lit": half_lit,
    "misaligned": misaligned,
}
