"""People and pictures of a gallery, as records."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from facegate.pipeline.records import Floats, Image

Kind = Literal["enrolled", "negative"]
"""A picture of the person; or of somebody else, who must not be taken for this person."""


class Person(msgspec.Struct, frozen=True):
    """Somebody who can be named."""

    name: str
    pictures: int
    negatives: int
    added: float
    """Unix time (UTC)."""


class FaceSample(msgspec.Struct, frozen=True, eq=False):
    """A face in a picture file, as it may be enrolled."""

    source: str
    """Where the picture came from, for people to read."""
    digest: str
    """SHA-256 of the file (hex)."""
    crop: Image
    """``(112, 112, 3)`` uint8 RGB, aligned."""
    quality: int
    """0..100."""
    width: float
    """Of the face in the picture, pixels; of an aligned crop that came as such, what the detector found in it."""
    yaw_ratio: float
    """0 seen from the front, 1 from the side."""
    faces: int
    """In the picture: the largest and those not much smaller."""
    advice: str = ""
    """What would help its quality most; empty where nothing would, or that is not known."""


class Picture(msgspec.Struct, frozen=True):
    """A picture that the gallery holds, without its pixels."""

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
    """Somebody has said that it is right, whatever :mod:`checks` find."""


class Embedded(msgspec.Struct, frozen=True, eq=False):
    """``N`` pictures of the gallery as one recognizer sees them."""

    names: list[str]
    """Everybody, in alphabetical order."""
    rows: NDArray[np.int64]
    """``(N,)`` which picture."""
    people: NDArray[np.int64]
    """``(N,)`` whose: indices into ``names``."""
    negative: NDArray[np.bool_]
    """``(N,)`` pictures of somebody who must not be taken for that person."""
    quality: NDArray[np.int64]
    """``(N,)`` 0..100."""
    used: NDArray[np.bool_]
    """``(N,)`` whether they count in templates: see :meth:`People.use`."""
    vectors: Floats
    """``(N, D)`` of unit length."""


class Erased(msgspec.Struct, frozen=True):
    """What was found of a person in one place, and is gone."""

    place: str
    found: int
    what: str
