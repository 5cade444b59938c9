"""The one fast pass equals the slow formula for every aggregation, set of blocks, steepness and family."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facegate.scoring.vit import Architecture, FaceViT
from facegate.scoring.vitnt import AGGREGATIONS, Aggregation

from .oracle import embedding_pass, score_pass

FACE = Architecture(patch_size=16, embed_dim=32, depth=5, num_heads=4, mlp_ratio=2, embedding_dim=24)
DINO = Architecture(
    patch_size=14, embed_dim=36, depth=5, num_heads=3, mlp_ratio=2, embedding_dim=36, class_token=True,
    qkv_bias=True, layer_scale=True, activation="gelu", norm_eps=1e-6, head="class_token",
)  # fmt: skip


def network(arch: Architecture) -> FaceViT:
    torch.manual_seed(1)
    made = FaceViT(arch).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made


@settings(max_examples=40, deadline=None)
@given(
    arch=st.sampled_from([FACE, DINO]),
    blocks=st.sets(st.integers(0, 4), min_size=2).map(sorted),
    aggregation=st.sampled_from(AGGREGATIONS),
    alpha=st.floats(0.1, 20),
    embedding=st.booleans(),
)
@torch.inference_mode()
def test_the_fast_pass_equals_the_formula(
    arch: Architecture, blocks: list[int], aggregation: Aggregation, alpha: float, embedding: bool
) -> None:
    net = network(arch)
    images = torch.randn(3, 3, 112, 112, generator=torch.Generator().manual_seed(2))
    out = net(images, blocks, aggregation, alpha, embedding)
    raw, patches = score_pass(net, images, blocks, aggregation, alpha)
    torch.testing.assert_close(out.raw, raw, atol=1e-6, rtol=0)
    torch.testing.assert_close(out.patches, patches, atol=1e-6, rtol=0)
    if embedding:
        expected, attention = embedding_pass(net, images)
        torch.testing.assert_close(out.embedding, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(out.attention, attention, atol=1e-5, rtol=1e-5)


def test_one_block_has_no_path() -> None:
    with pytest.raises(ValueError, match="at least two"):
        network(FACE)(torch.randn(1, 3, 112, 112), (1,))
