"""Architecture and score settings of a network, and the results of a pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from torch import Tensor

Aggregation = Literal["uniform", "attention", "attention_mean"]
AGGREGATIONS: tuple[Aggregation, ...] = ("uniform", "attention", "attention_mean")
Distance = Literal["euclidean", "cosine"]
DISTANCES: tuple[Distance, ...] = ("euclidean", "cosine")


class Architecture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Numbers that define a network; part of every model card."""

    patch_size: int
    embed_dim: int
    depth: int
    num_heads: int
    mlp_ratio: float
    img_size: int = 112
    embedding_dim: int = 512
    class_token: bool = False
    prefix_position: bool = True
    """Whether prefix tokens have position embeddings (not in DINOv2 with registers)."""
    registers: int = 0
    pre_norm: bool = False
    """A LayerNorm before the first block, and no bias in the patch projection (CLIP)."""
    qkv_bias: bool = False
    layer_scale: bool = False
    activation: Literal["relu6", "gelu", "quick_gelu"] = "relu6"
    norm_eps: float = 1e-5
    stem: Literal["patch", "mobile", "gated"] = "patch"
    margin: int = 0
    """Pixels at each edge of the crop that the network does not read (``gated`` only)."""
    head: Literal["flatten", "class_token", "gdc", "gdc_unnormalized"] = "flatten"
    """``gdc`` reads the tokens after the final LayerNorm, ``gdc_unnormalized`` before it."""
    head_norm: bool = False
    """Whether the flattened head takes the tokens after the final LayerNorm, as CVLFace's and insightface's code
    does; ViTNT-FIQA's copy of that network, which made the test vectors, takes them before it."""
    keypoints: bool = False
    """Whether attention depends on the five landmarks (KP-RPE, :mod:`facegate.scoring.network.keypoints`)."""
    estimates: int = 0
    """Number of estimates computed from the mean patch token by a small head."""

    @property
    def prefix_tokens(self) -> int:
        """Class and register tokens in front of the patches."""
        return int(self.class_token) + self.registers

    @property
    def grid(self) -> int:
        """Patches per side."""
        return (self.img_size - 2 * self.margin) // self.patch_size

    @property
    def patches(self) -> int:
        """Patches per crop."""
        return self.grid**2


class ScoreSettings(msgspec.Struct, frozen=True):
    """Settings of ViTNT-FIQA."""

    blocks: tuple[int, ...]
    """Increasing indices of the scored blocks, at least two."""
    aggregation: Aggregation = "attention"
    alpha: float = 8.0
    """Steepness of the patch quality."""
    distance: Distance = "euclidean"


class PassOutput(msgspec.Struct, frozen=True, eq=False):
    """Results of one forward pass over ``B`` crops, on the network's device."""

    raw: Tensor
    """``(B,)`` ViTNT-FIQA score."""
    patches: Tensor
    """``(B, N)``"""
    attention: Tensor
    """``(B,)`` attention score of the last executed block."""
    embedding: Tensor | None
    """``(B, E)``"""
    estimates: Tensor | None
    """``(B, K)``"""
