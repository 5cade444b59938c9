"""This processor: what it can do, how many threads may use it, and ONNX graphs compiled for it with OpenVINO."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import Any, Literal

import cv2

from facegate.errors import ConfigError

NO_CPU_PINNING = {"ENABLE_CPU_PINNING": False}
"""For OpenVINO, which otherwise holds every thread that calls it, of every process, to the first core meanwhile."""


def threads() -> int:
    """How many threads a graph may use: ``OMP_NUM_THREADS``, which every numeric library heeds, or one per core."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) else cores()


def limit_threads(count: int) -> None:
    """Let each numeric library of this process use so many; torch too, loaded already or later."""
    os.environ["OMP_NUM_THREADS"] = str(count)
    cv2.setNumThreads(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def cores() -> int:
    """How many this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def processor() -> tuple[str, frozenset[str]]:
    """Its name and what it can do (``avx2``, ``avx512_bf16`` …), as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "", frozenset()
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    return said.get("model name", ""), frozenset(said.get("flags", "").split())


def compiled(graph: bytes | Path, threads: int, precision: Literal["f32", "bf16"] = "f32") -> Any:
    """Return a compiled model to call with arrays, run by one caller at a time.

    Raises:
        RuntimeError: OpenVINO refuses the graph.
    """
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": 1,
        **NO_CPU_PINNING,
    }
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


def pin(given: str) -> None:
    """Let this process run on these cores alone, ``0-3,8``.

    Raises:
        ConfigError: no such cores, or a system that cannot do that.
    """
    wanted: set[int] = set()
    try:
        for part in given.split(","):
            first, _, last = part.partition("-")
            wanted |= set(range(int(first), int(last or first) + 1))
        os.sched_setaffinity(0, wanted)
    except (ValueError, OSError, AttributeError) as error:
        raise ConfigError(f"--cores {given}: give cores of this host, such as 0-3 or 0,2") from error
