"""The student's start: its stem and head begin as the teacher's own layers, thinned.

The teacher's PReLU lets through up to 2.4 times of what is negative; runtimes fuse a plain ReLU into the
convolution before it and are twice as fast. So the student begins with the teacher's slopes, and they fade.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facegate.scoring.network.stems import Inverted, MobileStem
from facegate.training.teacher import Layer, Teacher

TEACHER_GAIN = 255.0 / 2 * 0.0078125
"""The teacher's input is ``(pixel - 127.5) / 128``, the student's ``(pixel / 255 - 0.5) / 0.5``."""


class _Sloped(torch.autograd.Function):
    """PReLU with fixed slopes; on a CPU, learning them takes longer than a convolution."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slopes: Tensor) -> Tensor:
        gain = torch.where(x > 0, 1.0, slopes)
        ctx.save_for_backward(gain)
        return x * gain

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (gain,) = ctx.saved_tensors
        return gradient * gain, None


class FadingPReLU(nn.Module):
    """PReLU whose slopes are multiplied by :attr:`strength`; at 0 it is a ReLU. Holds nothing that is saved."""

    slopes: Tensor

    def __init__(self, slopes: Tensor) -> None:
        super().__init__()
        self.register_buffer("slopes", slopes.view(-1, 1, 1).clone(), persistent=False)
        self.strength = 1.0

    def forward(self, x: Tensor) -> Tensor:
        """Apply per channel."""
        return _Sloped.apply(x, self.slopes * self.strength) if self.strength > 0 else F.relu(x)


def freeze_early(stem: MobileStem) -> None:
    """Freeze the layers at stride 2, which are general and take half of the stem's time."""
    first: Any = stem.stages[1]
    for module in (stem.stages[0], first[0]):
        module.requires_grad_(False)


def fade(network: nn.Module, strength: float) -> None:
    """Set how much of the teacher's slopes is left."""
    for module in network.modules():
        if isinstance(module, FadingPReLU):
            module.strength = strength


@torch.no_grad()
def inherit(stem: MobileStem, teacher: Teacher) -> None:
    """Start the stem at the teacher's layers, the slopes included; the first takes RGB instead of BGR."""
    layers = teacher.front(stem.BLOCKS)
    own = _convolutions(stem)
    assert len(own) == len(layers)
    for (parent, name, activation), layer in zip(own, layers, strict=True):
        _copy(parent, name, activation, layer)
    first: Any = stem.stages[0][0]  # type: ignore[index]
    first.weight.copy_(layers[0].weight.flip(1) * TEACHER_GAIN)


def _convolutions(stem: MobileStem) -> list[tuple[Any, str, str | None]]:
    """Each convolution as (owner, its name, name of the activation after it), in order."""
    found: list[tuple[Any, str, str | None]] = [(stem.stages[0], "0", "1"), (stem.stages[0], "2", "3")]
    for block in (module for module in stem.modules() if isinstance(module, Inverted)):
        found += [(block, "expand", "act1"), (block, "depth", "act2"), (block, "project", None)]
    return found


def _copy(parent: Any, name: str, activation: str | None, layer: Layer) -> None:
    convolution = parent.get_submodule(name)
    convolution.weight.copy_(layer.weight.view_as(convolution.weight))
    convolution.bias.copy_(layer.bias)
    if activation is not None:
        assert layer.slopes is not None
        setattr(parent, activation, FadingPReLU(layer.slopes))
