"""Records of a gallery: people and pictures."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from facegate.pipeline.records import Floats, Image

Pose = Literal["front", "left", "right"]
"""Where a face looks, as seen in the picture."""
Kind = Literal["enrolled", "negative"]
"""``enrolled``: a picture of the person; ``negative``: of somebody else who was mistaken for this person."""


class Person(msgspec.Struct, frozen=True):
    """An enrolled person."""

    name: str
    pictures: int
    negatives: int
    added: float
    """Unix time (UTC)."""


class LegalBasis(msgspec.Struct, frozen=True):
    """Why a person may be recognized (GDPR, Art. 6 and 9), such as a consent."""

    person: str
    basis: str
    """Empty if none was recorded."""
    since: float | None
    until: float | None
    """Unix times (UTC). From ``until`` on, the person is not recognized."""


class FaceSample(msgspec.Struct, frozen=True, eq=False):
    """A face extracted from a picture file for enrollment."""

    source: str
    """Origin of the picture, for display."""
    digest: str
    """SHA-256 of the file (hex)."""
    crop: Image
    """``(112, 112, 3)`` uint8 RGB, aligned."""
    quality: int
    """0..100."""
    width: float
    """Width of the face in the picture, pixels."""
    yaw_ratio: float
    """0 frontal, 1 profile; see :func:`face_extraction.yaw_ratio`."""
    faces: int
    """Number of faces in the picture: the largest and those of similar size."""
    advice: str = ""
    """How to improve its quality; empty if unknown or unnecessary."""
    confidence: float = 1.0
    """The detector's, 0..1."""
    rotated: int = 0
    """Degrees by which the picture was rotated counterclockwise to set the face upright."""
    pose: Pose | None = None
    """``None`` if unknown."""


class Picture(msgspec.Struct, frozen=True):
    """A picture of the gallery, without its pixels."""

    row: int
    person: str
    kind: Kind
    source: str
    digest: str
    quality: int
    width: float
    yaw_ratio: float
    faces: int
    accepted: bool
    """Accepted by the user despite faults found by :mod:`checks`."""
    pose: Pose | None = None
    """``None`` if unknown."""


class Embedded(msgspec.Struct, frozen=True, eq=False):
    """``N`` pictures of the gallery with embeddings of one model."""

    names: list[str]
    """Names of all people, sorted."""
    rows: NDArray[np.int64]
    """``(N,)`` rows of the pictures."""
    people: NDArray[np.int64]
    """``(N,)`` people: indices into ``names``."""
    negative: NDArray[np.bool_]
    """``(N,)`` whether they are negatives."""
    quality: NDArray[np.int64]
    """``(N,)`` 0..100."""
    used: NDArray[np.bool_]
    """``(N,)`` whether they are part of templates, see :meth:`GalleryStore.use`."""
    vectors: Floats
    """``(N, D)`` of unit length."""


class Erased(msgspec.Struct, frozen=True):
    """What was erased of a person in one file or folder."""

    place: str
    found: int
    what: str
