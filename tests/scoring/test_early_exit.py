"""Early exit: the table keeps its bound on crops it was not fitted on, and a scorer that uses it says who left."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from facegate.errors import ConfigError
from facegate.evaluation.degrade import degrade_half
from facegate.scoring.early_exit import ExitTable, calibrate, read_table
from facegate.scoring.engine import Scorer, load_scorer


@pytest.fixture(scope="module")
def scorer(data: Path) -> Scorer:
    return load_scorer(data / "parity" / "tiny_p8.safetensors", device="cpu", dtype="fp32", backend="torch")


@pytest.fixture(scope="module")
def faces(data: Path) -> NDArray[np.uint8]:
    plain = np.load(data / "parity" / "crops.npy")
    return np.concatenate([degrade_half(plain, seed) for seed in range(40)])


@pytest.fixture(scope="module")
def median_quality(scorer: Scorer, faces: NDArray[np.uint8]) -> int:
    return int(np.median(scorer.score(faces).quality)) + 1


@pytest.fixture(scope="module")
def table(scorer: Scorer, faces: NDArray[np.uint8], median_quality: int) -> ExitTable:
    return calibrate(scorer, faces, median_quality, bound=0.02)


def test_the_table_holds_on_crops_it_was_not_fitted_on(
    scorer: Scorer, faces: NDArray[np.uint8], median_quality: int, table: ExitTable
) -> None:
    assert [row.block for row in table.rows] == list(scorer.settings.blocks[1:-1])
    full = scorer.score(faces)
    good = full.quality >= median_quality
    for row in table.rows:
        leaving = scorer.leaving_early({row.block: row.threshold}).score(faces)
        assert (leaving.left & good).mean() <= 0.04, "fitted and held-out half together"
        np.testing.assert_allclose(leaving.raw[~leaving.left], full.raw[~leaving.left], atol=1e-5)
        assert not leaving.quality[leaving.left].any()


def test_a_table_is_read_only_for_its_own_model(scorer: Scorer, table: ExitTable, tmp_path: Path) -> None:
    path = tmp_path / "exits.json"
    path.write_bytes(msgspec.json.encode(table))
    assert read_table(path, scorer.card.name, scorer.algorithm) == table
    with pytest.raises(ConfigError, match="was made for"):
        read_table(path, "another", scorer.algorithm)
    path.write_text("{}")
    with pytest.raises(ConfigError, match="calibrate-exit"):
        read_table(path, scorer.card.name, scorer.algorithm)


def test_where_leaving_does_not_pay_no_exit_is_proposed() -> None:
    table = ExitTable("m", "a", 10, 0.01, 400, 0.0, (), None)
    assert table.exits() == {}


def test_too_few_crops_and_unreachable_gates_are_refused(scorer: Scorer, faces: NDArray[np.uint8]) -> None:
    with pytest.raises(ConfigError, match="needs 400 crops"):
        calibrate(scorer, faces[:300], 10)
    with pytest.raises(ConfigError, match="no crop reaches"):
        calibrate(scorer, faces[:400], 100)
    with pytest.raises(ConfigError, match="can leave after the scored blocks"):
        scorer.leaving_early({0: 0.5})
