"""The teacher, MobileFaceNet-y1 with access to its feature maps, and further recognizers.

A feature map gives many times as many numbers to learn from as the embedding alone. The layers after the last map
are also read, as a start for the student's own head of the same shape.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor

from facegate.training.chain import Chain

MAP, EMBEDDING = "t268", "t284"
STAGES = ("t100", "t218")
"""Outputs of the stages at strides 4 and 8: ``(64, 28, 28)`` and ``(128, 14, 14)``."""
_TAIL = {
    "expand.weight": "t269",
    "expand.bias": "t271",
    "act.weight": "s274",
    "gdc.weight": "w276",
    "gdc.bias": "t277",
    "linear.weight": "t281",
    "linear.bias": "t283",
}
_VECTORS = ("expand.bias", "act.weight", "gdc.bias", "linear.bias")


class Seen(msgspec.Struct, frozen=True, eq=False):
    """Outputs of a recognizer for ``B`` crops, fp32."""

    unit: Tensor
    """``(B, 128)`` embedding of length one."""
    length: Tensor
    """``(B,)`` length of the embedding before."""


class Targets(Seen, frozen=True, eq=False):
    """Further outputs of the teacher."""

    map: Tensor
    """``(B, 128, 7, 7)`` before the last 1x1 convolution."""
    stages: tuple[Tensor, ...]
    """The maps named by :data:`STAGES`."""


_STAGE_BLOCKS = (4, 6)
"""Residual blocks of the teacher's stages at strides 4 and 8."""


class Layer(msgspec.Struct, frozen=True, eq=False):
    """A convolution of the teacher, with the slopes of the PReLU after it where there is one."""

    weight: Tensor
    bias: Tensor
    slopes: Tensor | None


class TeacherRecognizer:
    """A recognizer that rates how recognizable a face is, by the length and change of its embedding."""

    def __init__(self, path: Path, device: torch.device, dtype: torch.dtype) -> None:
        """Load MobileFaceNet trained on CASIA-WebFace, or another network with the same input.

        Raises:
            ModelError: missing.
        """
        self._chain = Chain(path, device, dtype)

    @torch.no_grad()
    def seen(self, crops: Tensor) -> Seen:
        """Run on uint8 RGB crops ``(B, 112, 112, 3)``, of which the middle 96 columns count."""
        columns = crops.to(self._chain.device)[:, :, 8:104].permute(0, 3, 1, 2).float()
        (embedding,) = self._chain((columns - 127.5) / 128)
        embedding = embedding.flatten(1)
        return Seen(unit=F.normalize(embedding, dim=1), length=embedding.norm(dim=1))


class Teacher:
    """MobileFaceNet-y1 with access to its feature maps."""

    def __init__(self, path: Path, device: torch.device, dtype: torch.dtype) -> None:
        """Load the file.

        Raises:
            ModelError: missing, or not the expected network.
        """
        self._chain = Chain(path, device, dtype, (EMBEDDING, MAP, *STAGES))

    @torch.no_grad()
    def targets(self, crops: Tensor) -> Targets:
        """Run on uint8 RGB crops ``(B, 112, 112, 3)``."""
        bgr = crops.to(self._chain.device).flip(-1).permute(0, 3, 1, 2).float()
        embedding, last, *stages = self._chain(bgr)
        return Targets(
            unit=F.normalize(embedding, dim=1), length=embedding.norm(dim=1), map=last, stages=tuple(stages)
        )

    def tail(self) -> dict[str, Tensor]:
        """The layers after the map, in the names of :class:`facegate.scoring.network.head.GdcHead`."""
        state = {name: self._chain.original[key].clone() for name, key in _TAIL.items()}
        return {name: value.reshape(-1) if name in _VECTORS else value for name, value in state.items()}

    def front(self, blocks: tuple[int, int]) -> list[Layer]:
        """The convolutions up to stride 8 in order, with only the first ``blocks`` residual ones of each stage."""
        layers: list[Layer] = []
        convolutions = [node for node in self._chain.nodes if node.op_type == "Conv"]
        after = {name: node for node in self._chain.nodes for name in node.input}
        for node in convolutions:
            added = after[node.output[0]]
            bias = next(self._chain.original[name] for name in added.input if name in self._chain.original)
            then = after[added.output[0]]
            slopes = self._chain.original[then.input[1]].flatten() if then.op_type == "PRelu" else None
            layers.append(Layer(self._chain.original[node.input[1]].clone(), bias.flatten().clone(), slopes))
        front, at = layers[:2], 2
        for own, kept in zip(_STAGE_BLOCKS, blocks, strict=True):
            front += layers[at : at + 3 * (1 + kept)]
            at += 3 * (1 + own)
        return front
