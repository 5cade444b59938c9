"""Rounds what goes into the products of the token paths, so that the model agrees with itself in 8 bits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

LEVELS = 255


def rounded(x: Tensor) -> Tensor:
    """``x`` ``(B, ...)`` at 256 levels between each sample's least and greatest value; gradients pass through."""
    flat = x.detach().flatten(1).float()
    low, high = flat.amin(1), flat.amax(1)
    low, step = (v.view(-1, *[1] * (x.ndim - 1)) for v in (low, (high - low).clamp_min(1e-6) / LEVELS))
    near = torch.round((x.detach().float() - low) / step) * step + low
    return x + (near - x.detach().float()).to(x.dtype)


class Rounding:
    """Rounds the inputs of every linear layer in a network's blocks while it is :attr:`on`."""

    def __init__(self, network: nn.Module) -> None:
        """Attach to the layers of ``network.blocks``."""
        self.on = False
        blocks: Any = network.blocks
        for module in blocks.modules():
            if isinstance(module, nn.Linear):
                module.register_forward_pre_hook(self._round)

    def _round(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        del module
        return (rounded(inputs[0]),) if self.on and torch.is_grad_enabled() else None
