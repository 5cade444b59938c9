"""Weights in a quarter of the space: int8 per output channel with one fp32 scale each, unpacked at load.

Matrices and kernels are packed, vectors stay as they are. The name of a packed tensor's scales is its own plus
``SCALE``.
"""

from __future__ import annotations

import torch
from torch import Tensor

SCALE = ".int8_scale"


def pack(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Quantise every floating tensor of two or more dimensions, symmetrically per row of the first dimension."""
    packed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if tensor.ndim < 2 or not tensor.is_floating_point() or tensor.shape[0] == 1:
            packed[name] = tensor.float().contiguous() if tensor.is_floating_point() else tensor.contiguous()
            continue
        rows = tensor.float().flatten(1)
        scale = rows.abs().amax(1).clamp_min(1e-12) / 127.0
        packed[name] = (rows / scale[:, None]).round().to(torch.int8).view(tensor.shape).contiguous()
        packed[name + SCALE] = scale
    return packed


def unpack(packed: dict[str, Tensor]) -> dict[str, Tensor]:
    """Undo :func:`pack`."""
    state: dict[str, Tensor] = {}
    for name, tensor in packed.items():
        if name.endswith(SCALE):
            continue
        scale = packed.get(name + SCALE)
        if scale is None:
            state[name] = tensor
        else:
            state[name] = tensor.float() * scale.view(-1, *[1] * (tensor.ndim - 1))
    return state
