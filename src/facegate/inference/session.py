"""ONNX graphs on a device: one session for detectors, the scorer and recognition models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

import structlog

from facegate.cpu import compiled
from facegate.errors import ModelError
from facegate.inference.devices import CUDA_PROVIDER, OPENVINO, Device

ERROR = 3
"""Severity from which ONNX Runtime writes to stderr; its warnings are of no use to a user."""
CUDA_OPTIONS = {
    # Pictures differ in size; trying every kernel again for each size costs more than it gains.
    "cudnn_conv_algo_search": "HEURISTIC",
    "arena_extend_strategy": "kSameAsRequested",
    # 19 bits of TF32 move scores and boxes further from the processor's than the tolerance allows.
    "use_tf32": "0",
}

log = structlog.get_logger(__name__)


P = ParamSpec("P")
R = TypeVar("R")


class Fallback(Generic[P, R]):
    """A function that runs on a device, and on the CPU once the device fails."""

    def __init__(
        self, device: Device, what: str, run: Callable[P, R], on_cpu: Callable[[], Callable[P, R]]
    ) -> None:
        """Create.

        Args:
            device: where ``run`` runs.
            what: the network, for the log.
            run: raises any exception if the device fails.
            on_cpu: makes the function that does the same on the CPU.
        """
        self._device, self._what, self._run, self._on_cpu = device, what, run, on_cpu
        self.failed = False
        """Whether the device failed."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run; raises what the CPU raises for the same input."""
        try:
            return self._run(*args, **kwargs)
        except Exception as error:  # each runtime has its own, and a lost device may show as any
            if self.failed:
                raise
            run = self._on_cpu()
            result = run(*args, **kwargs)  # raises if the input is at fault; the device then stays
            self._run, self.failed = run, True
            say_fallback(self._device, self._what, error)
            return result


def say_fallback(device: Device, what: str, error: Exception) -> None:
    """Log that the CPU takes over from a device."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    log.warning("device failed, continuing on the CPU", device=device, network=what, reason=reason)


class Session(Protocol):
    """A loaded graph; its calls may come from one thread at a time."""

    def get_inputs(self) -> Sequence[Any]:
        """Inputs with ``name`` and ``shape``."""
        ...

    def run(self, names: Sequence[str] | None, inputs: dict[str, Any]) -> list[Any]:
        """Run on arrays; return the named outputs, or all in the order of the graph."""
        ...


class AcceleratedSession:
    """A graph on an accelerator, and on the CPU once that fails."""

    def __init__(self, device: Device, what: str, run: Callable[..., list[Any]], on_cpu: Session) -> None:
        self._on_cpu = on_cpu
        self._run = Fallback(device, what, run, lambda: on_cpu.run)

    def get_inputs(self) -> Sequence[Any]:
        """See :class:`Session`."""
        return self._on_cpu.get_inputs()

    def run(self, names: Sequence[str] | None, inputs: dict[str, Any]) -> list[Any]:
        """See :class:`Session`."""
        return self._run(names, inputs)


def session(graph: bytes | Path, threads: int, device: Device = "cpu") -> Session:
    """Load a graph on a device that is here (:func:`facegate.inference.devices.network_device`).

    A device that cannot load it is replaced by the CPU, which is logged.

    Raises:
        ModelError: ONNX Runtime rejects the graph.
    """
    on_cpu: Session = _onnxruntime(graph, threads, ["CPUExecutionProvider"])
    if device in ("auto", "cpu"):
        return on_cpu
    what = "a built-in graph" if isinstance(graph, bytes) else graph.name
    try:
        run = (_on_openvino if device.startswith(OPENVINO) else _on_cuda)(graph, threads, device)
    except Exception as error:  # as in Fallback
        say_fallback(device, what, error)
        return on_cpu
    return AcceleratedSession(device, what, run, on_cpu)


def _on_cuda(graph: bytes | Path, threads: int, device: Device) -> Callable[..., list[Any]]:
    del device
    loaded = _onnxruntime(graph, threads, [(CUDA_PROVIDER, CUDA_OPTIONS), "CPUExecutionProvider"])
    if CUDA_PROVIDER not in loaded.get_providers():  # it falls back without an error
        raise ModelError("ONNX Runtime could not load its CUDA libraries")
    run: Callable[..., list[Any]] = loaded.run
    return run


def _on_openvino(graph: bytes | Path, threads: int, device: Device) -> Callable[..., list[Any]]:
    model = compiled(graph, threads, device=device.removeprefix(OPENVINO))
    return partial(_run_openvino, model)


def _run_openvino(model: Any, names: Sequence[str] | None, inputs: dict[str, Any]) -> list[Any]:
    found = model(inputs)
    return [found[key].copy() for key in (names or range(len(model.outputs)))]


def _onnxruntime(graph: bytes | Path, threads: int, providers: list[Any]) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = ERROR
    # Idle workers sleep instead of burning the core that decodes the next frame.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # The arena keeps the largest tensors that a graph ever needed; batches and pictures differ too much for that.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    given = graph if isinstance(graph, bytes) else str(graph)
    try:
        return onnxruntime.InferenceSession(given, options, providers=providers)
    except Exception as error:  # it has a class for each of its many reasons, and they share no base
        what = "a built-in graph" if isinstance(graph, bytes) else str(graph)
        raise ModelError(f"ONNX Runtime cannot load {what}: {str(error).splitlines()[0]}") from error
