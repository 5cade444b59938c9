"""One Vision Transformer for every supported family, and the one pass that yields quality and embedding.

Parameter names follow timm, so state dicts of CVLFace, insightface and timm load strictly after their prefix is
removed. Two designs are covered: the face recognisers' (no class token, no qkv bias, ReLU6, flattened head with
BatchNorm) and DINOv2's (class token, biases, GELU, LayerScale).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facegate.scoring.vitnt import Aggregation, TokenPath, attention_received, image_quality


class Architecture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The few numbers that define a network; part of every model card."""

    patch_size: int
    embed_dim: int
    depth: int
    num_heads: int
    mlp_ratio: float
    img_size: int = 112
    embedding_dim: int = 512
    class_token: bool = False
    qkv_bias: bool = False
    layer_scale: bool = False
    activation: Literal["relu6", "gelu"] = "relu6"
    norm_eps: float = 1e-5
    head: Literal["flatten", "class_token", "gdc"] = "flatten"

    @property
    def grid(self) -> int:
        """Patches per side."""
        return self.img_size // self.patch_size

    @property
    def patches(self) -> int:
        """Patches per crop."""
        return self.grid**2


class PassOutput(msgspec.Struct, frozen=True, eq=False):
    """What one forward pass yields; all on the network's device."""

    raw: Tensor
    patches: Tensor
    attention: Tensor
    embedding: Tensor | None


class Attention(nn.Module):
    """Multi-head self-attention; fused unless the softmax matrix itself is needed."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.num_heads = arch.num_heads
        self.scale = (arch.embed_dim // arch.num_heads) ** -0.5
        self.qkv = nn.Linear(arch.embed_dim, 3 * arch.embed_dim, bias=arch.qkv_bias)
        self.proj = nn.Linear(arch.embed_dim, arch.embed_dim)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, ``(B, H, T, D/H)`` each."""
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.num_heads, dim // self.num_heads).permute(2, 0, 3, 1, 4)
        return qkv[0], qkv[1], qkv[2]

    def mix(self, q: Tensor, k: Tensor, v: Tensor, need_weights: bool) -> tuple[Tensor, Tensor | None]:
        """Attend; the softmax matrix ``(B, H, T, T)`` comes only when asked for."""
        if need_weights:
            weights = ((q * self.scale) @ k.transpose(-2, -1)).softmax(-1)
            mixed = weights @ v
        else:
            weights, mixed = None, F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        return self.proj(mixed.transpose(1, 2).flatten(2)), weights

    def logit_mean(self, q: Tensor, k: Tensor) -> Tensor:
        """Mean of all pre-softmax logits, ``(B,)``, without forming them (ATTN-FIQA, arXiv 2604.22841)."""
        per_head = (q.float().mean(2) * k.float().mean(2)).sum(-1)
        return per_head.mean(1).mul(self.scale)


class Mlp(nn.Module):
    """Two linear layers with the family's activation."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        hidden = int(arch.embed_dim * arch.mlp_ratio)
        self.fc1 = nn.Linear(arch.embed_dim, hidden)
        self.act = nn.ReLU6() if arch.activation == "relu6" else nn.GELU()
        self.fc2 = nn.Linear(hidden, arch.embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to ``(B, T, D)``."""
        return self.fc2(self.act(self.fc1(x)))  # type: ignore[no-any-return]


class LayerScale(nn.Module):
    """A learned factor per channel, as DINOv2 uses it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Scale the last dimension."""
        return x * self.gamma


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(arch.embed_dim, eps=arch.norm_eps)
        self.attn = Attention(arch)
        self.ls1 = LayerScale(arch.embed_dim) if arch.layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(arch.embed_dim, eps=arch.norm_eps)
        self.mlp = Mlp(arch)
        self.ls2 = LayerScale(arch.embed_dim) if arch.layer_scale else nn.Identity()

    def forward(
        self, x: Tensor, need_weights: bool, need_logits: bool
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return the new tokens, the softmax matrix and the attention score, the last two where asked for."""
        q, k, v = self.attn.project(self.norm1(x))
        logits = self.attn.logit_mean(q, k) if need_logits else None
        mixed, weights = self.attn.mix(q, k, v, need_weights)
        x = x + self.ls1(mixed)
        return x + self.ls2(self.mlp(self.norm2(x))), weights, logits


class PatchEmbed(nn.Module):
    """Non-overlapping patches to tokens; pixels that do not fill a patch are left out, as a strided conv does."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, arch.embed_dim, arch.patch_size, arch.patch_size)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 3, S, S)`` to ``(B, N, D)``."""
        return self.proj(x).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]


