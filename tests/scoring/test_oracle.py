"""The one fast pass equals the slow formula for every aggregation, set of blocks, steepness and family."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from facegate.scoring.network.architecture import AGGREGATIONS, Aggregation, Architecture, Distance, ScoreSettings
from facegate.scoring.network.vit import FaceViT

from .oracle import embedding_pass, score_pass

FACE = Architecture(patch_size=16, embed_dim=32, depth=5, num_heads=4, mlp_ratio=2, embedding_dim=24)
DINO = Architecture(
    patch_size=14, embed_dim=36, depth=5, num_heads=3, mlp_ratio=2, embedding_dim=36, class_token=True,
    qkv_bias=True, layer_scale=True, activation="gelu", norm_eps=1e-6, head="class_token",
)  # fmt: skip


OURS = Architecture(
    patch_size=16, embed_dim=32, depth=5, num_heads=4, mlp_ratio=2, embedding_dim=128, qkv_bias=True,
    activation="gelu", norm_eps=1e-6, stem="mobile", head="gdc", estimates=2,
)  # fmt: skip


def network(arch: Architecture) -> FaceViT:
    torch.manual_seed(1)
    made = FaceViT(arch).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made


@settings(max_examples=40)
@given(
    arch=st.sampled_from([FACE, DINO, OURS]),
    blocks=st.sets(st.integers(0, 4), min_size=2).map(sorted),
    aggregation=st.sampled_from(AGGREGATIONS),
    alpha=st.floats(0.1, 20),
    embedding=st.booleans(),
    distance=st.sampled_from(["euclidean", "cosine"]),
)
@torch.inference_mode()
def test_the_fast_pass_equals_the_formula(
    arch: Architecture,
    blocks: list[int],
    aggregation: Aggregation,
    alpha: float,
    embedding: bool,
    distance: Distance,
) -> None:
    net = network(arch)
    images = torch.randn(3, 3, 112, 112, generator=torch.Generator().manual_seed(2))
    out = net(images, ScoreSettings(tuple(blocks), aggregation, alpha, distance), whole=embedding)
    raw, patches = score_pass(net, images, blocks, aggregation, alpha, distance)
    torch.testing.assert_close(out.raw, raw, atol=1e-6, rtol=0)
    torch.testing.assert_close(out.patches, patches, atol=1e-6, rtol=0)
    if embedding:
        expected, attention = embedding_pass(net, images)
        torch.testing.assert_close(out.embedding, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(out.attention, attention, atol=1e-5, rtol=1e-5)


def test_one_block_has_no_path() -> None:
    with pytest.raises(ValueError, match="at least two"):
        network(FACE)(torch.randn(1, 3, 112, 112), ScoreSettings((1,)))


BLOCKS = ((14, 15), tuple(range(16)))


class LiveBytes(TorchDispatchMode):
    """The most bytes that tensors made inside held at once."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._alive: list[weakref.ref[torch.Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, torch.Tensor):
                self._alive.append(weakref.ref(tensor))
        tensors = [tensor for ref in self._alive if (tensor := ref()) is not None]
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
        self.peak = max(self.peak, sum(storages.values()))
        return out

    @classmethod
    def peak_of(cls, job: Callable[[], object]) -> int:
        with cls() as mode:
            job()
        return mode.peak


@torch.inference_mode()
def test_memory_does_not_grow_with_the_number_of_scored_blocks() -> None:
    arch = Architecture(patch_size=8, embed_dim=64, depth=16, num_heads=4, mlp_ratio=2, embedding_dim=24)
    net, images = network(arch), torch.randn(4, 3, 112, 112)

    few, many = (LiveBytes.peak_of(lambda b=b: net(images, ScoreSettings(b), whole=False)) for b in BLOCKS)  # type: ignore[misc]
    assert few > 0 and many <= few * 1.02
