"""Quality methods behind one protocol, so that any of them can be judged by the same curve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from facegate.errors import ConfigError
from facegate.evaluation.datasets import FaceSet
from facegate.scoring.engine import Scorer

CHUNK = 256
Progress = Callable[[int, int], None]


class QualityMethod(Protocol):
    """Scores every crop of a set; higher is better."""

    name: str
    """Also the key under which scores are kept: it must say everything that changes them."""

    def score(self, faces: FaceSet, progress: Progress) -> NDArray[np.float64]:
        """Return ``(N,)``; NaN where the method has nothing to go by."""
        ...


def check_walkable(scorer: Scorer) -> None:
    """Whether a method may go through the network block by block.

    Raises:
        ConfigError: its blocks need more than tokens.
    """
    if scorer.wants_landmarks:
        raise ConfigError(
            f"model '{scorer.card.name}' looks at landmarks in every block: vitnt, attention and norm can be judged"
        )
