"""ONNX graphs on the processor: one session for detectors, the scorer and recognition models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from facegate.errors import ModelError

ERROR = 3
"""Severity from which ONNX Runtime writes to stderr; its warnings are of no use to a user."""


def session(graph: bytes | Path, threads: int) -> Any:
    """Make an ONNX Runtime session on the CPU; its calls may come from one thread at a time.

    Raises:
        ModelError: ONNX Runtime rejects the graph.
    """
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
        return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # it has a class for each of its many reasons, and they share no base
        what = "a built-in graph" if isinstance(graph, bytes) else str(graph)
        raise ModelError(f"ONNX Runtime cannot load {what}: {str(error).splitlines()[0]}") from error
