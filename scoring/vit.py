"""One Vision Transformer for every supported family, and the one pass that yields quality and embedding.

Parameter names follow timm, so state dicts of CVLFace, insightface and timm load strictly after their prefix is
removed. Two designs are covered: the face recognisers' (no class token, no qkv bias, ReLU6, flattened head with
BatchNorm) and DINOv2's (class token, biases, GELU, LayerScale).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Literal, cast

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facegate.scoring.vitnt import Aggregation, Distance, TokenPath, attention_received, image_quality


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
    prefix_position: bool = True
    """Whether the tokens in front have positions of their own (in DINOv2 with registers they have none)."""
    registers: int = 0
    pre_norm: bool = False
    """A LayerNorm before the first block, and no bias in the patch projection (CLIP)."""
    qkv_bias: bool = False
    layer_scale: bool = False
    activation: Literal["relu6", "gelu", "quick_gelu"] = "relu6"
    norm_eps: float = 1e-5
    stem: Literal["patch", "conv"] = "patch"
    head: Literal["flatten", "class_token", "gdc"] = "flatten"
    estimates: int = 0
    """Numbers read from the mean patch token by a small head, beside the embedding."""

    @property
    def prefix_tokens(self) -> int:
        """Class and register tokens in front of the patches."""
        return int(self.class_token) + self.registers

    @property
    def grid(self) -> int:
        """Patches per side."""
        return self.img_size // self.patch_size

    @property
    def patches(self) -> int:
        """Patches per crop."""
        return self.grid**2


class ScoreSettings(msgspec.Struct, frozen=True):
    """How ViTNT-FIQA reads the network."""

    blocks: tuple[int, ...]
    """Increasing indices of the scored blocks, at least two."""
    aggregation: Aggregation = "attention"
    alpha: float = 8.0
    """Steepness of the patch quality."""
    distance: Distance = "euclidean"


class PassOutput(msgspec.Struct, frozen=True, eq=False):
    """What one forward pass over ``B`` crops yields; all on the network's device."""

    raw: Tensor
    """``(B,)`` ViTNT-FIQA score; of a crop that left early, what it had come to by then."""
    patches: Tensor
    """``(B, N)``"""
    attention: Tensor
    """``(B,)`` attention score of the last block that ran; 0 for a crop that left early."""
    embedding: Tensor | None
    """``(B, E)``; 0 for a crop that left early."""
    estimates: Tensor | None
    """``(B, K)``; 0 for a crop that left early."""
    left: Tensor | None
    """``(B,)`` bool: left early. ``None`` where no exit was given."""


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


