"""OpenVINO IR (``.xml`` with its ``.bin``) as torch functions, on any device, for a few kinds of operation.

Needs nothing but the two files, so that a machine with a GPU and no OpenVINO runs the same network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from facegate.errors import ModelError

_TYPES = {"f16": np.float16, "f32": np.float32, "i64": np.int64, "i32": np.int32}


class Operation(msgspec.Struct, frozen=True):
    """One layer of the file."""

    id: int
    kind: str
    name: str
    inputs: tuple[int, ...]
    """Identifiers of the layers it reads."""
    attributes: dict[str, str]


class IrNetwork:
    """The operations and weights of a file, on a device."""

    def __init__(self, path: Path, device: torch.device, dtype: torch.dtype, outputs: Sequence[str] = ()) -> None:
        """Read the files.

        Args:
            path: the ``.xml``; its ``.bin`` is beside it.
            device: where it runs.
            dtype: of its products.
            outputs: names of the operations whose values a call returns; by default the network's output.

        Raises:
            ModelError: missing or unreadable, or without one of these operations.
        """
        self.device, self._dtype = device, dtype
        self.operations, self.original = _read(path)
        """``original``: every constant as it is in the file, fp32, by the identifier of its layer."""
        by_name = {operation.name: operation for operation in self.operations}
        result = next(operation for operation in self.operations if operation.kind == "Result")
        missing = [name for name in outputs if name not in by_name]
        if missing:
            raise ModelError(f"{path} has no operation named '{missing[0]}': give the network of this recipe")
        self._outputs = tuple(by_name[name].id for name in outputs) or result.inputs
        self._input = next(operation.id for operation in self.operations if operation.kind == "Parameter")
        self._weights = {key: self._place(value) for key, value in self.original.items()}
        needed, last = set(self._outputs), 0
        for index, operation in enumerate(self.operations):
            if operation.id in needed:
                last = index
        self._run = [
            operation for operation in self.operations[: last + 1] if operation.kind not in ("Parameter", "Result")
        ]
        # A scalar slope as a plain number: leaky_relu is far faster than a general PReLU.
        self._slopes = {
            operation.id: float(self.original[operation.inputs[1]])
            for operation in self._run
            if operation.kind == "PReLU" and self.original[operation.inputs[1]].numel() == 1
        }

    def _place(self, value: Tensor) -> Tensor:
        placed = value.to(self.device, self._dtype)
        return placed.contiguous(memory_format=torch.channels_last) if placed.ndim == 4 else placed

    def __call__(self, images: Tensor) -> list[Tensor]:
        """The values, fp32, for ``(B, C, H, W)`` images."""
        start = images.to(self.device, self._dtype).contiguous(memory_format=torch.channels_last)
        values: dict[int, Tensor] = {self._input: start}
        for operation in self._run:
            inputs = [values[key] if key in values else self._weights[key] for key in operation.inputs]
            values[operation.id] = self._apply(operation, inputs)
        return [values[key].float() for key in self._outputs]

    def _apply(self, operation: Operation, inputs: list[Tensor]) -> Tensor:
        kind, attributes = operation.kind, operation.attributes
        if kind in ("Convolution", "GroupConvolution"):
            x, weight = inputs
            groups = weight.shape[0] if kind == "GroupConvolution" else 1
            weight = weight.flatten(0, 1) if kind == "GroupConvolution" else weight
            stride, padding = (_pair(attributes[name]) for name in ("strides", "pads_begin"))
            return F.conv2d(x, weight, None, stride, padding, groups=groups)
        if kind == "Add":
            return inputs[0] + inputs[1]
        if kind == "Multiply":
            return inputs[0] * inputs[1]
        if kind == "PReLU":
            slope = self._slopes.get(operation.id)
            return F.prelu(inputs[0], inputs[1]) if slope is None else F.leaky_relu(inputs[0], slope)
        if kind == "AvgPool":
            # Only the global one of a squeeze-and-excitation occurs; so the network takes crops of any size.
            return inputs[0].mean((2, 3), keepdim=True)
        if kind == "Sigmoid":
            return torch.sigmoid(inputs[0])
        raise ModelError(f"the network holds an operation of kind {kind}, which is not supported here")


def _pair(text: str) -> tuple[int, int]:
    first, second = (int(part) for part in text.split(","))
    return first, second


def _read(path: Path) -> tuple[list[Operation], dict[int, Tensor]]:
    """Operations in the order in which they run, and constants by layer."""
    try:
        root = ElementTree.parse(path).getroot()
        content = path.with_suffix(".bin").read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {error.filename}: {(error.strerror or 'unknown error').lower()}") from error
    except ElementTree.ParseError as error:
        raise ModelError(f"{path} is not OpenVINO IR: {error}") from error
    sources: dict[int, dict[int, int]] = {}
    for edge in root.iter("edge"):
        sources.setdefault(int(edge.attrib["to-layer"]), {})[int(edge.attrib["to-port"])] = int(
            edge.attrib["from-layer"]
        )
    operations: dict[int, Operation] = {}
    constants: dict[int, Tensor] = {}
    for layer in root.iter("layer"):
        key = int(layer.attrib["id"])
        data = layer.find("data")
        attributes = dict(data.attrib) if data is not None else {}
        inputs = tuple(source for _, source in sorted(sources.get(key, {}).items()))
        kind = layer.attrib["type"]
        if kind == "Const":
            constants[key] = _constant(attributes, content)
        elif kind == "Convert" and inputs[0] in constants:
            constants[key] = constants[inputs[0]]
        else:
            operations[key] = Operation(key, kind, layer.attrib["name"], inputs, attributes)
    return _ordered(operations), constants


def _constant(attributes: dict[str, str], content: bytes) -> Tensor:
    kind = np.dtype(_TYPES[attributes["element_type"]])
    shape = tuple(int(part) for part in attributes["shape"].split(",") if part.strip())
    size, offset = int(attributes["size"]), int(attributes["offset"])
    values = np.frombuffer(content, kind, size // kind.itemsize, offset)
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def _ordered(operations: dict[int, Operation]) -> list[Operation]:
    done: dict[int, Operation] = {}
    while len(done) < len(operations):
        ready = [
            operation
            for key, operation in operations.items()
            if key not in done and all(source in done or source not in operations for source in operation.inputs)
        ]
        done.update((operation.id, operation) for operation in ready)
    return list(done.values())
