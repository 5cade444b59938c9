"""The scorer: batches do not matter, refusals are typed, packed weights score the same."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from scipy.stats import spearmanr

from facegate.errors import ConfigError, ModelError
from facegate.evaluation.degrade import degrade_half
from facegate.scoring.backend_selection import example_crops
from facegate.scoring.calibration import Calibration
from facegate.scoring.engine import Scorer, load_scorer


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> Scorer:
    return load_scorer(tiny_model, device="cpu", dtype="fp32")


def crops(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 112, 112, 3)).astype(np.uint8)


@settings(max_examples=15)
@given(size=st.integers(1, 40), position=st.integers(0, 39), seed=st.integers(0, 100))
def test_a_score_does_not_depend_on_batch_size_or_position(
    tiny_model: Path, size: int, position: int, seed: int
) -> None:
    scorer = load_scorer(tiny_model, device="cpu", dtype="fp32")
    batch = crops(size, seed)
    position %= size
    together, alone = scorer.score(batch), scorer.score(batch[position : position + 1])
    np.testing.assert_allclose(together.raw_score[position], alone.raw_score[0], atol=1e-5)
    np.testing.assert_allclose(together.patches[position], alone.patches[0], atol=1e-5)
    assert together.embedding is not None and alone.embedding is not None
    np.testing.assert_allclose(together.embedding[position], alone.embedding[0], atol=1e-4)


def test_shapes_and_ranges(tiny: Scorer) -> None:
    out = tiny.score(crops(3))
    assert out.raw_score.shape == out.quality.shape == out.attention.shape == (3,)
    assert out.patches.shape == (3, 49) and out.embedding is not None and out.embedding.shape == (3, 16)
    assert ((out.patches > 0) & (out.patches <= 1)).all() and ((out.quality >= 0) & (out.quality <= 100)).all()


def test_nothing_in_nothing_out(tiny: Scorer) -> None:
    out = tiny.score(crops(0))
    assert out.raw_score.shape == (0,) and out.patches.shape == (0, 49)
    assert out.embedding is not None and out.embedding.shape == (0, 16)


def test_without_the_embedding_the_score_is_the_same_and_later_blocks_do_not_run(tiny_model: Path) -> None:
    scorer = load_scorer(tiny_model, blocks=(0, 1), device="cpu", dtype="fp32", backend="torch")
    with_embedding, without = scorer.score(crops(2)), scorer.score(crops(2), embedding=False)
    np.testing.assert_array_equal(with_embedding.raw_score, without.raw_score)
    assert without.embedding is None and without.norm is None
    ran: list[int] = []
    for index, block in enumerate(scorer.network.blocks):
        block.register_forward_hook(lambda *_, index=index: ran.append(index))
    scorer.score(crops(1), embedding=False)
    assert ran == [0, 1]


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, 112, 112, 3), np.float32),
        np.zeros((112, 112, 3), np.uint8),
        np.zeros((1, 3, 112, 112), np.uint8),
        [[1, 2], [3, 4]],
    ],
)
def test_wrong_crops_are_refused(tiny: Scorer, wrong: NDArray[np.uint8]) -> None:
    with pytest.raises(ConfigError, match=r"uint8 \(B, 112, 112, 3\) RGB"):
        tiny.score(wrong)


@pytest.mark.parametrize("blocks", [(0,), (1, 0), (0, 0), (0, 3), (-1, 1), ()])
def test_wrong_blocks_are_refused(tiny_model: Path, blocks: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"increasing indices within 0\.\.2"):
        load_scorer(tiny_model, blocks=blocks)


def test_unknown_settings_are_refused(tiny_model: Path) -> None:
    with pytest.raises(ConfigError, match="aggregation 'max'"):
        load_scorer(tiny_model, aggregation="max")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="device 'tpu'"):
        load_scorer(tiny_model, device="tpu")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="dtype 'fp8'"):
        load_scorer(tiny_model, dtype="fp8")  # type: ignore[arg-type]


def test_a_damaged_or_unfit_file_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.safetensors: no such file"):
        load_scorer(tmp_path / "none.safetensors")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(tiny_model.read_bytes()[:5000])
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        load_scorer(cut)
    state = load_file(tiny_model)
    bare = tmp_path / "bare.safetensors"
    save_file(state, bare)
    with pytest.raises(ModelError, match="head counts cannot be inferred"):
        load_scorer(bare)
    metadata = {
        "patch_size": "16",
        "embed_dim": "32",
        "depth": "3",
        "num_heads": "2",
        "mlp_ratio": "2",
        "num_classes": "16",
    }
    del state["norm.weight"]
    save_file(state, bare, metadata)
    with pytest.raises(ModelError, match=r"do not fit their card: .*norm\.weight"):
        load_scorer(bare)


def test_weights_that_are_not_finite_never_give_a_score(tiny_model: Path, tmp_path: Path) -> None:
    state = load_file(tiny_model)
    state["norm.weight"][0] = float("nan")
    path = tmp_path / "nan.safetensors"
    metadata = {
        "patch_size": "16",
        "embed_dim": "32",
        "depth": "3",
        "num_heads": "2",
        "mlp_ratio": "2",
        "num_classes": "16",
    }
    save_file(state, path, metadata)
    with pytest.raises(ModelError, match="not finite: its weights are damaged"):
        load_scorer(path, device="cpu").score(crops(1))


def real_crops(data: Path) -> NDArray[np.uint8]:
    """Twenty real faces, plain and half degraded."""
    with zipfile.ZipFile(data / "faces" / "web112.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        chosen = names[:: len(names) // 20][:20]
        pictures = [cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR) for name in chosen]
    plain = np.stack(pictures)[..., ::-1].astype(np.uint8)
    return np.concatenate([plain, degrade_half(np.ascontiguousarray(plain), 1)])


def test_bf16_ranks_as_fp32_does(data: Path) -> None:
    faces = real_crops(data)
    exact, half = (load_scorer(device="cpu", dtype=dtype).score(faces) for dtype in ("fp32", "bf16"))  # type: ignore[arg-type]
    assert spearmanr(exact.raw_score, half.raw_score).statistic >= 0.999
    assert exact.embedding is not None and half.embedding is not None
    cosine = (exact.embedding * half.embedding).sum(1) / (np.asarray(exact.norm) * np.asarray(half.norm))
    assert cosine.min() >= 0.999


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 100)), min_size=2, max_size=8),
    st.lists(st.floats(0, 1), max_size=9),
)
def test_calibration_is_monotone_and_stays_within_0_to_100(
    points: list[tuple[float, float]], raw: list[float]
) -> None:
    xs = sorted({round(x, 6) for x, _ in points})
    ys = sorted(y for _, y in points)[: len(xs)]
    if len(xs) < 2:
        return
    quality = Calibration(list(zip(xs, ys, strict=True)))(np.array(sorted(raw), np.float32))
    assert (np.diff(quality) >= 0).all() and ((quality >= 0) & (quality <= 100)).all()


@pytest.mark.parametrize(
    "table", [[(0, 0)], [(0, 0), (0, 5)], [(0, 9), (1, 5)], [(0, -1), (1, 5)], [(0, 0), (1, 101)]]
)
def test_a_calibration_table_that_is_no_scale_is_refused(table: list[tuple[float, float]]) -> None:
    with pytest.raises(ModelError, match="calibration table"):
        Calibration(table)


def test_faces_of_a_track_are_compared_by_path_and_length_together(scorer: Scorer) -> None:
    crops = example_crops(12)
    scores = scorer.score(crops)
    assert scores.norm is not None
    path, length = (Calibration(scorer.card.calibration[name]) for name in ("vitnt", "norm"))
    expected = np.sqrt((path.exact(scores.raw_score) + 1) * (length.exact(scores.norm) + 1)) - 1
    assert np.allclose(scores.rank, expected) and scores.rank.min() >= 0 and scores.rank.max() <= 100
    by_length = load_scorer(device="cpu", quality="norm").score(crops)
    assert np.array_equal(np.rint(by_length.rank), by_length.quality), "whoever chose a number is given that"
