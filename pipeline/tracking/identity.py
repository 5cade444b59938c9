"""What an embedding says about two faces: the thresholds of a model, and a face's embedding at length one."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from facegate.pipeline.records import ScoredFace


class IdentityThresholds(msgspec.Struct, frozen=True):
    """What a model's embedding says about two faces, by their cosine."""

    split_below: float
    """Not the same person, even within a track."""
    same_above: float
    """The same person, even across tracks."""


def unit_embedding(face: ScoredFace) -> NDArray[np.float32] | None:
    """The face's embedding at length one, ``None`` where there is none."""
    if face.embedding is None:
        return None
    length = float(np.sqrt(face.embedding @ face.embedding))
    unit: Any = face.embedding / length if length > 1e-9 else None
    return unit  # type: ignore[no-any-return]
