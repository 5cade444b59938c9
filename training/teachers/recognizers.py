"""The teachers: Intel's face-reidentification-retail-0095 with access to its last feature map, and dlib's ResNet.

Both may be used for any purpose (Apache-2.0 and CC0). A feature map gives many times as many numbers to learn from
as the embedding alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from facegate.cpu import NO_CPU_PINNING
from facegate.detectors.align import ARCFACE_TEMPLATE, CROP_SIZE, similarity_transform
from facegate.training.teachers.dlib_resnet import SIDE as DLIB_SIDE
from facegate.training.teachers.dlib_resnet import DlibResNet
from facegate.training.teachers.openvino_ir import IrNetwork

EMBEDDING, MAP = "658", "652"
"""Names of operations of the file: the embedding, and the map ``(128, 8, 8)`` from which it is made."""
INTEL_SIDE = 128
INTEL_TEMPLATE = INTEL_SIDE * np.array(
    [(0.3156, 0.4616), (0.6826, 0.4616), (0.5003, 0.6405), (0.3495, 0.8247), (0.6534, 0.8247)], np.float32
)
"""Positions of the five landmarks in the network's input, in pixels."""
DLIB_EYES = np.array([(47.7, 47.1), (100.3, 47.1)], np.float32)
"""Eye centers in dlib's chip of 150 pixels."""
MARGIN, GRID, INTEL_GRID = 8, 6, 8
"""The student reads the part of the crop that this network sees, at the crop's own scale: 6x6 tokens for 8x8."""
STRIDE = 16


class Targets(msgspec.Struct, frozen=True, eq=False):
    """Outputs of the teacher for ``B`` crops, fp32."""

    unit: Tensor
    """``(B, 256)`` embedding of length one."""
    length: Tensor
    """``(B,)`` length of the embedding before."""
    map: Tensor
    """``(B, 128, 6, 6)``: its last map, resampled at the positions of the student's tokens."""


def _warp(source: NDArray[np.float32], target: NDArray[np.float32], side: int) -> Tensor:
    """Grid ``(side, side, 2)`` for :func:`torch.nn.functional.grid_sample` that moves the points ``source`` of a
    112x112 crop to ``target``."""
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
        """Load the ``.xml``; on a CPU it runs in OpenVINO, which is twice as fast as torch.

        Raises:
            ModelError: missing, or not the expected network.
        """
        self.device = device
        self._grid = _warp(ARCFACE_TEMPLATE, INTEL_TEMPLATE, INTEL_SIDE).to(device)
        self._resampling = resampling().to(device)
        self._network: Callable[[Tensor], list[Tensor]]
        if device.type == "cpu":
            self._network = Compiled(path, (EMBEDDING, MAP), "bf16" if dtype == torch.bfloat16 else "f32")
        else:
            self._network = IrNetwork(path, device, dtype, (EMBEDDING, MAP))

    @torch.no_grad()
    def targets(self, crops: Tensor) -> Targets:
        """Run on uint8 RGB crops ``(B, 112, 112, 3)``."""
        bgr = _sampled(crops, self._grid).flip(1)
        embedding, last = self._network(bgr)
        embedding = embedding.flatten(1)
        own = (last.flatten(2) @ self._resampling.T).reshape(*last.shape[:2], GRID, GRID)
        return Targets(unit=F.normalize(embedding, dim=1), length=embedding.norm(dim=1), map=own)


@cache
def resampling() -> Tensor:
    """``(36, 64)`` bilinear weights: the teacher's 8x8 map at the positions of the student's 6x6 tokens."""
    matrix = similarity_transform(ARCFACE_TEMPLATE, INTEL_TEMPLATE)
    weights = torch.zeros(GRID**2, INTEL_GRID**2)
    for token in range(GRID**2):
        # The center of a token: each of four padded convolutions of stride 2 is centered at twice its index.
        row, column = divmod(token, GRID)
        x, y = (matrix @ np.array([MARGIN + STRIDE * column, MARGIN + STRIDE * row, 1.0])) / STRIDE
        x, y = (float(np.clip(value, 0, INTEL_GRID - 1)) for value in (x, y))
        left, top = min(int(x), INTEL_GRID - 2), min(int(y), INTEL_GRID - 2)
        for down in (0, 1):
            for right in (0, 1):
                share = (x - left if right else 1 - x + left) * (y - top if down else 1 - y + top)
                weights[token, (top + down) * INTEL_GRID + left + right] = share
    return weights


class Compiled:
    """The file in OpenVINO on one core, for any number of images."""

    def __init__(self, path: Path, outputs: Sequence[str], precision: str) -> None:
        """Compile the part that leads to the operations named ``outputs``, at precision ``f32`` or ``bf16``."""
        import openvino

        core = openvino.Core()
        model = core.read_model(str(path))
        named = {operation.get_friendly_name(): operation.output(0) for operation in model.get_ops()}
        part = openvino.Model([named[name] for name in outputs], model.get_parameters())
        part.reshape([-1, 3, INTEL_SIDE, INTEL_SIDE])
        settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": 1}
        self._run: Any = core.compile_model(part, "CPU", {**settings, **NO_CPU_PINNING})
        self._count = len(outputs)

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Outputs in fp32 for ``(B, 3, 128, 128)`` BGR images of 0..255."""
        found = self._run(images.contiguous().numpy())
        return [torch.from_numpy(np.array(found[index])) for index in range(self._count)]


class DlibTeacher:
    """dlib's ResNet."""

    def __init__(self, path: Path, device: torch.device, dtype: torch.dtype) -> None:
        """Load dlib's ``.dat`` file.

        Raises:
            ModelError: missing, or not the expected network.
        """
        self._network = DlibResNet(path, device, dtype)
        self._grid = _warp(np.array(ARCFACE_TEMPLATE[:2]), DLIB_EYES, DLIB_SIDE).to(device)

    @torch.no_grad()
    def descriptors(self, crops: Tensor) -> Tensor:
        """Run on uint8 RGB crops ``(B, 112, 112, 3)``; return dlib's descriptors ``(B, 128)``, which share a large
        mean."""
        return self._network(_sampled(crops, self._grid))
