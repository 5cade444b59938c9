"""Cards that a network may need instead: other channels, values or alignment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from facegate.detectors.align import ARCFACE_TEMPLATE, CROP_SIZE
from facegate.errors import ModelError
from facegate.recognition.embedders import OnnxCard

Points = tuple[tuple[float, float], ...]
RANGES = ((127.5, 127.5), (0.0, 1.0), (0.0, 255.0), (127.5, 255.0), (127.5, 1.0))
"""Means and divisors in use: -1 to 1, 0 to 255, 0 to 1, -0.5 to 0.5, -127.5 to 127.5."""
SAME_ALIGNMENT = 0.06
"""Alignments whose points differ by less than this share of the side are one."""
SAME_RANGE = 0.02
"""Ranges that differ by less than this share are one: 127.5 and 128."""
ARCFACE: Points = tuple((float(x) / CROP_SIZE, float(y) / CROP_SIZE) for x, y in ARCFACE_TEMPLATE)
LOOSE: Points = tuple((0.5 + 0.75 * (x - 0.5), 0.5 + 0.75 * (y - 0.5)) for x, y in ARCFACE)
"""A face with more of its surroundings, as networks have it that were trained on a detector's boxes."""


class Candidate(msgspec.Struct, frozen=True):
    """A card that differs from the one in use."""

    card: OnnxCard
    change: str
    """What to change in the card in use."""


def candidates(card: OnnxCard) -> Iterator[Candidate]:
    """Cards that differ from a card in one thing."""
    color: Literal["rgb", "bgr"] = "bgr" if card.color == "rgb" else "rgb"
    yield Candidate(msgspec.structs.replace(card, color=color), f"it expects {color.upper()}: set 'color: {color}'")
    for mean, std in RANGES:
        if abs(mean - card.mean) > SAME_RANGE * 255 or abs(std / card.std - 1) > SAME_RANGE:
            change = f"it expects other values: set 'mean: {mean:g}' and 'std: {std:g}'"
            yield Candidate(msgspec.structs.replace(card, mean=mean, std=std), change)
    if not card.landmarks:
        first, last = card.columns
        margin = (CROP_SIZE - last + first) // 2
        if first != margin:
            columns = (margin, margin + last - first)
            change = f"it expects the middle of the crop: set 'columns: [{columns[0]}, {columns[1]}]'"
            yield Candidate(msgspec.structs.replace(card, columns=columns), change)
        if last - first < CROP_SIZE:
            return  # other alignments need the whole width
    yield from _alignments(card)


def _alignments(card: OnnxCard) -> Iterator[Candidate]:
    points = card.landmarks or tuple((CROP_SIZE * x, CROP_SIZE * y) for x, y in ARCFACE)
    left, right, nose, mouth_left, mouth_right = points
    if card.landmarks:
        change = "left and right are exchanged in 'landmarks': name them as they are seen in the picture"
        swapped = (right, left, nose, mouth_right, mouth_left)
        yield Candidate(msgspec.structs.replace(card, landmarks=swapped), change)
    for name, shares in (("ArcFace's", ARCFACE), ("a looser", LOOSE)):
        other = tuple((round(card.side * x, 2), round(card.side * y, 2)) for x, y in shares)
        apart = max(abs(a - b) for p, q in zip(points, other, strict=True) for a, b in zip(p, q, strict=True))
        if apart > SAME_ALIGNMENT * card.side:
            shown = ", ".join(f"[{x:g}, {y:g}]" for x, y in other)
            change = f"it expects {name} alignment: set 'landmarks: [{shown}]' and 'side: {card.side}'"
            yield Candidate(msgspec.structs.replace(card, landmarks=other), change)


def first_card(name: str, shape: tuple[int | None, ...]) -> OnnxCard:
    """The most likely alignment for a network with this input, ``(B, 3, H, W)``.

    Raises:
        ModelError: it has no such input.
    """
    if len(shape) != 4 or shape[1] not in (3, None):
        raise ModelError(f"{name} has an input of shape {_shown(shape)}: export it with one picture, (B, 3, H, W)")
    height, width = (CROP_SIZE if size is None else size for size in shape[2:])
    if height == CROP_SIZE and width <= CROP_SIZE:
        margin = (CROP_SIZE - width) // 2
        return OnnxCard(name=name, threshold=0.4, columns=(margin, margin + width))
    if height != width:
        raise ModelError(f"{name} has an input of {width}x{height} pixels: only squares and 112 rows are known")
    points = tuple((round(height * x, 4), round(height * y, 4)) for x, y in ARCFACE)
    return OnnxCard(name=name, threshold=0.4, side=height, landmarks=points)


def _shown(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"
