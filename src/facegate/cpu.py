"""The processor: its features, cores and thread limits, and ONNX graphs compiled for it with OpenVINO.

Stages run in parallel, so each gets its share of the cores. OpenMP spins while waiting by default, which starves
other threads on a busy machine; the policy must be set before torch is imported.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import Any, Literal

from facegate.errors import ConfigError

NO_CPU_PINNING = {"ENABLE_CPU_PINNING": False}
"""OpenVINO setting; the default pins every calling thread of every process to the first core during a call."""


def threads() -> int:
    """Number of threads a graph may use: ``OMP_NUM_THREADS``, as in other numeric libraries, or one per core."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) else cores()


def limit_threads(count: int) -> None:
    """Set the number of threads of each numeric library of this process, including torch, loaded or not."""
    import cv2  # not at the top: every command imports this module

    os.environ["OMP_NUM_THREADS"] = str(count)
    cv2.setNumThreads(count)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(count)


def cores() -> int:
    """Number of cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_wait_policy() -> None:
    """Let idle OpenMP threads sleep. Has an effect only before torch is imported."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("KMP_BLOCKTIME", "0")


def share_cores(stages: int = 2) -> None:
    """Give each of ``stages`` busy stages (detection and scoring) an equal share of this process's cores."""
    limit_threads(max(1, cores() // stages))


@cache
def processor() -> tuple[str, frozenset[str]]:
    """Name and feature flags (``avx2``, ``avx512_bf16`` …) of the processor; empty if unknown."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "", frozenset()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    return fields.get("model name", ""), frozenset(fields.get("flags", "").split())


def compiled(
    graph: bytes | Path,
    threads: int,
    precision: Literal["f32", "bf16"] = "f32",
    *,
    device: str = "CPU",
    weights: bytes | None = None,
) -> Any:
    """Compile a graph with OpenVINO; call the result with arrays, from one thread at a time.

    Args:
        graph: an ONNX graph, or the ``.xml`` of an IR model.
        threads: of the CPU; without effect on other devices.
        precision: of the arithmetic; other devices would take half precision by default.
        device: ``CPU``, ``GPU`` or ``NPU``.
        weights: the ``.bin`` of an IR model given as bytes.

    Raises:
        RuntimeError: OpenVINO refuses the graph.
    """
    settings: dict[str, object] = {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": 1}
    if device == "CPU":
        settings |= {"INFERENCE_NUM_THREADS": threads, **NO_CPU_PINNING}
    core = openvino_core()
    given = graph if isinstance(graph, bytes) else str(graph)
    model = core.read_model(given) if weights is None else core.read_model(given, weights)
    return core.compile_model(model, device, settings)


@cache
def openvino_core() -> Any:
    """The OpenVINO core of this process, never released.

    Releasing the last core unloads its library while its threads still sleep in it: the next signal wakes them in
    unmapped code, and Ctrl-C ends in a segmentation fault.
    """
    import openvino

    return openvino.Core()


def pin(given: str) -> None:
    """Restrict this process to these cores, such as ``0-3,8``.

    Raises:
        ConfigError: no such cores, or not supported by the system.
    """
    cpus: set[int] = set()
    try:
        for part in given.split(","):
            first, _, last = part.partition("-")
            cpus |= set(range(int(first), int(last or first) + 1))
        os.sched_setaffinity(0, cpus)
    except (ValueError, OSError, AttributeError) as error:
        raise ConfigError(f"invalid --cores {given}: give cores of this host, such as 0-3 or 0,2") from error
