"""The ViTNT-FIQA formula (arXiv 2601.05741).

Patch tokens ``z_t`` after each selected block pass the network's final LayerNorm and are scaled to unit length;
a patch whose tokens move little from block to block is stable, and stable patches indicate a good face.
Only the previous block's tokens are kept, so memory does not grow with the number of blocks.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facegate.scoring.network.architecture import Distance


class TokenPath:
    """Running mean of the distances that patch tokens travel between consecutive selected blocks.

    ``euclidean`` is the published distance; ``cosine`` is ``1 - u.v`` of the unit tokens.
    """

    def __init__(self, final_norm: nn.LayerNorm, distance: Distance = "euclidean") -> None:
        self._norm = final_norm
        self._cosine = distance == "cosine"
        self._previous: Tensor | None = None
        self._sum: Tensor | None = None
        self.pairs = 0
        """Pairs of blocks so far."""

    def add(self, tokens: Tensor) -> None:
        """Take the patch tokens ``(B, N, D)`` after the next selected block."""
        norm = self._norm
        unit = F.layer_norm(tokens.float(), norm.normalized_shape, norm.weight.float(), norm.bias.float(), norm.eps)
        # In place: at this size, allocation costs more than the arithmetic.
        unit.div_(torch.linalg.vector_norm(unit, dim=-1, keepdim=True).clamp_min_(1e-12))
        if self._previous is not None:
            # Not 2 - 2 u.v, which cancels where tokens are stable.
            step = self._previous.sub_(unit)
            length = torch.linalg.vector_norm(step, dim=-1)
            if self._cosine:
                length = length.square().mul_(0.5)
            self._sum = length if self._sum is None else self._sum.add_(length)
            self.pairs += 1
        self._previous = unit

    def patch_quality(self, alpha: float) -> Tensor:
        """Return ``q_p = 2 / (1 + exp(alpha d_p))``, ``(B, N)`` in (0, 1].

        Raises:
            ValueError: fewer than two blocks were added.
        """
        if self._sum is None:
            raise ValueError("ViTNT-FIQA needs at least two selected blocks")
        return 2.0 * torch.sigmoid(-alpha * self._sum / self.pairs)


def attention_received(attention: Tensor, prefix_tokens: int) -> Tensor:
    """Return how much attention each patch receives, ``(B, N)``: mean over heads, summed over patch queries.

    Args:
        attention: softmaxed attention ``(B, H, T, T)`` over all ``T`` tokens.
        prefix_tokens: number of class and register tokens in front, which are excluded.
    """
    patches = attention[:, :, prefix_tokens:, prefix_tokens:]
    return patches.float().mean(1).sum(1)


def image_quality(patch_quality: Tensor, received: Tensor | None) -> Tensor:
    """Aggregate patch qualities ``(B, N)`` to ``(B,)``; ``received`` ``(B, N)`` weighs them."""
    if received is None:
        return patch_quality.mean(1)
    return (patch_quality * received).sum(1) / received.sum(1)
