"""What runs the pass: torch on the CPU or on CUDA, ONNX Runtime, OpenVINO. All give the same arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from facegate.compiling import compiled
from facegate.errors import ModelError
from facegate.scoring.export import CROPS, OUTPUTS
from facegate.scoring.network.architecture import PassOutput
from facegate.scoring.one_pass import Dtype, OnePass

BackendName = Literal["torch", "onnxruntime", "openvino"]

TORCH_DTYPES: dict[Dtype, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
Floats = NDArray[np.float32]


class PassArrays(msgspec.Struct, frozen=True, eq=False):
    """One pass over ``B`` crops, on the host, fp32."""

    raw: Floats
    patches: Floats
    attention: Floats
    embedding: Floats | None
    left: NDArray[np.bool_] | None = None
    """Which crops left early."""


class Backend(Protocol):
    """Runs crops of at most one batch, ``B >= 1``."""

    name: BackendName
    dtype: Dtype

    def run(self, batches: list[NDArray[np.uint8]], embedding: bool) -> list[PassArrays]:
        """Run every batch; the results in order."""
        ...


class TorchCpu:
    """The network as it is, on the processor."""

    name: BackendName = "torch"

    def __init__(self, one_pass: OnePass, dtype: Dtype, exits: Mapping[int, float] | None = None) -> None:
        self.dtype = dtype
        self._one_pass = one_pass
        self._exits = exits
        one_pass.network.to("cpu").set_dtype(TORCH_DTYPES[dtype])

    @torch.inference_mode()
    def run(self, batches: list[NDArray[np.uint8]], embedding: bool) -> list[PassArrays]:
        """See :class:`Backend`."""
        return [self._run(np.ascontiguousarray(crops), embedding) for crops in batches]

    def _run(self, crops: NDArray[np.uint8], embedding: bool) -> PassArrays:
        out: PassOutput = self._one_pass(torch.from_numpy(crops), embedding, self._exits)
        return PassArrays(
            raw=out.raw.float().numpy(),
            patches=out.patches.float().numpy(),
            attention=out.attention.float().numpy(),
            embedding=out.embedding.float().numpy() if embedding and out.embedding is not None else None,
            left=None if out.left is None else out.left.numpy(),
        )


class TorchCuda:
    """The network on a CUDA device: one graph per batch bucket, one wait for all batches of a call.

    Crops travel as uint8 through pinned memory and are normalised on the device; everything that a pass yields
    comes back in one copy.
    """

    name: BackendName = "torch"
    BUCKETS = (1, 2, 4, 8, 16, 32)

    def __init__(self, one_pass: OnePass, dtype: Dtype) -> None:
        self.dtype = dtype
        self._one_pass = one_pass.to("cuda")
        one_pass.network.set_dtype(TORCH_DTYPES[dtype])
        self._graphs: dict[tuple[int, bool], _CudaGraph] = {}

    @torch.inference_mode()
    def run(self, batches: list[NDArray[np.uint8]], embedding: bool) -> list[PassArrays]:
        """See :class:`Backend`."""
        pending = []
        for crops in batches:
            bucket = next(size for size in self.BUCKETS if size >= len(crops))
            key = (bucket, embedding)
            if key not in self._graphs:
                self._graphs[key] = _CudaGraph(self._one_pass, bucket, embedding)
            pending.append((len(crops), self._graphs[key].enqueue(crops)))
        torch.cuda.synchronize()
        return [self._unpacked(host.numpy()[:count], embedding) for count, host in pending]

    def _unpacked(self, flat: Floats, embedding: bool) -> PassArrays:
        patches = self._one_pass.network.arch.patches
        return PassArrays(
            raw=flat[:, 0].copy(),
            attention=flat[:, 1].copy(),
            patches=flat[:, 2 : 2 + patches].copy(),
            embedding=flat[:, 2 + patches :].copy() if embedding else None,
        )


class _CudaGraph:
    """One captured pass of a fixed batch size, with its buffers."""

    def __init__(self, one_pass: OnePass, size: int, embedding: bool) -> None:
        self._input = torch.zeros((size, 112, 112, 3), dtype=torch.uint8, device="cuda")
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):  # libraries choose their kernels before the capture
                _flat(one_pass(self._input, embedding), embedding)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._output = _flat(one_pass(self._input, embedding), embedding)

    def enqueue(self, crops: NDArray[np.uint8]) -> torch.Tensor:
        """Queue copy, pass and copy back; the returned pinned tensor is filled once the stream has come to here."""
        pinned = torch.from_numpy(np.ascontiguousarray(crops)).pin_memory()
        self._input[: len(crops)].copy_(pinned, non_blocking=True)
        self._graph.replay()
        host = torch.empty(self._output.shape, dtype=torch.float32, pin_memory=True)
        host.copy_(self._output, non_blocking=True)
        return host


def _flat(out: PassOutput, embedding: bool) -> torch.Tensor:
    """Everything of a pass in one fp32 tensor ``(B, 2 + N (+ E))``."""
    parts = [out.raw[:, None], out.attention[:, None], out.patches]
    if embedding:
        assert out.embedding is not None
        parts.append(out.embedding)
    return torch.cat([part.float() for part in parts], 1)


class OnnxRuntime:
    """An exported graph in ONNX Runtime on the processor; int8 is a graph quantised on this machine.

    In int8 each crop goes alone: the scales of its products come from what is in the batch, and no score may depend
    on whose crop came along.
    """

    name: BackendName = "onnxruntime"

    def __init__(self, graph: Path, dtype: Dtype, threads: int) -> None:
        """Load the graph.

        Raises:
            ModelError: not a graph that ONNX Runtime accepts.
        """
        import onnxruntime

        self.dtype = dtype
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Idle workers sleep instead of burning the core that decodes the next frame.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(graph), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise ModelError(f"ONNX Runtime cannot load {graph}: {str(error).splitlines()[0]}") from error

    def run(self, batches: list[NDArray[np.uint8]], embedding: bool) -> list[PassArrays]:
        """See :class:`Backend`."""
        return [_named(self._pass(crops), embedding) for crops in batches]

    def _pass(self, crops: NDArray[np.uint8]) -> list[Any]:
        parts = [crops] if self.dtype != "int8" else [crops[i : i + 1] for i in range(len(crops))]
        found = [self._session.run(list(OUTPUTS), {CROPS: part}) for part in parts]
        return found[0] if len(found) == 1 else [np.concatenate(arrays) for arrays in zip(*found, strict=True)]


class OpenVino:
    """An exported graph in OpenVINO on the processor."""

    name: BackendName = "openvino"
    HINTS: dict[Dtype, Literal["f32", "bf16"]] = {"fp32": "f32", "bf16": "bf16"}  # noqa: RUF012 - never changed

    def __init__(self, graph: Path, dtype: Dtype, threads: int) -> None:
        """Compile the graph.

        Raises:
            ModelError: OpenVINO refuses the graph.
        """
        self.dtype = dtype
        try:
            self._model: Any = compiled(graph, threads, self.HINTS[dtype])
        except RuntimeError as error:
            raise ModelError(f"OpenVINO cannot load {graph}: {str(error).splitlines()[0]}") from error

    def run(self, batches: list[NDArray[np.uint8]], embedding: bool) -> list[PassArrays]:
        """See :class:`Backend`."""
        results = []
        for crops in batches:
            found = self._model(crops)
            results.append(_named([found[name].copy() for name in OUTPUTS], embedding))
        return results


def _named(arrays: list[Any], embedding: bool) -> PassArrays:
    values = dict(zip(OUTPUTS, arrays, strict=True))
    return PassArrays(
        raw=values["raw"],
        patches=values["patches"],
        attention=values["attention"],
        embedding=values["embedding"] if embedding else None,
    )
