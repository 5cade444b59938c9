"""Seven things that go wrong before a camera, done to a picture with one face.

Each takes the picture and the face's five landmarks and returns another picture; the detector has to find the face
in it again, as it would before a camera. Randomness comes from the caller.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from facegate.detectors.align import ARCFACE_TEMPLATE, similarity_transform
from facegate.pipeline.quality.advice import Defect
from facegate.pipeline.records import Floats, Image, contiguous

Done = Callable[[Image, Floats, np.random.Generator], Image]

HEAD_RADIUS = 52.0
"""Radius of the cylinder that models a head, pixels of an aligned crop."""
NOSE_PX, NOSE_WIDTH_PX = 14.0, 9.0
"""Length and width of the nose on it, pixels."""


def dark(image: Image, landmarks: Floats, rng: np.random.Generator) -> Image:
    """A tenth to a fifth of the light, with a sensor's noise."""
    del landmarks
    light = image.astype(np.float32) * rng.uniform(0.1, 0.2)
    noise = np.sqrt(0.35 * light + 2.0) * rng.standard_normal(image.shape).astype(np.float32)
    return contiguous(np.clip(light + noise, 0, 255))


def bright(image: Image, landmarks: Floats, rng: np.random.Generator) -> Image:
    """Exposed for far too long: most of the face is white."""
    del landmarks
    return contiguous(np.clip(image.astype(np.float32) * rng.uniform(2.0, 2.6) + rng.uniform(40, 70), 0, 255))


