"""The Vision Transformer of all supported families, with one pass for quality and embedding.

Parameter names follow timm, so state dicts of CVLFace, insightface and timm load strictly after their prefix is
removed. Two designs are covered: the face recognizers' (no class token, no qkv bias, ReLU6, flattened head with
BatchNorm) and DINOv2's (class token, biases, GELU, LayerScale).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from facegate.scoring.network.architecture import Architecture, PassOutput, ScoreSettings
from facegate.scoring.network.blocks import Block
from facegate.scoring.network.head import GdcHead
from facegate.scoring.network.keypoints import BUCKETS, LANDMARKS, buckets, offsets
from facegate.scoring.network.stems import STEMS
from facegate.scoring.vitnt import TokenPath, attention_received, image_quality


class FaceViT(nn.Module):
    """The network. Weights are random until a state dict is loaded."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.arch = arch
        self.prefix_tokens = arch.prefix_tokens
        self.patch_embed: nn.Module = STEMS[arch.stem](arch)
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

        elif arch.head.startswith("gdc"):
            self.feature = GdcHead(arch)
        if arch.keypoints:
            self.keypoint_linear = nn.Linear(2 * LANDMARKS, BUCKETS * arch.num_heads * arch.depth)
        if arch.estimates:
            self.estimate = nn.Sequential(
                nn.Linear(arch.embed_dim, arch.embed_dim // 4),
                nn.GELU(),
                nn.Linear(arch.embed_dim // 4, arch.estimates),
            )

    def set_dtype(self, dtype: torch.dtype) -> None:
        """Convert the weights; the convolutional head stays fp32, because bf16 costs it the third digit."""
        self.to(dtype=dtype)
        if self.arch.head.startswith("gdc"):
            self.feature.float()

    def tokens(self, images: Tensor) -> Tensor:
        """Embed normalized images ``(B, 3, S, S)`` to tokens ``(B, T, D)`` with positions."""
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

    def positions(self, landmarks: Tensor) -> Tensor:
        """Return the position biases ``(B, L, H, N, 49)`` of landmarks ``(B, 5, 2)`` in pixels of the crop."""
        arch, weight = self.arch, self.keypoint_linear.weight
        lies = offsets(landmarks.float(), arch.grid, arch.img_size).to(weight.dtype)
        found = self.keypoint_linear(lies).view(-1, arch.patches, arch.depth, arch.num_heads, BUCKETS)
        return found.permute(0, 2, 3, 1, 4)  # type: ignore[no-any-return]

    def bias(self, positions: Tensor, block: int) -> Tensor:
        """Return the bias of one block's attention logits, ``(B, H, N, N)``."""
        of_block = positions[:, block]
        index = buckets(self.arch.grid, positions.device)
        return of_block.gather(3, index.expand(of_block.shape[0], of_block.shape[1], -1, -1))

    def estimated(self, tokens: Tensor) -> Tensor:
        """Return the estimates ``(B, K)`` from the tokens after the last block."""
        return self.estimate(self.norm(tokens[:, self.prefix_tokens :]).mean(1)).float()  # type: ignore[no-any-return]

    def embed(self, tokens: Tensor) -> Tensor:
        """Return the embedding ``(B, D)`` from the tokens after the last block, not normalized."""
        if self.arch.head == "flatten":
            tokens = self.norm(tokens) if self.arch.head_norm else tokens
            return self.feature(tokens.flatten(1)).float()  # type: ignore[no-any-return]
        if self.arch.head.startswith("gdc"):
            patches = tokens[:, self.prefix_tokens :]
            patches = self.norm(patches) if self.arch.head == "gdc" else patches
            head = cast(GdcHead, self.feature)
            return head(head.feature_map(patches.to(head.reduce.weight.dtype))).float()  # type: ignore[no-any-return]
        return self.norm(tokens[:, 0]).float()  # type: ignore[no-any-return]

    def forward(
        self,
        images: Tensor,
        settings: ScoreSettings,
        *,
        whole: bool = True,
        landmarks: Tensor | None = None,
    ) -> PassOutput:
        """Run once for quality and, with ``whole``, embedding and estimates.

        Args:
            images: normalized ``(B, 3, S, S)``.
            settings: blocks, aggregation, alpha and distance. All blocks up to the last selected one run.
            whole: run to the last block, for the embedding and the estimates.
            landmarks: ``(B, 5, 2)`` in pixels of the crop, for architectures with ``keypoints``.
        """
        selected = set(settings.blocks)
        last = settings.blocks[-1]
        final = self.arch.depth - 1 if whole else last
        path = TokenPath(self.norm, settings.distance)
        received: Tensor | None = None
        logits: Tensor | None = None
        x = self.tokens(images)
        positions: Tensor | None = None
        if self.arch.keypoints:
            assert landmarks is not None
            positions = self.positions(landmarks)
        for index in range(final + 1):
            weigh = (settings.aggregation == "attention_mean" and index in selected) or (
                settings.aggregation == "attention" and index == last
            )
            bias = None if positions is None else self.bias(positions, index)
            x, weights, logits = self.blocks[index](x, weigh, index == final, bias)
            if index in selected:
                path.add(x[:, self.prefix_tokens :])
            if weights is not None:
                share = attention_received(weights, self.prefix_tokens)
                received = share if received is None else received + share
        quality = path.patch_quality(settings.alpha)
        assert logits is not None
        return PassOutput(
            raw=image_quality(quality, received),
            patches=quality,
            attention=logits,
            embedding=self.embed(x) if whole else None,
            estimates=self.estimated(x) if whole and self.arch.estimates else None,
        )
