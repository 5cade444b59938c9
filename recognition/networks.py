"""What runs recognition networks: ONNX models in ONNX Runtime, IR models in OpenVINO."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from facegate.cpu import compiled, openvino_core, threads
from facegate.errors import ModelError
from facegate.extras import require
from facegate.inference.devices import OPENVINO, Device
from facegate.inference.session import Fallback, session
from facegate.pipeline.records import Floats

BATCH = 8


def load_network(model: Path, content: tuple[bytes, ...], device: Device) -> tuple[Callable[[Floats], Floats], int]:
    """Return what runs an ONNX or IR model on ``(B, 3, H, W)``, and its maximum batch size.

    Args:
        model: the file.
        content: of the ONNX file, or of the ``.xml`` and its ``.bin``.
        device: one that is here.

    Raises:
        ModelError: the runtime rejects the model.
        ConfigError: it is an IR model, and OpenVINO is not installed.
    """
    return _ir_network(model, content, device) if model.suffix == ".xml" else _onnx_network(model, device)


def _onnx_network(model: Path, device: Device) -> tuple[Callable[[Floats], Floats], int]:
    loaded = session(model, threads(), device)
    entry = loaded.get_inputs()[0]

    def run(tensor: Floats) -> Floats:
        return np.asarray(loaded.run(None, {entry.name: tensor})[0], np.float32)

    # Some exported models have a fixed batch of one.
    return run, 1 if isinstance(entry.shape[0], int) else BATCH


def _ir_network(model: Path, content: tuple[bytes, ...], device: Device) -> tuple[Callable[[Floats], Floats], int]:
    """IR models run on OpenVINO's devices only."""
    require("openvino", f"{model}")

    def run_on(place: str) -> Callable[[Floats], Floats]:
        try:
            loaded = compiled(content[0], threads(), device=place, weights=content[1])
        except Exception as error:  # openvino raises RuntimeError for everything
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"cannot load {model}: {reason}") from error
        return lambda tensor: np.array(loaded(tensor)[0], np.float32)

    network = openvino_core().read_model(*content)
    batch = BATCH if network.input(0).partial_shape[0].is_dynamic else 1
    if not device.startswith(OPENVINO):
        return run_on("CPU"), batch
    return Fallback(device, model.name, run_on(device.removeprefix(OPENVINO)), lambda: run_on("CPU")), batch
