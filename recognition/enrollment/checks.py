"""What is wrong with enrolled pictures: found in what was measured of them and in how alike they are. Pure logic.

Recognition is no better than its gallery: one picture of somebody else under a name, and strangers get that name.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise

import msgspec
import numpy as np

from facegate.pipeline.records import Floats
from facegate.recognition.enrollment.records import Picture

MIN_WIDTH = 40.0
MIN_QUALITY, WORST_QUALITY, BETTER_QUALITY = 20, 9, 70
"""What is needed; of a picture that its person's others confirm, and that are no better; and what is better."""
MAX_YAW_RATIO = 1.05
SAME_PICTURE, NEAR_COPY = 0.97, 4.0
"""Cosine of two embeddings, and mean difference of two small gray crops in levels, of one picture."""
FAR_DISTANCE = 0.42
"""A picture is rarely less like its person's others than this share of how alike those are."""
NEARER_MARGIN = 0.1


class FaultKind(StrEnum):
    """What can be wrong."""

    UNUSABLE = "unusable"
    """No picture, or no face in it."""
    SMALL = "small"
    POOR = "poor"
    TURNED = "turned"
    SEVERAL = "several faces"
    TWICE = "twice"
    NEARER = "nearer to another"
    UNLIKE = "unlike the others"
    ALIKE = "two people alike"


class Fault(msgspec.Struct, frozen=True):
    """Something that is wrong with a picture, or with two people."""

    kind: FaultKind
    person: str
    source: str | None
    """The picture; ``None`` where it is about two people."""
    reason: str
    remedy: str
    row: int | None = None
    """Of the picture in the gallery."""
    other: str | None = None
    """The second of two people."""


class PersonEvidence(msgspec.Struct, frozen=True, eq=False):
    """``N`` enrolled pictures and what is known of them."""

    pictures: Sequence[Picture]
    vectors: Floats
    """``(N, D)`` unit embeddings."""
    thumbnails: Floats
    """``(N, T)`` small gray crops, in levels."""


def find_faults(evidence: PersonEvidence, same: float, alike: float) -> list[Fault]:
    """Everything that is wrong; pictures that somebody has accepted are taken as right.

    Args:
        evidence: of all enrolled pictures, those of one person together.
        same: similarity from which two pictures show one person.
        alike: similarity from which the pictures of two people, taken together, show one.
    """
    starts = [i for i, p in enumerate(evidence.pictures) if not i or evidence.pictures[i - 1].person != p.person]
    found: list[Fault] = []
    accused: set[int] = set()
    for start, end in pairwise([*starts, len(evidence.pictures)]):
        # A person at a time: all against all at once would not fit a large gallery.
        similarities = evidence.vectors[start:end] @ evidence.vectors.T
        for index in range(start, end):
            picture, row = evidence.pictures[index], similarities[index - start]
            others = [other for other in range(start, end) if other != index]
            faults = _by_itself(
                picture, row[others], [evidence.pictures[other] for other in others], same
            ) + _copies(evidence, index, row)
            if not faults:
                far = _far(similarities, start, others, same)
                faults = _stray(evidence.pictures, starts, picture, row, others, far, same)
            if faults and not picture.accepted:
                found += faults
                accused.add(index)
    found += _alike(evidence, alike, accused)
    return sorted(found, key=lambda fault: (fault.person, fault.source or ""))


def _fault(kind: FaultKind, picture: Picture, reason: str, remedy: str) -> Fault:
    return Fault(kind, picture.person, picture.source, reason, remedy, picture.row)


