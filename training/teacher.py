"""The teachers: Intel's face-reidentification-retail-0095, opened at its feature maps, and dlib's ResNet beside it.

Both may be used for any purpose (Apache-2.0 and CC0). A feature map gives many times as many numbers to learn from
as the embedding alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from facegate.compiling import ANYWHERE
from facegate.detectors.align import ARCFACE_TEMPLATE, CROP_SIZE, similarity_transform
from facegate.training.dlib_resnet import SIDE as DLIB_SIDE
from facegate.training.dlib_resnet import DlibResNet
from facegate.training.openvino_ir import IrNetwork, Operation

EMBEDDING, MAP = "658", "652"
"""Names of operations of the file: the embedding, and the map ``(128, 8, 8)`` from which it is made."""
STAGES = ("494", "605")
"""Outputs of the stages at strides 4 and 8: 64 and 128 channels."""
INTEL_SIDE = 128
INTEL_TEMPLATE = INTEL_SIDE * np.array(
    [(0.3156, 0.4616), (0.6826, 0.4616), (0.5003, 0.6405), (0.3495, 0.8247), (0.6534, 0.8247)], np.float32
)
"""Where the network wants the five landmarks."""
DLIB_EYES = np.array([(47.7, 47.1), (100.3, 47.1)], np.float32)
"""Eye centres in dlib's chip of 150 pixels."""
GRID, INTEL_GRID = 7, 8
STRIDE = 16


class Seen(msgspec.Struct, frozen=True, eq=False):
    """What a recognizer says about ``B`` crops, fp32."""

    unit: Tensor
    """``(B, D)`` embedding of length one."""
    length: Tensor
    """``(B,)`` length of the embedding before."""


class Targets(Seen, frozen=True, eq=False):
    """What the first teacher says beside that."""

    map: Tensor
    """``(B, 128, 7, 7)``: its last map where the student's tokens lie."""


class Recognizer(Protocol):
    """Says how well a face can be recognized: by the length and the change of its embedding."""

    def seen(self, crops: Tensor) -> Seen:
        """Run on uint8 RGB crops ``(B, 112, 112, 3)``."""
        ...


def _warp(source: NDArray[np.float32], target: NDArray[np.float32], side: int) -> Tensor:
    """Sampling grid ``(side, side, 2)`` for :func:`torch.nn.functional.grid_sample` over a 112x112 crop: what moves
    the points ``source`` of the crop to ``target``."""
    inverse = similarity_transform(target, source)
    y, x = np.mgrid[:side, :side].astype(np.float64)
    at = np.stack([x, y, np.ones_like(x)], -1) @ inverse.T
    return torch.from_numpy((2 * at / (CROP_SIZE - 1) - 1).astype(np.float32))


def _sampled(crops: Tensor, grid: Tensor) -> Tensor:
    """Crops ``(B, 112, 112, 3)`` warped, ``(B, 3, S, S)`` of 0..255, fp32."""
    images = crops.to(grid.device).permute(0, 3, 1, 2).float()
    return F.grid_sample(images, grid.expand(len(images), -1, -1, -1), padding_mode="border", align_corners=True)


class Teacher:
    """Intel's network."""

    def __init__(self, path: Path, device: torch.device, dtype: torch.dtype) -> None:
        """Load the ``.xml``; on a CPU it runs in OpenVINO, which is twice as fast there.

        Raises:
            ModelError: missing, or not the expected network.
        """
        self.device, self._path, self._dtype = device, path, dtype
        self._grid = _warp(ARCFACE_TEMPLATE, INTEL_TEMPLATE, INTEL_SIDE).to(device)
        self._network = IrNetwork(path, device, dtype, (EMBEDDING, MAP))
        self._resampling = resampling().to(device)
        self._whole: Callable[[Tensor], list[Tensor]] = self._network
        self._front: Callable[[Tensor], list[Tensor]] = IrNetwork(path, device, dtype, STAGES)
        if device.type == "cpu":
            hint = "bf16" if dtype == torch.bfloat16 else "f32"
            self._whole = Compiled(path, (EMBEDDING, MAP), hint)
            self._front = Compiled(path, STAGES, hint)

    @torch.no_grad()
    def targets(self, crops: Tensor) -> Targets:
        """Run on uint8 RGB crops ``(B, 112, 112, 3)``."""
        bgr = _sampled(crops, self._grid).flip(1)
        embedding, last = self._whole(bgr)
        embedding = embedding.flatten(1)
        own = (last.flatten(2) @ self._resampling.T).reshape(*last.shape[:2], GRID, GRID)
        return Targets(unit=F.normalize(embedding, dim=1), length=embedding.norm(dim=1), map=own)

    def seen(self, crops: Tensor) -> Seen:
        """See :class:`Recognizer`."""
        return self.targets(crops)

    @torch.no_grad()
    def stages(self, crops: Tensor) -> list[Tensor]:
        """The early maps ``(B, 64, 28, 28)`` and ``(B, 128, 14, 14)`` of the crops as they are, not warped."""
        bgr = crops.to(self.device).permute(0, 3, 1, 2).flip(1).float()
        return self._front(bgr)

    def head(self) -> dict[str, Tensor]:
        """The layers after the map, in the names of :class:`facegate.scoring.network.head.GdcHead`."""
        expand, gdc, linear = _convolutions(self._network)[-3:]
        weights = gdc.weight.flatten(1)  # (512, 64), to be spread over 7x7 tokens
        spread = torch.linalg.pinv(resampling().T) @ weights.T
        return {
            "expand.weight": expand.weight,
            "expand.bias": expand.bias,
            "act.weight": torch.full((len(expand.bias),), expand.slope),
            "gdc.weight": spread.T.reshape(-1, 1, GRID, GRID).contiguous(),
            "gdc.bias": gdc.bias,
            "linear.weight": linear.weight.flatten(1),
            "linear.bias": linear.bias,
        }


