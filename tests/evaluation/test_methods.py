"""Every quality method equals a literal version of its formula."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from facegate.errors import ConfigError
from facegate.evaluation.datasets import FaceSet
from facegate.evaluation.evaluate import make_method
from facegate.evaluation.research.baselines import SimilarityQuality
from facegate.evaluation.research.depth import DepthQuality, fused, learned_for, read
from facegate.evaluation.research.gradients import GradientQuality
from facegate.evaluation.research.stochastic import StochasticQuality
from facegate.scoring.engine import Scorer, load_scorer
from facegate.training.depth import rising

from ..scoring.oracle import _block, embedding_pass, score_pass


def face_set(crops: NDArray[np.uint8], names: list[str] | None = None) -> FaceSet:
    names = names or [f"p{i}" for i in range(len(crops))]
    files = [f"{name}/{index}.png" for index, name in enumerate(names)]
    return FaceSet(files, crops, np.full(len(crops), np.nan), np.full(len(crops), np.nan))


@pytest.fixture(scope="module")
def crops(data: Path) -> NDArray[np.uint8]:
    found: NDArray[np.uint8] = np.load(data / "parity" / "crops.npy")[:6]
    return found


@pytest.fixture(scope="module")
def torch_scorer() -> Scorer:
    return load_scorer(device="cpu", dtype="fp32", backend="torch", quality="vitnt")


@torch.inference_mode()
def test_readings_by_depth_are_those_of_shorter_passes(torch_scorer: Scorer, crops: NDArray[np.uint8]) -> None:
    found, network = read(torch_scorer, crops), torch_scorer.network
    settings_, images = torch_scorer.settings, torch_scorer.one_pass.normalized(torch.from_numpy(crops))
    for column in range(len(settings_.blocks) - 1):
        blocks = settings_.blocks[: column + 2]
        literal, _ = score_pass(network, images, blocks, "attention", settings_.alpha)
        np.testing.assert_allclose(found.vitnt[:, column], literal, atol=1e-5)
    x = network.tokens(images)
    assert found.estimate is not None
    for index, block in enumerate(network.blocks):
        x, _, logits = _block(block, x)  # type: ignore[arg-type]
        np.testing.assert_allclose(found.attention[:, index], logits.mean((1, 2, 3)), atol=1e-5)
        mean = torch.nn.functional.layer_norm(
            x, (x.shape[2],), network.norm.weight, network.norm.bias, network.norm.eps
        ).mean(1)
        numbers = network.estimate[2](torch.nn.functional.gelu(network.estimate[0](mean)))
        weights = torch.tensor(torch_scorer.card.fusion)
        np.testing.assert_allclose(found.estimate[:, index], (numbers * weights).sum(1), rtol=1e-5, atol=1e-4)
    whole = torch_scorer.score(crops)
    np.testing.assert_allclose(found.vitnt[:, -1], whole.raw_score, atol=1e-5)
    np.testing.assert_allclose(found.attention[:, -1], whole.attention, atol=1e-5)


@settings(max_examples=50)
@given(seed=st.integers(0, 500), columns=st.integers(1, 6))
def test_fusion_is_a_weighed_mean_of_standard_scores(seed: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    readings, weights = rng.normal(3, 2, (9, columns)), rng.uniform(0.1, 1, columns)
    literal = []
    for row in range(9):
        total = 0.0
        for column in range(columns):
            values = [float(value) for value in readings[:, column]]
            mean = sum(values) / 9
            spread = (sum((value - mean) ** 2 for value in values) / 9) ** 0.5
            total += float(weights[column]) * (values[row] - mean) / spread
        literal.append(total / float(weights.sum()))
    np.testing.assert_allclose(fused(readings, weights), literal, atol=1e-9)


@settings(max_examples=30)
@given(seed=st.integers(0, 200))
def test_learned_weights_never_fall_with_depth(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=400)
    readings = truth[:, None] * rng.uniform(0.05, 1, 5) + rng.normal(size=(400, 5))
    weights = rising(readings, truth)
    assert all(a <= b + 1e-9 for a, b in itertools.pairwise(weights))
    assert sum(weights) == pytest.approx(1.0, abs=1e-3)


def test_the_shipped_weights_never_fall_either() -> None:
    kept = learned_for("facegate-mobile-s")
    for weights in (kept.vitnt, kept.attention, kept.estimate):
        assert weights == sorted(weights) and sum(weights) == pytest.approx(1.0, abs=1e-3)
    with pytest.raises(ConfigError, match="use @linear"):
        learned_for("another")


def test_grafiqs_equals_gradients_taken_one_by_one(data: Path, crops: NDArray[np.uint8]) -> None:
    scorer = load_scorer(data / "parity" / "tiny_p16.safetensors", device="cpu", dtype="fp32", backend="torch")
    network = scorer.network
    rng = torch.Generator().manual_seed(0)
    norms = [part for part in network.modules() if isinstance(part, torch.nn.BatchNorm1d)]
    for norm in norms:
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.normal_(generator=rng)
        norm.running_var.uniform_(0.5, 2.0, generator=rng)
    found = GradientQuality(scorer).score(face_set(crops[:3]), lambda done, total: None)
    literal = []
    for crop in crops[:3]:
        start = network.tokens(scorer.one_pass.normalized(torch.from_numpy(crop[None]))).detach()

        def loss(tokens: torch.Tensor) -> torch.Tensor:
            x = tokens
            for block in network.blocks:
                x = _block(block, x)[0]  # type: ignore[arg-type]
            first, norm1, second, norm2 = network.feature  # type: ignore[misc]
            a = first(x.flatten(1))
            b = second(norm1(a))
            # Of one crop the mean is the value itself, and the variance nothing.
            return sum(
                (value[0] - norm.running_mean).square().mean() + norm.running_var.square().mean()
                for value, norm in ((a, norm1), (b, norm2))
            )  # type: ignore[return-value]

        gradient = torch.autograd.functional.jacobian(loss, start)
        literal.append(-float(gradient.abs().sum()))
        # And by differences, for a few tokens.
        for place in ((0, 0, 0), (0, 3, 5)):
            step = torch.zeros_like(start)
            step[place] = 1e-2
            with torch.no_grad():
                slope = (loss(start + step) - loss(start - step)) / 2e-2
            np.testing.assert_allclose(slope, gradient[place], rtol=0.05, atol=1e-3)
    np.testing.assert_allclose(found, literal, rtol=1e-5)
    assert network.training is False and all(parameter.grad is None for parameter in network.parameters())


def test_grafiqs_needs_batch_normalization(torch_scorer: Scorer) -> None:
    with pytest.raises(ConfigError, match="no batch normalization"):
        GradientQuality(torch_scorer)


def test_the_sdd_oracle_is_the_distance_between_two_sorted_lists(data: Path) -> None:
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (9, 112, 112, 3)).astype(np.uint8)
    names = ["a", "a", "a", "b", "b", "c", "d", "d", "d"]
    oracle = SimilarityQuality(str(data / "models" / "mobilefacenet-y1.onnx"))
    found = oracle.score(face_set(crops, names), lambda done, total: None)
    units = oracle._embedder.embed(list(crops)).astype(np.float64)
    literal: dict[int, float] = {}
    for i in range(9):
        mated = sorted(float(units[i] @ units[j]) for j in range(9) if j != i and names[j] == names[i])
        other = sorted(float(units[i] @ units[j]) for j in range(9) if names[j] != names[i])
        if mated:  # the area between the two step functions of their shares
            points = sorted({*mated, *other})
            literal[i] = sum(
                (right - left)
                * abs(sum(m <= left for m in mated) / len(mated) - sum(o <= left for o in other) / len(other))
                for left, right in itertools.pairwise(points)
            )
    for i, value in literal.items():
        assert found[i] == pytest.approx(value, abs=1e-5)
    assert found[5] == pytest.approx(float(np.median(list(literal.values()))), abs=1e-5), "alone: the median"
    with pytest.raises(ConfigError, match="a person with two pictures"):
        oracle.score(face_set(crops[:2], ["a", "b"]), lambda done, total: None)


@torch.inference_mode()
def test_stochastic_passes_equal_passes_made_one_by_one(torch_scorer: Scorer, crops: NDArray[np.uint8]) -> None:
    found = StochasticQuality(torch_scorer).score(face_set(crops), lambda done, total: None)
    network = torch_scorer.network
    x = network.tokens(torch_scorer.one_pass.normalized(torch.from_numpy(crops)))
    for block in network.blocks:
        x = _block(block, x)[0]  # type: ignore[arg-type]
    rng = torch.Generator().manual_seed(StochasticQuality.SEED)
    units = []
    for _ in range(StochasticQuality.PASSES):
        keep = torch.rand((len(x), 1, x.shape[2]), generator=rng) >= StochasticQuality.DROP
        embedding = network.embed(torch.where(keep, x / (1 - StochasticQuality.DROP), torch.zeros(())))
        units.append(embedding / embedding.norm(dim=1, keepdim=True))
    for crop in range(len(crops)):
        apart = [
            float((units[i][crop] - units[j][crop]).norm())
            for i in range(len(units))
            for j in range(i + 1, len(units))
        ]
        assert found[crop] == pytest.approx(2 / (1 + np.exp(np.mean(apart))), abs=1e-5)


def test_attention_and_norm_are_those_of_a_second_pass(torch_scorer: Scorer, crops: NDArray[np.uint8]) -> None:
    with torch.inference_mode():
        embedding, logits = embedding_pass(
            torch_scorer.network, torch_scorer.one_pass.normalized(torch.from_numpy(crops))
        )
    scorers = {name: make_method(name, load) for name in ("attention", "norm")}
    found = {name: method.score(face_set(crops), lambda done, total: None) for name, method in scorers.items()}
    np.testing.assert_allclose(found["attention"], logits, atol=1e-5)
    np.testing.assert_allclose(found["norm"], embedding.norm(dim=1), rtol=1e-5)


def load(quality: object = None, **settings_: object) -> Scorer:
    fixed = {"device": "cpu", "dtype": "fp32", "backend": "torch"}
    return load_scorer(quality=quality, **(fixed | settings_))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spec", "algorithm"),
    [
        ("vitnt/uniform", "vitnt-fiqa/uniform/2-5/alpha"),
        ("vitnt/attention_mean/0-5", "vitnt-fiqa/attention_mean/0-5/alpha"),
        ("vitnt/cosine/alpha4", "vitnt-fiqa/attention/2-5/alpha4/cosine"),
    ],
)
def test_variants_are_written_as_they_are_named(spec: str, algorithm: str) -> None:
    assert algorithm in make_method(spec, load).name


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("vitnt/sideways", "invalid variant"),
        ("vitnt/5-2", "increasing"),
        ("attention@9", "cannot be read after block"),
        ("vitnt@2", "cannot be read after block"),
        ("attention@often", "invalid method"),
        ("beauty@2", "invalid method"),
        ("sdd", "needs a model"),
        ("beauty", "unknown"),
    ],
)
def test_what_is_no_method_is_refused(spec: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_method(spec, load)


def test_one_block_and_all_of_them_read_one_pass(torch_scorer: Scorer, crops: NDArray[np.uint8]) -> None:
    faces = face_set(crops)
    found = read(torch_scorer, crops)
    for block, column in ((3, 0), (4, 1), (5, 2)):
        one = DepthQuality(torch_scorer, "vitnt", block).score(faces, lambda done, total: None)
        np.testing.assert_allclose(one, found.vitnt[:, column], atol=1e-7)
    linear = DepthQuality(torch_scorer, "attention", "linear").score(faces, lambda done, total: None)
    np.testing.assert_allclose(linear, fused(found.attention.double().numpy(), np.arange(1.0, 7.0)), atol=1e-9)
