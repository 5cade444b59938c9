"""The backend protocol, and backends without torch: exported graphs in ONNX Runtime and OpenVINO."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from facegate.cpu import compiled
from facegate.errors import ModelError
from facegate.inference.devices import OPENVINO, Device
from facegate.inference.session import Fallback, session

BackendName = Literal["torch", "onnxruntime", "openvino"]
Dtype = Literal["fp32", "bf16", "fp16", "int8"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
CROPS, LANDMARKS = "crops", "landmarks"
"""Inputs of an exported graph; the second only for networks that use landmarks."""
OUTPUTS = ("raw", "quality", "embedding", "patches", "attention")

Floats = NDArray[np.float32]


class PassArrays(msgspec.Struct, frozen=True, eq=False):
    """Results of one pass over ``B`` crops, in host memory, fp32."""

    raw: Floats
    patches: Floats
    attention: Floats
    embedding: Floats | None


class Backend(Protocol):
    """Runs crops of at most one batch, ``B >= 1``."""

    name: BackendName
    dtype: Dtype

    def run(
        self, batches: list[NDArray[np.uint8]], embedding: bool, landmarks: list[Floats] | None = None
    ) -> list[PassArrays]:
        """Run every batch; return results in order. ``landmarks`` are for networks that use them."""
        ...


class FallbackBackend:
    """A backend on a device, and one on the CPU once the device fails."""

    def __init__(self, device: Device, backend: Backend, on_cpu: Callable[[], Backend]) -> None:
        """Create from a backend on ``device``; ``on_cpu`` makes the one that replaces it."""
        self.name, self.dtype = backend.name, backend.dtype
        self._run = Fallback(device, "quality model", backend.run, lambda: on_cpu().run)

    def run(
        self, batches: list[NDArray[np.uint8]], embedding: bool, landmarks: list[Floats] | None = None
    ) -> list[PassArrays]:
        """See :class:`Backend`."""
        return self._run(batches, embedding, landmarks)


class OnnxRuntime:
    """An exported graph in ONNX Runtime on the CPU, or on a device; int8 graphs are quantized on this machine.

    In int8 crops are scored one by one: quantization scales depend on the batch, and no score may depend on the
    other crops of its batch.
    """

    def __init__(self, graph: bytes | Path, dtype: Dtype, threads: int, device: Device = "cpu") -> None:
        """Load the graph.

        Raises:
            ModelError: ONNX Runtime rejects the graph.
        """
        self.name: BackendName = "openvino" if device.startswith(OPENVINO) else "onnxruntime"
        self.dtype = dtype
        self._session = session(graph, threads, device)

    def run(
        self, batches: list[NDArray[np.uint8]], embedding: bool, landmarks: list[Floats] | None = None
    ) -> list[PassArrays]:
        """See :class:`Backend`."""
        return [_named(self._pass(inputs), embedding) for inputs in _inputs(batches, landmarks)]

    def _pass(self, inputs: dict[str, Any]) -> list[Any]:
        count = len(inputs[CROPS])
        one_by_one = [{name: each[i : i + 1] for name, each in inputs.items()} for i in range(count)]
        found = [
            self._session.run(list(OUTPUTS), part) for part in (one_by_one if self.dtype == "int8" else [inputs])
        ]
        return found[0] if len(found) == 1 else [np.concatenate(arrays) for arrays in zip(*found, strict=True)]


class OpenVino:
    """An exported graph in OpenVINO on the CPU."""

    name: BackendName = "openvino"
    HINTS: dict[Dtype, Literal["f32", "bf16"]] = {"fp32": "f32", "bf16": "bf16"}  # noqa: RUF012 - never changed

    def __init__(self, graph: bytes | Path, dtype: Dtype, threads: int) -> None:
        """Compile the graph.

        Raises:
            ModelError: OpenVINO rejects the graph.
        """
        self.dtype = dtype
        try:
            self._model: Any = compiled(graph, threads, self.HINTS[dtype])
        except RuntimeError as error:
            raise ModelError(f"OpenVINO cannot load the graph: {str(error).splitlines()[0]}") from error

    def run(
        self, batches: list[NDArray[np.uint8]], embedding: bool, landmarks: list[Floats] | None = None
    ) -> list[PassArrays]:
        """See :class:`Backend`."""
        results = []
        for inputs in _inputs(batches, landmarks):
            found = self._model(inputs)
            results.append(_named([found[name].copy() for name in OUTPUTS], embedding))
        return results


def _inputs(batches: list[NDArray[np.uint8]], landmarks: list[Floats] | None) -> list[dict[str, Any]]:
    if landmarks is None:
        return [{CROPS: crops} for crops in batches]
    return [{CROPS: crops, LANDMARKS: places} for crops, places in zip(batches, landmarks, strict=True)]


def _named(arrays: list[Any], embedding: bool) -> PassArrays:
    values = dict(zip(OUTPUTS, arrays, strict=True))
    return PassArrays(
        raw=values["raw"],
        patches=values["patches"],
        attention=values["attention"],
        embedding=values["embedding"] if embedding else None,
    )
