"""KP-RPE: equal to a literal version, whatever runs it, and landmarks matter."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from facegate.detectors.align import ARCFACE_TEMPLATE, align, aligned_landmarks, similarity_transform
from facegate.errors import ConfigError, ModelError
from facegate.evaluation.evaluate import make_method
from facegate.scoring.engine import Scorer, load_scorer
from facegate.scoring.families import ModelCard, builtin_card
from facegate.scoring.network.architecture import Architecture
from facegate.scoring.network.vit import FaceViT

ARCH = Architecture(
    patch_size=16, embed_dim=32, depth=3, num_heads=2, mlp_ratio=2, embedding_dim=16, head_norm=True, keypoints=True
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights that move everything about, with the wrapper's prefix, and their card."""
    torch.manual_seed(0)
    network = FaceViT(ARCH)
    torch.nn.init.normal_(network.pos_embed, std=0.5)
    torch.nn.init.normal_(network.keypoint_linear.weight, std=2.0)
    folder = tmp_path_factory.mktemp("kprpe")
    save_file({f"net.{key}": value for key, value in network.state_dict().items()}, folder / "kprpe.safetensors")
    card = ModelCard("kprpe", ARCH, (0, 1, 2), {"vitnt": ((0.0, 0.0), (1.0, 100.0))}, "none")
    (folder / "kprpe.yaml").write_bytes(msgspec.yaml.encode(card))
    return folder / "kprpe.safetensors"


def load(model: Path, **settings: object) -> Scorer:
    fixed: dict[str, object] = {"device": "cpu", "dtype": "fp32", "backend": "torch"}
    return load_scorer(model, card=str(model.with_suffix(".yaml")), **(fixed | settings))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def crops() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def landmarks() -> NDArray[np.float32]:
    moved = np.random.default_rng(1).normal(0, 6, (3, 5, 2))
    return (ARCFACE_TEMPLATE + moved).astype(np.float32)


def way(offset: int) -> int:
    """iRPE's piecewise index, as the paper has it: exact to alpha, then logarithmic up to beta."""
    alpha, beta, gamma = 1.9, 3.8, 15.2
    if abs(offset) <= alpha:
        return offset
    far = alpha + math.log(abs(offset) / alpha) / math.log(gamma / alpha) * (beta - alpha)
    return int(math.copysign(min(beta, round(far)), offset))


