"""Compiling ONNX graphs for this processor with OpenVINO."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal


def compiled(graph: bytes | Path, threads: int, precision: Literal["f32", "bf16"] = "f32") -> Any:
    """Return a compiled model to call with arrays, run by one caller at a time.

    Raises:
        RuntimeError: OpenVINO refuses the graph.
    """
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": 1}
    core = _core()
    model = core.read_model(graph if isinstance(graph, bytes) else str(graph))
    return core.compile_model(model, "CPU", settings)


@cache
def _core() -> Any:
    """One for the process, never let go.

    With the last core its library is unloaded while threads of it still sleep inside: the next signal wakes them to
    code that is gone, and a Ctrl-C ends in a segmentation fault.
    """
    import openvino

    return openvino.Core()