def blurred(image: Image, landmarks: Floats, rng: np.random.Generator) -> Image:
    """Out of focus or moving, by a tenth of the distance between the eyes or more."""
    eyes = _eyes(landmarks)
    if rng.uniform() < 0.5:
        return contiguous(cv2.GaussianBlur(image, (0, 0), eyes * rng.uniform(0.08, 0.12)))
    side = round(eyes * rng.uniform(0.35, 0.5)) | 1
    kernel = np.zeros((side, side), np.float32)
    kernel[side // 2] = 1.0 / side
    turn = cv2.getRotationMatrix2D((side / 2 - 0.5, side / 2 - 0.5), rng.uniform(0, 180), 1.0)
    smear = cv2.warpAffine(kernel, turn, (side, side))
    return contiguous(cv2.filter2D(image, -1, smear / smear.sum(), borderType=cv2.BORDER_REPLICATE))


def small(image: Image, landmarks: Floats, rng: np.random.Generator) -> Image:
    """Far away: 11 to 15 pixels between the eyes, in a picture as large as before."""
    scale = rng.uniform(11.0, 15.0) / _eyes(landmarks)
    height, width = image.shape[:2]
    less = cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    around = np.full_like(image, image.mean((0, 1)).astype(np.uint8))
    y, x = (height - less.shape[0]) // 2, (width - less.shape[1]) // 2
    around[y : y + less.shape[0], x : x + less.shape[1]] = less
    return around


def turned(image: Image, landmarks: Floats, rng: np.random.Generator) -> Image:
    """Turned aside by 40 to 55 degrees: the picture wrapped around a cylinder with a nose, and seen from there."""
    angle = np.radians(rng.uniform(40, 55)) * rng.choice((-1.0, 1.0))
    return seen_from(image, landmarks, float(angle))


def seen_from(image: Image, landmarks: Floats, angle: float) -> Image:
    """The face turned by ``angle`` radians about its upright axis; positive turns it to the right of the image."""
    to_crop = similarity_transform(landmarks, ARCFACE_TEMPLATE)
    scale = float(np.hypot(to_crop[0, 0], to_crop[1, 0]))
    height, width = image.shape[:2]
    middle = cv2.invertAffineTransform(to_crop) @ np.array([56.0, 56.0, 1.0])
    tilt = float(np.degrees(np.arctan2(to_crop[1, 0], to_crop[0, 0])))
    upright = cv2.getRotationMatrix2D((float(middle[0]), float(middle[1])), -tilt, 1.0)
    straight = cv2.warpAffine(image, upright, (width, height), borderMode=cv2.BORDER_REPLICATE)
    tip = upright @ np.array([*landmarks[2], 1.0])
    radius, nose, wide = HEAD_RADIUS / scale, NOSE_PX / scale, NOSE_WIDTH_PX / scale
    x = np.linspace(-radius, radius, 8 * round(radius) | 1)
    side = np.full((height, width), -1.0, np.float32)
    y = np.arange(height, dtype=np.float32)[:, None]
    depth = np.sqrt(np.maximum(radius**2 - x**2, 0.0))[None, :] + nose * np.exp(
        -((x[None, :] - (tip[0] - middle[0])) ** 2 + _down(y - tip[1]) ** 2) / (2 * wide**2)
    )
    moved = x[None, :] * np.cos(angle) + depth * np.sin(angle)
    nearer = depth * np.cos(angle) - x[None, :] * np.sin(angle)
    columns = np.clip(np.rint(moved + middle[0]).astype(int), 0, width - 1)
    order = np.argsort(nearer, axis=1)
    rows = np.arange(height)[:, None]
    side[rows, np.take_along_axis(columns, order, 1)] = np.take_along_axis(
        np.broadcast_to(x[None, :] + middle[0], columns.shape), order, 1
    )
    plain = np.arange(width, dtype=np.float32)
    for row in side:  # background stays; holes between two samples are filled from both sides
        known = row >= 0
        first, last = np.flatnonzero(known)[[0, -1]]
        row[:] = np.where((plain >= first) & (plain <= last), np.interp(plain, plain[known], row[known]), plain)
    turned_ = cv2.remap(straight, side, np.broadcast_to(y, side.shape).astype(np.float32), cv2.INTER_LINEAR)
    back = cv2.invertAffineTransform(upright)
    return contiguous(cv2.warpAffine(turned_, back, (width, height), borderMode=cv2.BORDER_REPLICATE))


def covered(image: Image, landmarks: Floats, rng: np.random.Generator) -> Image:
    """A mask over mouth and nose, or dark glasses, or a hand before the mouth."""
    shapes = (
        [(24, 66), (56, 62), (88, 66), (84, 98), (56, 112), (28, 98)],
        [(22, 44), (52, 44), (56, 48), (60, 44), (90, 44), (88, 60), (64, 62), (56, 52), (48, 62), (24, 60)],
        [(30, 74), (80, 70), (96, 84), (100, 112), (50, 114), (34, 98)],
    )
    which = int(rng.integers(3))
    color = ((rng.integers(60, 256, 3)), rng.integers(0, 40, 3), _skin(image, landmarks) * rng.uniform(0.75, 1.1))[
        which
    ]
    back = cv2.invertAffineTransform(similarity_transform(landmarks, ARCFACE_TEMPLATE))
    points = np.array([back @ np.array([*point, 1.0]) for point in shapes[which]])
    over = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(over, [np.rint(points).astype(np.int32)], 255)
    soft = cv2.GaussianBlur(over, (0, 0), 1.0)[:, :, None].astype(np.float32) / 255
    shade = cv2.GaussianBlur(rng.normal(0, 30, image.shape[:2]).astype(np.float32), (0, 0), 6)[:, :, None]
    cloth = np.clip(np.asarray(color, np.float32) + shade + rng.normal(0, 4, image.shape), 0, 255)
    return contiguous(image * (1 - soft) + cloth * soft)


def cut_off(image: Image, landmarks: Floats, rng: np.random.Generator) -> Image:
    """A quarter to a third of the face is beyond the picture's border."""
    back = cv2.invertAffineTransform(similarity_transform(landmarks, ARCFACE_TEMPLATE))
    much = rng.uniform(0.25, 0.33)
    side = int(rng.integers(3))
    at = back @ np.array(
        [(16 + 80 * much, 96 - 80 * much, 56.0)[side], 102 - 94 * much if side == 2 else 56.0, 1.0]
    )
    x, y = round(float(at[0])), round(float(at[1]))
    return contiguous((image[:, x:], image[:, :x], image[:y])[side])


DEFECTS: dict[Defect, Done] = {
    Defect.DARK: dark,
    Defect.BRIGHT: bright,
    Defect.BLURRED: blurred,
    Defect.SMALL: small,
    Defect.TURNED: turned,
    Defect.COVERED: covered,
    Defect.CUT_OFF: cut_off,
}


def _down(y: Floats) -> Floats:
    """A nose is three times as long upwards as downwards."""
    return np.where(y < 0, y / np.float32(3.0), y)


def _eyes(landmarks: Floats) -> float:
    return float(np.hypot(*(landmarks[1] - landmarks[0])))


def _skin(image: Image, landmarks: Floats) -> NDArray[np.float64]:
    x, y = (landmarks[2] + (landmarks[0] + landmarks[1]) / 2) / 2
    around = image[max(0, int(y) - 4) : int(y) + 5, max(0, int(x) - 4) : int(x) + 5]
    mean: NDArray[np.float64] = around.reshape(-1, 3).mean(0)
    return mean