class QuickGelu(nn.Module):
    """``x * sigmoid(1.702 x)``, as OpenAI's CLIP uses it."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply element by element."""
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
        self.proj = nn.Conv2d(3, arch.embed_dim, arch.patch_size, arch.patch_size, bias=not arch.pre_norm)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 3, S, S)`` to ``(B, N, D)``."""
        return self.proj(x).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]


class Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut (ResNet, arXiv 1512.03385)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to ``(B, C, H, W)``."""
        return F.relu(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class ConvStem(nn.Module):
    """Tokens by four strided convolutions with residual blocks between: stride 16 in all (arXiv 2106.14881)."""

    WIDTHS = (32, 64, 128)
    RESIDUALS = (1, 2, 4)

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        before = 3
        for width, residuals in zip(self.WIDTHS, self.RESIDUALS, strict=True):
            stages.append(
                nn.Sequential(
                    nn.Conv2d(before, width, 3, stride=2, padding=1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(),
                    *(Residual(width) for _ in range(residuals)),
                )
            )
            before = width
        self.stages = nn.ModuleList(stages)
        self.proj = nn.Conv2d(before, arch.embed_dim, 3, stride=2, padding=1)

    def maps(self, x: Tensor) -> list[Tensor]:
        """The feature map after each stage, strides 2, 4 and 8."""
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 3, S, S)`` to ``(B, N, D)``."""
        return self.proj(self.maps(x)[-1]).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]


class GdcHead(nn.Module):
    """Embedding by global depthwise convolution (MobileFaceNet, arXiv 1804.07573) over the grid of patch tokens."""

    MAP, WIDE, GRID = 128, 512, 7

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.reduce = nn.Linear(arch.embed_dim, self.MAP)
        self.expand = nn.Conv2d(self.MAP, self.WIDE, 1)
        self.act = nn.PReLU(self.WIDE)
        self.gdc = nn.Conv2d(self.WIDE, self.WIDE, self.GRID, groups=self.WIDE)
        self.linear = nn.Linear(self.WIDE, arch.embedding_dim)

    def feature_map(self, tokens: Tensor) -> Tensor:
        """Normalised patch tokens ``(B, N, D)`` to a map ``(B, 128, 7, 7)``."""
        return self.reduce(tokens).transpose(1, 2).unflatten(2, (self.GRID, self.GRID))  # type: ignore[no-any-return]

    def forward(self, feature_map: Tensor) -> Tensor:
        """Map to embedding ``(B, E)``, not normalised."""
        x = self.gdc(self.act(self.expand(feature_map)))
        return self.linear(x.flatten(1))  # type: ignore[no-any-return]


class FaceViT(nn.Module):
    """The network. Weights are random until a state dict is loaded."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.arch = arch
        self.prefix_tokens = arch.prefix_tokens
        self.patch_embed: nn.Module = ConvStem(arch) if arch.stem == "conv" else PatchEmbed(arch)
        if arch.class_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, arch.embed_dim))
        if arch.registers:
            self.reg_token = nn.Parameter(torch.zeros(1, arch.registers, arch.embed_dim))
        positions = arch.patches + (arch.prefix_tokens if arch.prefix_position else 0)
        self.pos_embed = nn.Parameter(torch.zeros(1, positions, arch.embed_dim))
        self.norm_pre = nn.LayerNorm(arch.embed_dim, eps=arch.norm_eps) if arch.pre_norm else nn.Identity()
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
        if arch.estimates:
            self.estimate = nn.Sequential(
                nn.Linear(arch.embed_dim, arch.embed_dim // 4),
                nn.GELU(),
                nn.Linear(arch.embed_dim // 4, arch.estimates),
            )

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the weights as they were loaded, for keeping what was computed with them."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().float().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def set_dtype(self, dtype: torch.dtype) -> None:
        """Convert the weights; the small convolutional head stays exact, because bf16 costs it a third digit."""
        self.to(dtype=dtype)
        if self.arch.head == "gdc":
            self.feature.float()

    def tokens(self, images: Tensor) -> Tensor:
        """Embed normalised images ``(B, 3, S, S)`` to tokens ``(B, T, D)`` with positions."""
        arch = self.arch
        x = self.patch_embed(images)
        # shape[0], not len(): an exported graph must keep its batch dynamic.
        prefix = [self.cls_token.expand(x.shape[0], -1, -1)] if arch.class_token else []
        if arch.registers:
            prefix.append(self.reg_token.expand(x.shape[0], -1, -1))
        if arch.prefix_position:
            x = torch.cat([*prefix, x], 1) + self.pos_embed
        else:
            x = torch.cat([*prefix, x + self.pos_embed], 1)
        return self.norm_pre(x)  # type: ignore[no-any-return]

    def estimated(self, tokens: Tensor) -> Tensor:
        """The architecture's ``estimates`` numbers ``(B, K)`` from the tokens after the last block."""
        return self.estimate(self.norm(tokens[:, self.prefix_tokens :]).mean(1)).float()  # type: ignore[no-any-return]

    def embed(self, tokens: Tensor) -> Tensor:
        """Embedding ``(B, D)`` from the tokens after the last block, not normalised."""
        if self.arch.head == "flatten":
            return self.feature(tokens.flatten(1)).float()  # type: ignore[no-any-return]
        if self.arch.head == "gdc":
            patches = self.norm(tokens[:, self.prefix_tokens :])
            head = cast(GdcHead, self.feature)
            return head(head.feature_map(patches.to(head.reduce.weight.dtype))).float()  # type: ignore[no-any-return]
        return self.norm(tokens[:, 0]).float()  # type: ignore[no-any-return]

    def forward(
        self,
        images: Tensor,
        settings: ScoreSettings,
        *,
        whole: bool = True,
        spread: Tensor | None = None,
        exits: Mapping[int, float] | None = None,
    ) -> PassOutput:
        """Run once for quality and, if asked, embedding and estimates.

        Args:
            images: normalised ``(B, 3, S, S)``.
            settings: blocks, aggregation, alpha and distance. All blocks up to the last selected one run.
            whole: run to the last block, for the embedding and the estimates.
            spread: for the ``mahalanobis`` distance, see :class:`~facegate.scoring.vitnt.TokenPath`.
            exits: after these blocks, crops whose score so far (uniform over patches) is below the value leave; the
                batch goes on without them.
        """
        selected = set(settings.blocks)
        last = settings.blocks[-1]
        final = self.arch.depth - 1 if whole else last
        exits = exits or {}
        path = TokenPath(self.norm, settings.distance, spread)
        received: Tensor | None = None
        logits: Tensor | None = None
        x = self.tokens(images)
        out = _Leavers(len(images), x.device) if exits else None
        for index in range(final + 1):
            weigh = (settings.aggregation == "attention_mean" and index in selected) or (
                settings.aggregation == "attention" and index == last
            )
            x, weights, logits = self.blocks[index](x, weigh, index == final)
            if index in selected:
                path.add(x[:, self.prefix_tokens :])
            if weights is not None:
                share = attention_received(weights, self.prefix_tokens)
                received = share if received is None else received + share
            if out is not None and index in exits and path.pairs:
                patches = path.patch_quality(settings.alpha)
                stay = out.leave(patches, exits[index])
                x = x[stay]
                path.keep(stay)
                received = None if received is None else received[stay]
                logits = None if logits is None else logits[stay]
                if not len(x):
                    logits = x.new_zeros(0)
                    break
        quality = path.patch_quality(settings.alpha)
        assert logits is not None
        result = PassOutput(
            raw=image_quality(quality, received),
            patches=quality,
            attention=logits,
            embedding=self.embed(x) if whole else None,
            estimates=self.estimated(x) if whole and self.arch.estimates else None,
            left=None,
        )
        return result if out is None else out.merged(result)


class _Leavers:
    """Bookkeeping of a batch that shrinks: who left with what, and the full batch put together again."""

    def __init__(self, size: int, device: torch.device) -> None:
        self._rows = torch.arange(size, device=device)
        self._size = size
        self._left: list[tuple[Tensor, Tensor]] = []

    def leave(self, patches: Tensor, threshold: float) -> Tensor:
        """Part with the crops below ``threshold``; return which rows of the present batch stay."""
        stays = patches.mean(1) >= threshold
        gone = (~stays).nonzero()[:, 0]
        self._left.append((self._rows[gone], patches[gone]))
        stay = stays.nonzero()[:, 0]
        self._rows = self._rows[stay]
        return stay

    def merged(self, stayed: PassOutput) -> PassOutput:
        """Return the outputs of the whole batch."""

        def spread_out(values: Tensor) -> Tensor:
            whole = values.new_zeros((self._size, *values.shape[1:]))
            whole[self._rows] = values
            return whole

        patches, raw = spread_out(stayed.patches), spread_out(stayed.raw)
        for rows, values in self._left:
            patches[rows], raw[rows] = values, values.mean(1)
        left = torch.ones(self._size, dtype=torch.bool, device=raw.device)
        left[self._rows] = False
        return PassOutput(
            raw=raw,
            patches=patches,
            attention=spread_out(stayed.attention),
            embedding=None if stayed.embedding is None else spread_out(stayed.embedding),
            estimates=None if stayed.estimates is None else spread_out(stayed.estimates),
            left=left,
        )
