"""Weights in less space: int8 per output channel with one fp32 scale each, or half precision, unpacked at load.

Matrices and kernels are packed as int8, vectors stay as they are. The name of a packed tensor's scales is its own
plus ``SCALE``.
"""

from __future__ import annotations

from torch import Tensor

SCALE = ".int8_scale"


def unpack(packed: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors in fp32; what is no floating-point number stays as it is."""
    state: dict[str, Tensor] = {}
    for name, tensor in packed.items():
        if name.endswith(SCALE):
            continue
        scale = packed.get(name + SCALE)
        if scale is None:
            state[name] = tensor.float() if tensor.is_floating_point() else tensor
        else:
            state[name] = tensor.float() * scale.view(-1, *[1] * (tensor.ndim - 1))
    return state
