"""Quality methods behind one protocol, so that any of them can be judged by the same curve."""

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
    """Also the key under which scores are kept: it must say everything that changes them."""

    def score(self, faces: FaceSet, progress: Progress) -> NDArray[np.float64]:
        """Return ``(N,)``; NaN where the method has nothing to go by."""
        ...


class Loader(Protocol):
    """Makes scorers of one model."""

    def __call__(self, quality: Quality | None = None, **settings: Any) -> Scorer:
        """The scorer whose quality is the named number, by default the card's; settings as of ``load_scorer``."""
        ...
