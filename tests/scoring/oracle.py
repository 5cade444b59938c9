"""A faithful slow version of the published formula: the reference for exactness and for speed.

Explicit softmax in every block, all block outputs kept, a score pass and a separate embedding pass, fp32, and the
formula as it is written: image by image, patch by patch, pair by pair. Independent of
:mod:`facegate.scoring.vitnt`; only the weights are shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from facegate.scoring.network.blocks import Block
from facegate.scoring.network.vit import FaceViT


def _block(block: Block, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, softmax matrix and pre-softmax logits, the long way round."""
    batch, tokens, dim = x.shape
    heads = block.attn.num_heads
    qkv = block.attn.qkv(block.norm1(x)).reshape(batch, tokens, 3, heads, dim // heads).permute(2, 0, 3, 1, 4)
    logits = (qkv[0] @ qkv[1].transpose(-2, -1)) * (dim // heads) ** -0.5
    weights = logits.softmax(-1)
    x = x + block.ls1(block.attn.proj((weights @ qkv[2]).transpose(1, 2).reshape(batch, tokens, dim)))
    return x + block.ls2(block.mlp(block.norm2(x))), weights, logits


def score_pass(
    network: FaceViT,
    images: Tensor,
    blocks: Sequence[int],
    aggregation: str,
    alpha: float,
    distance: str = "euclidean",
) -> tuple[Tensor, Tensor]:
    """Return the image scores ``(B,)`` and patch qualities ``(B, N)``."""
    arch = network.arch
    prefix = network.prefix_tokens
    x = network.tokens(images)
    outputs, attentions = [], []
    for index in range(blocks[-1] + 1):
        x, weights, _ = _block(network.blocks[index], x)  # type: ignore[arg-type]
        if index in blocks:
            outputs.append(network.norm(x[:, prefix:]))
            attentions.append(weights[:, :, prefix:, prefix:])
    scores, patches = [], []
    for image in range(len(images)):
        quality = torch.stack(
            [
                _patch_quality([block[image, patch] for block in outputs], alpha, distance)
                for patch in range(arch.patches)
            ]
        )
        chosen = {"uniform": [], "attention": attentions[-1:], "attention_mean": attentions}[aggregation]
        if chosen:
            received = torch.stack([item[image].mean(0).sum(0) for item in chosen]).mean(0)
            scores.append((quality * received / received.sum()).sum())
        else:
            scores.append(quality.mean())
        patches.append(quality)
    return torch.stack(scores), torch.stack(patches)


def _patch_quality(tokens: list[Tensor], alpha: float, distance: str) -> Tensor:
    """One patch's way through the blocks, ``[(D,), ...]``, to its quality."""
    steps = []
    for before, after in pairwise(tokens):
        a, b = before / before.norm(), after / after.norm()
        steps.append((b - a).norm() if distance == "euclidean" else (b - a).square().sum() / 2)
    return 2 / (1 + torch.exp(alpha * torch.stack(steps).mean()))


def embedding_pass(network: FaceViT, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the embedding ``(B, D)`` and the attention score ``(B,)`` of a second full pass."""
    x = network.tokens(images)
    logits = torch.empty(0)
    for block in network.blocks:
        x, _, logits = _block(block, x)  # type: ignore[arg-type]
    return network.embed(x), logits.mean((1, 2, 3))
