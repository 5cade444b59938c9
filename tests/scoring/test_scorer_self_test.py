"""The self-test of quality models."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from facegate.recognition.self_test.quality import find_problem
from facegate.scoring.engine import Scorer, load_scorer


class DarkInput:
    """A scorer that gets values from 0 to 1 where it expects 0 to 255."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def score(self, crops: NDArray[np.uint8]) -> object:
        return self._scorer.score(crops // 255)


def test_the_model_that_ships_passes_and_one_with_the_wrong_range_does_not(scorer: Scorer) -> None:
    assert find_problem(scorer) is None
    assert "check 'mean' and 'std'" in str(find_problem(DarkInput(scorer)))  # type: ignore[arg-type]


@pytest.mark.parametrize("quality", ["vitnt", "norm", "estimate"])
def test_every_measure_that_is_calibrated_passes(quality: str) -> None:
    assert find_problem(load_scorer(quality=quality)) is None  # type: ignore[arg-type]
