"""Loading the models of a run, and warnings of settings that give poor results."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from facegate.pipeline.config import ScorerConfig
from facegate.pipeline.runtime.models import scorer_of


def warnings(config: ScorerConfig, min_quality: int) -> list[MutableMapping[str, Any]]:
    with capture_logs() as said:
        scorer_of(config.model_copy(update={"device": "cpu"}), min_quality)
    return [line for line in said if line["log_level"] == "warning"]


def test_a_number_that_says_nothing_of_quality_is_warned_of() -> None:
    (line,) = warnings(ScorerConfig(quality="attention"), 1)
    assert line["event"] == "quality measure is uninformative" and line["measure"] == "attention"
    assert warnings(ScorerConfig(), 40) == []


@pytest.mark.parametrize(("min_quality", "said"), [(1, 0), (30, 1)])
def test_a_threshold_on_an_uncalibrated_score_is_warned_of(tiny_model: Path, min_quality: int, said: int) -> None:
    lines = warnings(ScorerConfig(weights=tiny_model), min_quality)
    assert len(lines) == said and all("min_quality 30" in line["effect"] for line in lines)
