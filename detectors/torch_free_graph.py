"""Builds ONNX graphs of small convolutional networks from arrays, for ONNX Runtime.

ONNX Runtime needs about half of torch's time for networks as small as MTCNN's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from facegate.inference.devices import Device
from facegate.inference.onnx_format import FLOAT, constant, model, node
from facegate.inference.session import session

Array = NDArray[np.float32]
PICTURES = "pictures"


def build(arrays: Sequence[Array], pools: Sequence[tuple[int, bool] | None], side: int | None) -> bytes:
    """Build the graph: convolutions with PReLU and pooling, an optional dense layer, and linear heads.

    Args:
        arrays: kernels ``(H, W, in, out)``, biases and slopes of each convolution; weights ``(in, out)``, bias and
            slopes of the dense layer, if there is one; kernels and biases of the heads.
        pools: for each convolution, pooling size and whether an incomplete last window counts; ``None``: no
        pooling. side: side of the square pictures in pixels; ``None``: any size.

    Input: ``(N, H, W, 3)`` uint8. Outputs: one per head, ``(N, K)`` or ``(N, K, H', W')``.
    """
    graph = _Graph()
    x = graph.add("Cast", [PICTURES], to=FLOAT)
    x = graph.add("Sub", [x, graph.constant(np.array(127.5, np.float32))])
    x = graph.add("Mul", [x, graph.constant(np.array(1 / 128.0, np.float32))])
    x = graph.add("Transpose", [x], perm=[0, 3, 1, 2])
    index = 0
    for pool in pools:
        kernel, bias, slope = arrays[index : index + 3]
        x = graph.add("Conv", [x, graph.constant(np.asarray(kernel).transpose(3, 2, 0, 1)), graph.constant(bias)])
        x = graph.add("PRelu", [x, graph.constant(np.asarray(slope).reshape(-1, 1, 1))])
        if pool is not None:
            size, partial = pool
            x = graph.add("MaxPool", [x], kernel_shape=[size, size], strides=[2, 2], ceil_mode=int(partial))
        index += 3
    dense = arrays[index].ndim == 2
    if dense:
        # The original flattens column-major (width first), so the dense weights expect that order.
        x = graph.add("Flatten", [graph.add("Transpose", [x], perm=[0, 3, 2, 1])])
        weight, bias, slope = arrays[index : index + 3]
        x = graph.add("Gemm", [x, graph.constant(weight), graph.constant(bias)])
        x = graph.add("PRelu", [x, graph.constant(np.asarray(slope).reshape(-1))])
        index += 3
    outputs = []
    for i in range(index, len(arrays), 2):
        weight = np.asarray(arrays[i]).reshape(-1, arrays[i].shape[-1])
        if not dense:
            weight = weight.T[:, :, None, None]
        outputs.append(
            graph.add("Gemm" if dense else "Conv", [x, graph.constant(weight), graph.constant(arrays[i + 1])])
        )
    return graph.finished([None, side, side, 3], outputs)


class Network:
    """A loaded graph."""

    def __init__(self, graph: bytes, threads: int, device: Device = "cpu") -> None:
        """Load ``graph``, made by :func:`build`, to run with ``threads`` threads of the CPU, or on a device."""
        self._session = session(graph, threads, device)

    def __call__(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Array]:
        """Run on one or more pictures of one size; return the heads' outputs."""
        found: list[Array] = self._session.run(None, {PICTURES: np.stack(pictures)})
        return found


class _Graph:
    """Collects and names nodes and constants."""

    def __init__(self) -> None:
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []

    def constant(self, values: Array) -> str:
        name = f"constant{len(self._constants)}"
        self._constants.append(constant(name, values))
        return name

    def add(self, kind: str, inputs: list[str], **attributes: int | Sequence[int]) -> str:
        name = f"node{len(self._nodes)}"
        self._nodes.append(node(kind, inputs, name, **attributes))
        return name

    def finished(self, shape: list[int | None], outputs: list[str]) -> bytes:
        return model(self._nodes, self._constants, given=(PICTURES, shape), results=outputs)
