"""A recognizer's ONNX file as a chain of torch functions.

The files are plain chains of a few kinds of node, so torch runs them directly: in bf16 on a processor that
multiplies it natively that is about four times as fast as ONNX Runtime, and on a GPU it needs nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor

from facegate.cpu import NO_CPU_PINNING
from facegate.errors import ModelError

_FLATTENING = ("Constant", "Shape", "Gather", "Unsqueeze", "Concat")
"""Nodes that only compute the shape of the final reshape."""


class Chain:
    """The nodes and weights of a file, on a device."""

    def __init__(self, path: Path, device: torch.device, dtype: torch.dtype, names: Sequence[str] = ()) -> None:
        """Load the file.

        Args:
            path: the file.
            device: where it runs.
            dtype: of its products.
            names: of the values that a call returns; by default the output alone.

        Raises:
            ModelError: missing, or without one of these values.
        """
        if not path.is_file():
            raise ModelError(f"no teacher at {path}: give the ONNX file of a recognizer")
        graph = onnx.load(str(path)).graph
        self.device = device
        self.nodes: list[Any] = [node for node in graph.node if node.op_type not in _FLATTENING]
        arrays = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                arrays[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        self.original = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
        """Every weight as it is in the file."""
        self._names = tuple(names) or (str(graph.output[0].name),)
        if not set(self._names) <= {output for node in self.nodes for output in node.output}:
            raise ModelError(f"{path} is not the network this recipe was written for: give MobileFaceNet-y1")
        self._input = str(graph.input[0].name)
        self._dtype = dtype
        self._weights = {name: self._placed(tensor) for name, tensor in self.original.items()}
        self._path = path
        self._compiled: Any = None

    def _placed(self, tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        placed = tensor.to(self.device, self._dtype)
        return placed.to(memory_format=torch.channels_last) if placed.ndim == 4 else placed

    def __call__(self, images: Tensor) -> list[Tensor]:
        """The values, fp32, for ``(B, C, H, W)`` images."""
        if self.device.type == "cpu" and self._dtype == torch.float32:
            self._compiled = self._compiled or _compiled(self._path, self._names)
            found = self._compiled(np.ascontiguousarray(images.numpy()))
            return [torch.from_numpy(np.array(found[name])) for name in self._names]
        values = {self._input: images.to(self._dtype).contiguous(memory_format=torch.channels_last)}
        for node in self.nodes:
            inputs = [values[name] if name in values else self._weights.get(name) for name in node.input]
            values[node.output[0]] = _apply(node, inputs)
        return [values[name].float() for name in self._names]


def _compiled(path: Path, names: Sequence[str]) -> Any:
    """The network in OpenVINO: twice as fast as torch or ONNX Runtime, whose PReLU is slow."""
    import openvino

    core = openvino.Core()
    model = core.read_model(str(path))
    known = {name for output in model.outputs for name in output.names}
    model.add_outputs([name for name in names if name not in known])
    return core.compile_model(
        model,
        "CPU",
        {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1, **NO_CPU_PINNING},
    )


def _apply(node: Any, inputs: list[Any]) -> Tensor:
    if node.op_type == "Conv":
        attributes: dict[str, Any] = {item.name: list(item.ints) or item.i for item in node.attribute}
        return F.conv2d(
            inputs[0],
            inputs[1],
            inputs[2] if len(inputs) > 2 else None,
            stride=attributes["strides"],
            padding=attributes.get("pads", [0, 0])[:2],
            groups=attributes.get("group", 1),
        )
    if node.op_type == "Add":
        total: Tensor = inputs[0] + inputs[1]
        return total
    if node.op_type == "Mul":
        product: Tensor = inputs[0] * inputs[1]
        return product
    if node.op_type == "PRelu":
        return F.prelu(inputs[0], inputs[1].flatten())
    if node.op_type == "Reshape":
        flat: Tensor = inputs[0].flatten(1)
        return flat
    if node.op_type == "Gemm":
        return F.linear(*inputs)
    raise ModelError(f"the teacher has an unsupported node of type {node.op_type}: give MobileFaceNet-y1")
