"""Alignment: the least-squares similarity, and crops of close-ups that do not alias."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from facegate.detectors.align import ARCFACE_TEMPLATE, align, similarity_transform


@given(
    angle=st.floats(-3.1, 3.1),
    scale=st.floats(0.05, 20),
    x=st.floats(-500, 500),
    y=st.floats(-500, 500),
)
def test_a_similarity_is_recovered_exactly(angle: float, scale: float, x: float, y: float) -> None:
    rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = ARCFACE_TEMPLATE.astype(np.float64) @ rotation.T + (x, y)
    found = similarity_transform(moved, ARCFACE_TEMPLATE)  # type: ignore[arg-type]
    back = moved @ found[:, :2].T + found[:, 2]
    np.testing.assert_allclose(back, ARCFACE_TEMPLATE, atol=1e-3)


def test_noisy_points_get_the_least_squares_fit() -> None:
    rng = np.random.default_rng(3)
    noisy = (ARCFACE_TEMPLATE * 2.5 + rng.normal(0, 3, (5, 2))).astype(np.float32)
    found = similarity_transform(noisy, ARCFACE_TEMPLATE)

    def error(matrix: np.ndarray) -> float:
        return float((((noisy @ matrix[:, :2].T + matrix[:, 2]) - ARCFACE_TEMPLATE) ** 2).sum())

    best = error(found)
    for _ in range(200):  # any nearby similarity is worse
        turn, grow = rng.normal(0, 0.01), 1 + rng.normal(0, 0.01)
        spin = grow * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        other = np.column_stack([spin @ found[:, :2], found[:, 2] + rng.normal(0, 0.1, 2)])
        assert error(other) >= best - 1e-6


def test_mirrored_points_do_not_mirror_the_face() -> None:
    mirrored = ARCFACE_TEMPLATE * np.float32([-1, 1]) + np.float32([112, 0])
    assert np.linalg.det(similarity_transform(mirrored, ARCFACE_TEMPLATE)[:, :2]) > 0


def test_coincident_landmarks_give_a_crop_and_no_error() -> None:
    crop = align(np.zeros((50, 50, 3), np.uint8), np.full((5, 2), 7, np.float32))
    assert crop.shape == (112, 112, 3)


def test_a_close_up_is_averaged_not_aliased() -> None:
    """Stripes far finer than the crop's pixels average to gray; bilinear sampling would keep some of them."""
    factor = 9.0
    side = round(112 * factor)
    stripes = np.zeros((side, side, 3), np.uint8)
    stripes[:, ::2] = 255
    crop = align(stripes, (ARCFACE_TEMPLATE * factor).astype(np.float32))
    plain = cv2.warpAffine(stripes, similarity_transform(ARCFACE_TEMPLATE * factor, ARCFACE_TEMPLATE), (112, 112))
    inner = (slice(8, -8), slice(8, -8))
    assert crop[inner].std() < 12 < plain[inner].std()


def test_shrinking_first_does_not_move_the_face() -> None:
    rng = np.random.default_rng(1)
    small = cv2.GaussianBlur(rng.integers(0, 256, (112, 112, 3)).astype(np.uint8), (0, 0), 3)
    large = cv2.resize(small, None, fx=4, fy=4, interpolation=cv2.INTER_LINEAR)
    landmarks = (ARCFACE_TEMPLATE + 0.5) * 4 - 0.5
    difference = align(large, landmarks.astype(np.float32)).astype(int) - small
    assert np.abs(difference[4:-4, 4:-4]).mean() < 1.0
