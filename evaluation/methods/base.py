"""Protocol of quality methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from facegate.evaluation.datasets import FaceSet
from facegate.scoring.engine import Scorer
from facegate.scoring.families import Quality

CHUNK = 256
Progress = Callable[[int, int], None]


class QualityMethod(Protocol):
    """Scores every crop of a set; higher is better."""

    name: str
    """Also the cache key of scores: must identify everything that affects them."""

    def score(self, faces: FaceSet, progress: Progress) -> NDArray[np.float64]:
        """Return scores ``(N,)``; NaN where the method does not apply."""
        ...


class Loader(Protocol):
    """Creates scorers of one model."""

    def __call__(self, quality: Quality | None = None, **settings: Any) -> Scorer:
        """Create a scorer with the named quality, by default the card's; settings as for ``load_scorer``."""
        ...