def _by_itself(picture: Picture, own: Floats, others: Sequence[Picture], same: float) -> list[Fault]:
    """What can be seen in a picture; less matters of one that is like its person's others."""
    confirmed = len(own) > 0 and float(own.max()) >= same
    spared = confirmed and float(np.median([other.quality for other in others])) < BETTER_QUALITY
    found = []
    if picture.width < MIN_WIDTH:
        reason = f"the face is {picture.width:.0f} pixels wide, {MIN_WIDTH:.0f} are needed"
        found.append(_fault(FaultKind.SMALL, picture, reason, "take a larger picture"))
    if picture.quality < (WORST_QUALITY if spared else MIN_QUALITY):
        reason = f"quality {picture.quality}, {MIN_QUALITY} is needed"
        found.append(_fault(FaultKind.POOR, picture, reason, "take a sharper, brighter picture"))
    if picture.yaw_ratio > MAX_YAW_RATIO and not confirmed:
        found.append(_fault(FaultKind.TURNED, picture, "the face is seen from the side", "take one from the front"))
    if picture.faces > 2 or (picture.faces == 2 and not confirmed):
        reason = f"{picture.faces} faces of about the same size; the largest was taken"
        found.append(_fault(FaultKind.SEVERAL, picture, reason, f"cut {picture.person} out of it"))
    return found


def _copies(evidence: PersonEvidence, index: int, row: Floats) -> list[Fault]:
    picture = evidence.pictures[index]
    for other in np.flatnonzero(row[:index] >= SAME_PICTURE):
        if np.abs(evidence.thumbnails[other] - evidence.thumbnails[index]).mean() < NEAR_COPY:
            first = evidence.pictures[int(other)]
            where = "" if first.person == picture.person else f" of {first.person}"
            reason = f"the same picture as {first.source}{where}"
            return [_fault(FaultKind.TWICE, picture, reason, "remove one of them")]
    return []


def _stray(
    pictures: Sequence[Picture],
    starts: Sequence[int],
    picture: Picture,
    row: Floats,
    others: Sequence[int],
    far: float,
    same: float,
) -> list[Fault]:
    """A picture that is nearer to somebody else, or far from what the others of its person agree on."""
    if not others:
        return []
    own = float(row[list(others)].max())
    most = np.maximum.reduceat(row, starts)
    most[[i for i, start in enumerate(starts) if pictures[start].person == picture.person]] = -1.0
    nearest, who = float(most.max()), pictures[starts[int(most.argmax())]].person
    if nearest >= same > own and nearest > own + NEARER_MARGIN:  # near to both: two people alike
        reason = f"nearer to {who} ({nearest:.2f}) than to {picture.person}'s others ({own:.2f})"
        return [_fault(FaultKind.NEARER, picture, reason, f"move it to {who}, or remove it")]
    doubtful = len(others) > 1 or picture.quality <= pictures[others[0]].quality
    if doubtful and own < far:
        reason = f"unlike {picture.person}'s others ({own:.2f})"
        return [_fault(FaultKind.UNLIKE, picture, reason, "remove it: it may show somebody else")]
    return []


def _far(similarities: Floats, start: int, others: Sequence[int], same: float) -> float:
    """Below this similarity a picture is unlike the others; the more these agree, the more is asked of it."""
    among = similarities[np.ix_([other - start for other in others], list(others))]
    agreement = same if len(others) < 2 else float(np.median(among[np.triu_indices(len(others), 1)]))
    return FAR_DISTANCE * agreement if agreement >= FAR_DISTANCE * same else -1.0


def _alike(evidence: PersonEvidence, alike: float, accused: set[int]) -> list[Fault]:
    kept = [i for i in range(len(evidence.pictures)) if i not in accused]
    names = sorted({evidence.pictures[i].person for i in kept})
    if len(names) < 2:
        return []
    place = {name: index for index, name in enumerate(names)}
    sums = np.zeros((len(names), evidence.vectors.shape[1]), np.float32)
    for i in kept:
        sums[place[evidence.pictures[i].person]] += evidence.vectors[i]
    templates = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    similarities = templates @ templates.T
    return [
        Fault(
            FaultKind.ALIKE,
            names[first],
            None,
            f"{names[first]} and {names[second]} look like one person ({similarities[first, second]:.2f})",
            f"if they are: facegate gallery merge GALLERY '{names[second]}' '{names[first]}'",
            other=names[second],
        )
        for first, second in np.argwhere(np.triu(similarities >= alike, 1))
    ]
