"""Backends in torch: eager on the CPU, captured graphs on CUDA."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from facegate.scoring.backends import BackendName, Dtype, Floats, PassArrays
from facegate.scoring.network.architecture import PassOutput
from facegate.scoring.network.keypoints import LANDMARKS
from facegate.scoring.one_pass import OnePass

TORCH_DTYPES: dict[Dtype, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


class TorchCpu:
    """The network in eager mode on the CPU."""

    name: BackendName = "torch"

    def __init__(self, one_pass: OnePass, dtype: Dtype) -> None:
        self.dtype = dtype
        self._one_pass = one_pass
        one_pass.network.to("cpu").set_dtype(TORCH_DTYPES[dtype])

    @torch.inference_mode()
    def run(
        self, batches: list[NDArray[np.uint8]], embedding: bool, landmarks: list[Floats] | None = None
    ) -> list[PassArrays]:
        """See :class:`Backend`."""
        places: Sequence[Floats | None] = landmarks or [None] * len(batches)
        return [self._run(crops, embedding, lie) for crops, lie in zip(batches, places, strict=True)]

    def _run(self, crops: NDArray[np.uint8], embedding: bool, landmarks: Floats | None) -> PassArrays:
        where = None if landmarks is None else torch.from_numpy(landmarks)
        out: PassOutput = self._one_pass(torch.from_numpy(np.ascontiguousarray(crops)), embedding, where)
        return PassArrays(
            raw=out.raw.float().numpy(),
            patches=out.patches.float().numpy(),
            attention=out.attention.float().numpy(),
            embedding=out.embedding.float().numpy() if embedding and out.embedding is not None else None,
        )


class TorchCuda:
    """The network on a CUDA device: one graph per batch size, one synchronization per call.

    Crops are copied as uint8 through pinned memory and normalized on the device; all results come back in one copy.
    """

    name: BackendName = "torch"
    BUCKETS = (1, 2, 4, 8, 16, 32)

    def __init__(self, one_pass: OnePass, dtype: Dtype) -> None:
        self.dtype = dtype
        self._one_pass = one_pass.to("cuda")
        one_pass.network.set_dtype(TORCH_DTYPES[dtype])
        self._graphs: dict[tuple[int, bool], _CudaGraph] = {}

    @torch.inference_mode()
    def run(
        self, batches: list[NDArray[np.uint8]], embedding: bool, landmarks: list[Floats] | None = None
    ) -> list[PassArrays]:
        """See :class:`Backend`."""
        pending = []
        where: Sequence[Floats | None] = landmarks or [None] * len(batches)
        for crops, places in zip(batches, where, strict=True):
            bucket = next(size for size in self.BUCKETS if size >= len(crops))
            key = (bucket, embedding)
            if key not in self._graphs:
                self._graphs[key] = _CudaGraph(self._one_pass, bucket, embedding)
            pending.append((len(crops), self._graphs[key].enqueue(crops, places)))
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
    """A captured pass of a fixed batch size, with its buffers."""

    def __init__(self, one_pass: OnePass, size: int, embedding: bool) -> None:
        self._input = torch.zeros((size, 112, 112, 3), dtype=torch.uint8, device="cuda")
        uses_landmarks = one_pass.network.arch.keypoints
        self._landmarks = torch.zeros((size, LANDMARKS, 2), device="cuda") if uses_landmarks else None
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):  # warm-up: libraries choose their kernels before the capture
                _flat(one_pass(self._input, embedding, landmarks=self._landmarks), embedding)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._output = _flat(one_pass(self._input, embedding, landmarks=self._landmarks), embedding)

    def enqueue(self, crops: NDArray[np.uint8], landmarks: Floats | None) -> torch.Tensor:
        """Queue copy, pass and copy back; the returned pinned tensor is valid after synchronization."""
        pinned = torch.from_numpy(np.ascontiguousarray(crops)).pin_memory()
        self._input[: len(crops)].copy_(pinned, non_blocking=True)
        if self._landmarks is not None and landmarks is not None:
            self._landmarks[: len(crops)].copy_(torch.from_numpy(landmarks))
        self._graph.replay()
        host = torch.empty(self._output.shape, dtype=torch.float32, pin_memory=True)
        host.copy_(self._output, non_blocking=True)
        return host


def _flat(out: PassOutput, embedding: bool) -> torch.Tensor:
    """All results of a pass in one fp32 tensor ``(B, 2 + N (+ E))``."""
    parts = [out.raw[:, None], out.attention[:, None], out.patches]
    if embedding:
        assert out.embedding is not None
        parts.append(out.embedding)
    return torch.cat([part.float() for part in parts], 1)