class Layer(msgspec.Struct, frozen=True, eq=False):
    """A convolution of the teacher."""

    weight: Tensor
    bias: Tensor
    slope: float
    """Of the PReLU behind it; 1 where there is none."""


def _convolutions(network: IrNetwork) -> list[Layer]:
    """Every convolution but those of a squeeze-and-excitation, in order."""
    readers: dict[int, list[Operation]] = {}
    for operation in network.operations:
        for key in operation.inputs:
            readers.setdefault(key, []).append(operation)
    found = []
    for operation in network.operations:
        if operation.kind not in ("Convolution", "GroupConvolution") or operation.name.endswith("WithoutBiases"):
            continue
        weight = network.original[operation.inputs[1]]
        weight = weight.flatten(0, 1) if operation.kind == "GroupConvolution" else weight
        bias, slope = torch.zeros(len(weight)), 1.0
        follower = readers[operation.id][0]
        if follower.kind == "Add":
            bias = next(network.original[key] for key in follower.inputs if key in network.original).flatten()
            then = readers[follower.id][0]
            if then.kind == "PReLU":
                slope = float(network.original[then.inputs[1]])
        found.append(Layer(weight, bias, slope))
    return found


@cache
def resampling() -> Tensor:
    """``(49, 64)``: the teacher's 8x8 map at the places of the student's 7x7 tokens, by bilinear weights."""
    matrix = similarity_transform(ARCFACE_TEMPLATE, INTEL_TEMPLATE)
    weights = torch.zeros(GRID**2, INTEL_GRID**2)
    for token in range(GRID**2):
        # A token's middle: each of four strided convolutions with padding has its middle at twice the index.
        row, column = divmod(token, GRID)
        x, y = (matrix @ np.array([STRIDE * column, STRIDE * row, 1.0])) / STRIDE
        x, y = (float(np.clip(value, 0, INTEL_GRID - 1)) for value in (x, y))
        left, top = min(int(x), INTEL_GRID - 2), min(int(y), INTEL_GRID - 2)
        for down in (0, 1):
            for right in (0, 1):
                share = (x - left if right else 1 - x + left) * (y - top if down else 1 - y + top)
                weights[token, (top + down) * INTEL_GRID + left + right] = share
    return weights


class Compiled:
    """The file in OpenVINO on one core, for crops of any size."""

    def __init__(self, path: Path, outputs: Sequence[str], hint: str) -> None:
        """Compile what leads to the operations named ``outputs``; ``hint`` is the precision, f32 or bf16."""
        import openvino
        from openvino import opset13

        core = openvino.Core()
        model = core.read_model(str(path))
        for operation in model.get_ops():
            if operation.get_type_name() == "AvgPool":
                mean = opset13.reduce_mean(operation.input_value(0), np.array([2, 3]), keep_dims=True)
                operation.output(0).replace(mean.output(0))
        named = {operation.get_friendly_name(): operation.output(0) for operation in model.get_ops()}
        part = openvino.Model([named[name] for name in outputs], model.get_parameters())
        part.reshape([-1, 3, -1, -1])
        settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": hint, "NUM_STREAMS": 1, **ANYWHERE}
        self._run: Any = core.compile_model(part, "CPU", settings)
        self._count = len(outputs)

    def __call__(self, images: Tensor) -> list[Tensor]:
        """The values, fp32, for ``(B, 3, H, W)`` BGR images of 0..255."""
        found = self._run(images.contiguous().numpy())
        return [torch.from_numpy(np.array(found[index])) for index in range(self._count)]


class DlibTeacher:
    """dlib's ResNet, with its mean face taken off so that similarities spread out."""

    def __init__(
        self, path: Path, device: torch.device, dtype: torch.dtype, mean: NDArray[np.float32] | None = None
    ) -> None:
        """Load dlib's file.

        Args:
            path: dlib's ``.dat``.
            device: where it runs.
            dtype: of its products.
            mean: ``(128,)`` mean descriptor; see :meth:`center`.

        Raises:
            ModelError: missing, or not the expected network.
        """
        self._network = DlibResNet(path, device, dtype)
        eyes = np.array(ARCFACE_TEMPLATE[:2])
        self._grid = _warp(eyes, DLIB_EYES, DLIB_SIDE).to(device)
        self._mean = torch.zeros(128, device=device) if mean is None else torch.from_numpy(mean).to(device)

    @torch.no_grad()
    def descriptors(self, crops: Tensor) -> Tensor:
        """``(B, 128)`` as dlib gives them."""
        return self._network(_sampled(crops, self._grid))

    def center(self, descriptors: Tensor) -> None:
        """Take the mean of these off from now on."""
        self._mean = descriptors.mean(0)

    def seen(self, crops: Tensor) -> Seen:
        """See :class:`Recognizer`."""
        embedding = self.descriptors(crops) - self._mean
        return Seen(unit=F.normalize(embedding, dim=1), length=embedding.norm(dim=1))
