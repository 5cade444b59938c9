"""The teacher: MobileFaceNet-y1 from its ONNX file, run in torch and opened at its feature maps.

A feature map gives many times as many numbers to learn from as the embedding alone. The layers after the last map
are also read, as a start for the student's own head of the same shape.

The file is a plain chain of six kinds of node, so torch runs it directly: in bf16 on a processor that multiplies it
natively that is about four times as fast as ONNX Runtime, and on a GPU it needs nothing else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor

from facegate.errors import ModelError

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


class Targets(msgspec.Struct, frozen=True, eq=False):
    """What the teacher says about ``B`` crops, fp32."""

    unit: Tensor
    """``(B, 128)`` embedding of length one."""
    length: Tensor
    """``(B,)`` length of the embedding before."""
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


class Teacher:
    """Runs the teacher."""

    def __init__(self, path: Path, device: torch.device, dtype: torch.dtype) -> None:
        """Load the file.

        Raises:
            ModelError: missing, or not the expected network.
        """
        if not path.is_file():
            raise ModelError(f"no teacher at {path}: give the MobileFaceNet-y1 ONNX file")
        graph = onnx.load(str(path)).graph
        self._nodes: list[Any] = [node for node in graph.node if node.op_type != "Constant"]
        if not {MAP, EMBEDDING} <= {output for node in self._nodes for output in node.output}:
            raise ModelError(f"{path} is not the MobileFaceNet-y1 that this recipe was written for")
        arrays = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                arrays[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        self._device, self._dtype = device, dtype
        self._original = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
        self._weights = {name: self._placed(tensor) for name, tensor in self._original.items()}
        self._compiled: Any = _compiled(path) if device.type == "cpu" and dtype == torch.float32 else None

    def _placed(self, tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        placed = tensor.to(self._device, self._dtype)
        return placed.to(memory_format=torch.channels_last) if placed.ndim == 4 else placed

    @torch.no_grad()
    def targets(self, crops: Tensor) -> Targets:
        """Run on uint8 RGB crops ``(B, 112, 112, 3)``."""
        values = self._run_compiled(crops) if self._compiled is not None else self._run_torch(crops)
        embedding = values[EMBEDDING].float()
        return Targets(
            unit=F.normalize(embedding, dim=1),
            length=embedding.norm(dim=1),
            map=values[MAP].float(),
            stages=tuple(values[name].float() for name in STAGES),
        )

    def _run_torch(self, crops: Tensor) -> dict[str, Tensor]:
        bgr = crops.to(self._device).flip(-1).permute(0, 3, 1, 2).to(self._dtype)
        values = {"input": bgr.contiguous(memory_format=torch.channels_last)}
        for node in self._nodes:
            inputs = [values[name] if name in values else self._weights[name] for name in node.input]
            values[node.output[0]] = _apply(node, inputs)
        return values

    def _run_compiled(self, crops: Tensor) -> dict[str, Tensor]:
        bgr = np.ascontiguousarray(crops.numpy()[..., ::-1].transpose(0, 3, 1, 2), dtype=np.float32)
        found = self._compiled(bgr)
        return {name: torch.from_numpy(np.array(found[name])) for name in (*STAGES, MAP, EMBEDDING)}

    def tail(self) -> dict[str, Tensor]:
        """The layers after the map, in the names of :class:`facegate.scoring.network.head.GdcHead`."""
        state = {name: self._original[key].clone() for name, key in _TAIL.items()}
        return {name: value.reshape(-1) if name in _VECTORS else value for name, value in state.items()}

    def front(self, blocks: tuple[int, int]) -> list[Layer]:
        """The convolutions up to stride 8 in order, with only the first ``blocks`` residual ones of each stage."""
        layers: list[Layer] = []
        convolutions = [node for node in self._nodes if node.op_type == "Conv"]
        after = {name: node for node in self._nodes for name in node.input}
        for node in convolutions:
            added = after[node.output[0]]
            bias = next(self._original[name] for name in added.input if name in self._original)
            then = after[added.output[0]]
            slopes = self._original[then.input[1]].flatten() if then.op_type == "PRelu" else None
            layers.append(Layer(self._original[node.input[1]].clone(), bias.flatten().clone(), slopes))
        front, at = layers[:2], 2
        for own, kept in zip(_STAGE_BLOCKS, blocks, strict=True):
            front += layers[at : at + 3 * (1 + kept)]
            at += 3 * (1 + own)
        return front


def _compiled(path: Path) -> Any:
    """The teacher in OpenVINO: twice as fast as torch or ONNX Runtime, whose PReLU is slow."""
    import openvino

    core = openvino.Core()
    model = core.read_model(str(path))
    model.add_outputs([*STAGES, MAP])
    return core.compile_model(
        model, "CPU", {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}
    )


def _apply(node: Any, inputs: list[Tensor]) -> Tensor:
    if node.op_type == "Conv":
        attributes = {item.name: list(item.ints) or item.i for item in node.attribute}
        return F.conv2d(
            inputs[0],
            inputs[1],
            stride=attributes["strides"],
            padding=attributes["pads"][:2],
            groups=next((item.i for item in node.attribute if item.name == "group"), 1),
        )
    if node.op_type == "Add":
        return inputs[0] + inputs[1]
    if node.op_type == "Mul":
        return inputs[0] * inputs[1]
    if node.op_type == "PRelu":
        return F.prelu(inputs[0], inputs[1].flatten())
    if node.op_type == "Reshape":
        return inputs[0].flatten(1)
    if node.op_type == "Gemm":
        return F.linear(inputs[0], inputs[1])
    raise ModelError(f"the teacher holds a node of kind {node.op_type}, which this recipe does not know")
