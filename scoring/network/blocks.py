"""The transformer block of every family; parameter names follow timm."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facegate.scoring.network.architecture import Architecture


class Attention(nn.Module):
    """Multi-head self-attention; fused unless the softmax matrix is needed."""

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

    def mix(
        self, q: Tensor, k: Tensor, v: Tensor, need_weights: bool, bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Attend; the softmax matrix ``(B, H, T, T)`` is returned only with ``need_weights``. ``bias`` of that
        shape is added to the logits."""
        if need_weights:
            logits = (q * self.scale) @ k.transpose(-2, -1)
            weights = (logits if bias is None else logits + bias).softmax(-1)
            mixed = weights @ v
        else:
            weights = None
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=self.scale)
        return self.proj(mixed.transpose(1, 2).flatten(2)), weights

    def logit_mean(self, q: Tensor, k: Tensor) -> Tensor:
        """Mean of all pre-softmax logits, ``(B,)``, without forming them (ATTN-FIQA, arXiv 2604.22841)."""
        per_head = (q.float().mean(2) * k.float().mean(2)).sum(-1)
        return per_head.mean(1).mul(self.scale)


class QuickGelu(nn.Module):
    """``x * sigmoid(1.702 x)``, as OpenAI's CLIP uses it."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply elementwise."""
        return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, type[nn.Module]] = {"relu6": nn.ReLU6, "gelu": nn.GELU, "quick_gelu": QuickGelu}


class Mlp(nn.Module):
    """Two linear layers with the family's activation."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        hidden = int(arch.embed_dim * arch.mlp_ratio)
        self.fc1 = nn.Linear(arch.embed_dim, hidden)
        self.act = ACTIVATIONS[arch.activation]()
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
        self, x: Tensor, need_weights: bool, need_logits: bool, bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return the new tokens, the softmax matrix and the attention score, the last two on request.

        ``bias`` ``(B, H, T, T)`` is added to the attention logits.
        """
        q, k, v = self.attn.project(self.norm1(x))
        logits = self.attn.logit_mean(q, k) if need_logits else None
        if logits is not None and bias is not None:
            logits = logits + bias.float().mean((1, 2, 3))
        mixed, weights = self.attn.mix(q, k, v, need_weights, bias)
        x = x + self.ls1(mixed)
        return x + self.ls2(self.mlp(self.norm2(x))), weights, logits