def literal(network: FaceViT, image: Tensor, landmarks: NDArray[np.float32]) -> tuple[list[Tensor], Tensor]:
    """Tokens after each block, and the embedding, of one image: patch by patch and head by head."""
    grid, heads = 7, 2
    x = network.tokens(image[None])[0]
    places = [((column + 0.5) / grid, (row + 0.5) / grid) for row in range(grid) for column in range(grid)]
    lies = torch.tensor(
        [[value for kx, ky in (landmarks / 112).tolist() for value in (px - kx, py - ky)] for px, py in places]
    )
    table = lies @ network.keypoint_linear.weight.T + network.keypoint_linear.bias
    outputs = []
    for index, block in enumerate(network.blocks):
        normed = block.norm1(x)
        qkv = block.attn.qkv(normed)
        mixed = torch.zeros_like(x)
        for head in range(heads):
            part = slice(head * 16, (head + 1) * 16)
            q, k, v = (qkv[:, start:][:, part] for start in (0, 32, 64))
            logits = q @ k.T / 4.0
            for i in range(grid * grid):
                for j in range(grid * grid):
                    rows = way(i // grid - j // grid) + 3
                    columns = way(i % grid - j % grid) + 3
                    logits[i, j] += table[i, (index * heads + head) * 49 + rows * 7 + columns]
            mixed[:, part] = logits.softmax(-1) @ v
        x = x + block.attn.proj(mixed)
        x = x + block.mlp(block.norm2(x))
        outputs.append(x)
    return outputs, network.feature(network.norm(x).flatten()[None])[0]


@torch.inference_mode()
def test_it_equals_a_literal_version(model: Path, crops: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> None:
    scorer = load(model)
    out = scorer.score(crops, landmarks=landmarks)
    network = scorer.network
    images = scorer.one_pass.normalized(torch.from_numpy(crops))
    for row in range(3):
        tokens, embedding = literal(network, images[row], landmarks[row])
        assert out.embedding is not None
        np.testing.assert_allclose(out.embedding[row], embedding, atol=1e-5)
        units = [network.norm(each) / network.norm(each).norm(dim=-1, keepdim=True) for each in tokens]
        steps = ((units[1] - units[0]).norm(dim=-1) + (units[2] - units[1]).norm(dim=-1)) / 2
        np.testing.assert_allclose(out.patches[row], 2 / (1 + torch.exp(8 * steps)), atol=1e-5)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_graphs_take_landmarks_too(
    model: Path, crops: NDArray[np.uint8], landmarks: NDArray[np.float32], backend: str
) -> None:
    exact, graph = load(model).score(crops, landmarks=landmarks), load(model, backend=backend)
    found = graph.score(crops, landmarks=landmarks)
    assert exact.embedding is not None and found.embedding is not None
    np.testing.assert_allclose(found.raw_score, exact.raw_score, atol=1e-4)
    np.testing.assert_allclose(found.embedding, exact.embedding, atol=1e-3)
    one = graph.score(crops[1:2], landmarks=landmarks[1:2])
    np.testing.assert_allclose(one.raw_score, exact.raw_score[1:2], atol=1e-4)


def test_without_landmarks_they_are_the_templates(model: Path, crops: NDArray[np.uint8]) -> None:
    scorer = load(model)
    template = np.repeat(ARCFACE_TEMPLATE[None], 3, 0)
    np.testing.assert_array_equal(scorer.score(crops).raw_score, scorer.score(crops, landmarks=template).raw_score)
    assert not np.allclose(
        scorer.score(crops).raw_score, scorer.score(crops, landmarks=template + 5).raw_score, rtol=1e-3
    )
    assert scorer.wants_landmarks and not load_scorer(device="cpu").wants_landmarks
    for wrong in (template[:2], np.full((3, 5, 2), np.nan, np.float32)):
        with pytest.raises(ConfigError, match="landmarks must be finite"):
            scorer.score(crops, landmarks=wrong)


def test_landmarks_of_a_frame_are_found_in_its_crop() -> None:
    rng = np.random.default_rng(3)
    points = (ARCFACE_TEMPLATE * 1.7 + rng.normal(0, 3, (5, 2)) + 40).astype(np.float32)
    frame = np.zeros((300, 300, 3), np.uint8)
    (inside,) = aligned_landmarks([points])
    assert aligned_landmarks([]).shape == (0, 5, 2)
    matrix = similarity_transform(points, ARCFACE_TEMPLATE)
    np.testing.assert_allclose(inside[2], matrix[:, :2] @ points[2] + matrix[:, 2], atol=1e-3)
    assert np.abs(inside - ARCFACE_TEMPLATE).max() < 8 and align(frame, points).shape == (112, 112, 3)


def test_it_needs_a_card_that_says_so(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"whose attention uses landmarks.*cvlface-vit-base-kprpe"):
        load_scorer(model, card="cvlface-vit-base", device="cpu").network  # noqa: B018
    card = builtin_card("cvlface-vit-base-kprpe")
    assert card.architecture.keypoints and card.architecture.head_norm
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in FaceViT(card.architecture).state_dict().items()}
    assert shapes["keypoint_linear.weight"] == (49 * 16 * 24, 10)


@pytest.mark.parametrize("spec", ["attention@1", "stochastic", "grafiqs"])
def test_what_goes_block_by_block_is_refused(model: Path, spec: str) -> None:
    with pytest.raises(ConfigError, match="uses landmarks in every block"):
        make_method(spec, lambda quality=None, **settings: load(model))


@torch.inference_mode()
@pytest.mark.parametrize("name", ["cvlface-vit-small", "insightface-vit-t"])
def test_the_recognizers_head_takes_normed_tokens(name: str) -> None:
    """As in CVLFace's and insightface's own forward pass, from which their weights come."""
    arch = msgspec.structs.replace(builtin_card(name).architecture, depth=2, embed_dim=64, num_heads=4)
    torch.manual_seed(0)
    network = FaceViT(arch).eval()
    torch.nn.init.normal_(network.norm.weight, 1.0, 0.3)
    images = torch.randn(2, 3, 112, 112)
    x = network.tokens(images)
    for block in network.blocks:
        x = block(x, False, False)[0]
    mean, spread = x.mean(-1, keepdim=True), x.var(-1, correction=0, keepdim=True)
    normed = (x - mean) / (spread + 1e-5).sqrt() * network.norm.weight + network.norm.bias
    np.testing.assert_allclose(network.embed(x), network.feature(normed.flatten(1)), atol=1e-4)


@pytest.mark.gpu
def test_on_cuda_landmarks_come_along(
    model: Path, crops: NDArray[np.uint8], landmarks: NDArray[np.float32]
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    expected = load(model).score(crops, landmarks=landmarks)
    scorer = load(model, device="cuda", backend="auto")
    found = scorer.score(crops, landmarks=landmarks)
    np.testing.assert_allclose(found.raw_score, expected.raw_score, atol=1e-4)
    moved = scorer.score(crops, landmarks=landmarks + 6)
    assert not np.allclose(moved.raw_score, found.raw_score, rtol=1e-3)
