"""Checks of enrolled pictures by their measurements and similarities. Pure logic.

One picture of somebody else under a person's name makes recognition give that name to strangers.
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
"""Minimum quality; the same for a picture confirmed by others of its person that are not good; good quality."""
MAX_YAW_RATIO = 1.05
SAME_PICTURE, NEAR_COPY = 0.97, 4.0
"""Duplicates: minimum cosine of the embeddings, maximum mean difference of the thumbnails in gray levels."""
FAR_DISTANCE = 0.42
"""Minimum similarity of a picture to its person's others, relative to the similarity among those."""
NEARER_MARGIN = 0.1
"""Minimum excess of the similarity to another person."""


class FaultKind(StrEnum):
    """Kinds of faults."""

    UNUSABLE = "unusable"
    """Not a picture, or no face in it."""
    SMALL = "small"
    POOR = "poor"
    TURNED = "turned"
    SEVERAL = "several faces"
    TWICE = "twice"
    NEARER = "nearer to another"
    UNLIKE = "unlike the others"
    ALIKE = "two people alike"


class Fault(msgspec.Struct, frozen=True):
    """A fault of a picture or of a pair of people."""

    kind: FaultKind
    person: str
    source: str | None
    """The picture; ``None`` for a pair of people."""
    reason: str
    remedy: str
    row: int | None = None
    """Row of the picture in the gallery."""
    other: str | None = None
    """The second of two people."""


class PersonEvidence(msgspec.Struct, frozen=True, eq=False):
    """``N`` enrolled pictures with their measurements."""

    pictures: Sequence[Picture]
    vectors: Floats
    """``(N, D)`` unit embeddings."""
    thumbnails: Floats
    """``(N, T)`` thumbnails, gray levels."""


def find_faults(evidence: PersonEvidence, same: float, duplicate_threshold: float) -> list[Fault]:
    """Find all faults; pictures accepted by the user have none.

    Args:
        evidence: all enrolled pictures, grouped by person.
        same: similarity from which two pictures show one person.
        duplicate_threshold: similarity from which the templates of two people show one person.
    """
    starts = [i for i, p in enumerate(evidence.pictures) if not i or evidence.pictures[i - 1].person != p.person]
    found: list[Fault] = []
    accused: set[int] = set()
    for start, end in pairwise([*starts, len(evidence.pictures)]):
        # One person at a time: the full matrix of a large gallery does not fit in memory.
        similarities = evidence.vectors[start:end] @ evidence.vectors.T
        for index in range(start, end):
            picture, row = evidence.pictures[index], similarities[index - start]
            others = [other for other in range(start, end) if other != index]
            faults = _single(picture, row[others], [evidence.pictures[other] for other in others], same) + _copies(
                evidence, index, row
            )
            if not faults:
                far = _far(similarities, start, others, same)
                faults = _stray(evidence.pictures, starts, picture, row, others, far, same)
            if faults and not picture.accepted:
                found += faults
                accused.add(index)
    found += _similar_people(evidence, duplicate_threshold, accused)
    return sorted(found, key=lambda fault: (fault.person, fault.source or ""))


def _fault(kind: FaultKind, picture: Picture, reason: str, remedy: str) -> Fault:
    return Fault(kind, picture.person, picture.source, reason, remedy, picture.row)


def _single(picture: Picture, own: Floats, others: Sequence[Picture], same: float) -> list[Fault]:
    """Faults of a picture alone; more lenient if it resembles its person's others."""
    confirmed = len(own) > 0 and float(own.max()) >= same
    lenient = confirmed and float(np.median([other.quality for other in others])) < BETTER_QUALITY
    found = []
    if picture.width < MIN_WIDTH:
        reason = f"the face is {picture.width:.0f} pixels wide; the minimum is {MIN_WIDTH:.0f}"
        found.append(_fault(FaultKind.SMALL, picture, reason, "take a larger picture"))
    if picture.quality < (WORST_QUALITY if lenient else MIN_QUALITY):
        reason = f"quality {picture.quality}; the minimum is {MIN_QUALITY}"
        found.append(_fault(FaultKind.POOR, picture, reason, "take a sharper, brighter picture"))
    if picture.yaw_ratio > MAX_YAW_RATIO and not confirmed:
        found.append(_fault(FaultKind.TURNED, picture, "the face is in profile", "take a frontal picture"))
    if picture.faces > 2 or (picture.faces == 2 and not confirmed):
        reason = f"{picture.faces} faces of similar size; the largest was used"
        found.append(_fault(FaultKind.SEVERAL, picture, reason, f"crop the picture to {picture.person}"))
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
    """Faults of a picture that is nearer to another person, or too unlike its person's others."""
    if not others:
        return []
    own = float(row[list(others)].max())
    by_person = np.maximum.reduceat(row, starts)
    by_person[[i for i, start in enumerate(starts) if pictures[start].person == picture.person]] = -1.0
    nearest, who = float(by_person.max()), pictures[starts[int(by_person.argmax())]].person
    if nearest >= same > own and nearest > own + NEARER_MARGIN:  # if near to both, the two people are alike
        reason = f"more similar to {who} ({nearest:.2f}) than to other pictures of {picture.person} ({own:.2f})"
        return [_fault(FaultKind.NEARER, picture, reason, f"move it to {who}, or remove it")]
    doubtful = len(others) > 1 or picture.quality <= pictures[others[0]].quality
    if doubtful and own < far:
        reason = f"unlike the other pictures of {picture.person} ({own:.2f})"
        return [_fault(FaultKind.UNLIKE, picture, reason, "remove it: it may show somebody else")]
    return []


def _far(similarities: Floats, start: int, others: Sequence[int], same: float) -> float:
    """Minimum similarity of a picture to the others; increases with the similarity among those."""
    among = similarities[np.ix_([other - start for other in others], list(others))]
    agreement = same if len(others) < 2 else float(np.median(among[np.triu_indices(len(others), 1)]))
    return FAR_DISTANCE * agreement if agreement >= FAR_DISTANCE * same else -1.0


def _similar_people(evidence: PersonEvidence, duplicate_threshold: float, accused: set[int]) -> list[Fault]:
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
            f"if so: facegate gallery merge GALLERY '{names[second]}' '{names[first]}'",
            other=names[second],
        )
        for first, second in np.argwhere(np.triu(similarities >= duplicate_threshold, 1))
    ]