class GdcHead(nn.Module):
    """Embedding by global depthwise convolution (MobileFaceNet, arXiv 1804.07573) over the grid of patch tokens."""

    MAP, WIDE, GRID = 128, 512, 7

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.grid = arch.grid
        self.reduce = nn.Linear(arch.embed_dim, self.MAP)
        self.expand = nn.Conv2d(self.MAP, self.WIDE, 1)
        self.act = nn.PReLU(self.WIDE)
        self.gdc = nn.Conv2d(self.WIDE, self.WIDE, self.GRID, groups=self.WIDE)
        self.linear = nn.Linear(self.WIDE, arch.embedding_dim)

    def feature_map(self, tokens: Tensor) -> Tensor:
        """Normalised patch tokens ``(B, N, D)`` to a map ``(B, 128, 7, 7)``."""
        x = self.reduce(tokens).transpose(1, 2).unflatten(2, (self.grid, self.grid))
        return F.interpolate(x, size=(self.GRID, self.GRID), mode="bilinear", align_corners=False)

    def forward(self, feature_map: Tensor) -> Tensor:
        """Map to embedding ``(B, E)``, not normalised."""
        x = self.gdc(self.act(self.expand(feature_map)))
        return self.linear(x.flatten(1))  # type: ignore[no-any-return]


class FaceViT(nn.Module):
    """The network. Weights are random until a state dict is loaded."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.arch = arch
        self.prefix_tokens = int(arch.class_token)
        self.patch_embed = PatchEmbed(arch)
        if arch.class_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, arch.embed_dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, arch.patches + self.prefix_tokens, arch.embed_dim))
        self.blocks = nn.ModuleList(Block(arch) for _ in range(arch.depth))
        self.norm = nn.LayerNorm(arch.embed_dim, eps=arch.norm_eps)
        self.feature: nn.Module
        if arch.head == "flatten":
            self.feature = nn.Sequential(
                nn.Linear(arch.patches * arch.embed_dim, arch.embed_dim, bias=False),
                nn.BatchNorm1d(arch.embed_dim, eps=2e-5),
                nn.Linear(arch.embed_dim, arch.embedding_dim, bias=False),
                nn.BatchNorm1d(arch.embedding_dim, eps=2e-5),
            )

        elif arch.head == "gdc":
            self.feature = GdcHead(arch)

    def tokens(self, images: Tensor) -> Tensor:
        """Embed normalised images ``(B, 3, S, S)`` to tokens ``(B, T, D)`` with positions."""
        x = self.patch_embed(images)
        if self.arch.class_token:
            x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)
        return x + self.pos_embed  # type: ignore[no-any-return]

    def embed(self, tokens: Tensor) -> Tensor:
        """Embedding ``(B, D)`` from the tokens after the last block, not normalised."""
        if self.arch.head == "flatten":
            return self.feature(tokens.flatten(1)).float()  # type: ignore[no-any-return]
        if self.arch.head == "gdc":
            patches = self.norm(tokens[:, self.prefix_tokens :])
            head = cast(GdcHead, self.feature)
            return head(head.feature_map(patches)).float()  # type: ignore[no-any-return]
        return self.norm(tokens[:, 0]).float()  # type: ignore[no-any-return]

    def forward(
        self,
        images: Tensor,
        blocks: Sequence[int],
        aggregation: Aggregation = "attention",
        alpha: float = 8.0,
        embedding: bool = True,
    ) -> PassOutput:
        """Run once for quality and, if asked, embedding.

        Args:
            images: normalised ``(B, 3, S, S)``.
            blocks: increasing indices of the scored blocks, at least two. All blocks up to the last selected one
                run, and the rest only for the embedding.
            aggregation: ``uniform``, ``attention`` (weights of the last selected block) or ``attention_mean``.
            alpha: steepness of the patch quality.
            embedding: also run to the end and embed.

        Returns:
            raw ``(B,)``, patches ``(B, N)``, attention score of the last block that ran ``(B,)``, embedding.
        """
        selected = set(blocks)
        last = blocks[-1]
        final = self.arch.depth - 1 if embedding else last
        path = TokenPath(self.norm)
        received: Tensor | None = None
        logits: Tensor | None = None
        x = self.tokens(images)
        for index in range(final + 1):
            weigh = (aggregation == "attention_mean" and index in selected) or (
                aggregation == "attention" and index == last
            )
            x, weights, logits = self.blocks[index](x, weigh, index == final)
            if index in selected:
                path.add(x[:, self.prefix_tokens :])
            if weights is not None:
                share = attention_received(weights, self.prefix_tokens)
                received = share if received is None else received + share
        quality = path.patch_quality(alpha)
        assert logits is not None
        return PassOutput(
            raw=image_quality(quality, received),
            patches=quality,
            attention=logits,
            embedding=self.embed(x) if embedding else None,
        )
