"""The devices that networks run on: which ones are here, and which one is used."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from facegate.cpu import openvino_core
from facegate.errors import ConfigError
from facegate.extras import installed, require

Device = Literal["auto", "cpu", "cuda", "openvino:GPU", "openvino:NPU"]
DEVICES: tuple[Device, ...] = get_args(Device)
OPENVINO = "openvino:"
NVIDIA_DEVICES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg")
"""Device files of NVIDIA's driver on Linux; the last one in WSL."""
CUDA_PROVIDER = "CUDAExecutionProvider"


def nvidia_found() -> bool:
    """Whether the system has an NVIDIA GPU with its driver; nothing is imported. True where that is not known."""
    return sys.platform != "linux" or any(Path(device).exists() for device in NVIDIA_DEVICES)


def torch_cuda_found() -> bool:
    """Whether torch can use a CUDA device; torch is imported only if the system has one."""
    if not nvidia_found() or not installed("torch"):
        return False
    import torch

    return torch.cuda.is_available()


@cache
def onnxruntime_cuda_found() -> bool:
    """Whether ONNX Runtime can use a CUDA device."""
    if not nvidia_found():
        return False
    import onnxruntime

    if CUDA_PROVIDER in onnxruntime.get_available_providers():
        return True
    if sys.platform == "linux":
        import structlog  # not at the top: every command imports this module

        structlog.get_logger(__name__).warning(
            "NVIDIA GPU is not used by detectors and recognizers",
            reason="this build of ONNX Runtime has no CUDA",
            remedy="pip uninstall onnxruntime, then pip install onnxruntime-gpu",
        )
    return False


def openvino_devices() -> dict[str, str]:
    """Return OpenVINO's devices other than the CPU, such as ``GPU``, and their full names."""
    if not installed("openvino"):
        return {}
    core: Any = openvino_core()
    found = [name for name in core.available_devices if name != "CPU"]
    return {name: str(core.get_property(name, "FULL_DEVICE_NAME")) for name in found}


def network_device(asked: Device) -> Device:
    """Return the device of a network that ONNX Runtime or OpenVINO runs: never ``auto``.

    ``auto`` takes CUDA where ONNX Runtime has it, else the CPU. Devices of OpenVINO have to be named.

    Raises:
        ConfigError: the device that is asked for is not here.
    """
    check_device(asked)
    if asked == "auto":
        return "cuda" if onnxruntime_cuda_found() else "cpu"
    if asked == "cuda" and not onnxruntime_cuda_found():
        raise ConfigError(
            "device 'cuda' is not available: ONNX Runtime finds no CUDA device; use 'cpu', or install the driver "
            "and onnxruntime-gpu"
        )
    if asked.startswith(OPENVINO):
        require("openvino", f"device '{asked}'")
        if not any(name.split(".")[0] == asked.removeprefix(OPENVINO) for name in openvino_devices()):
            here = ", ".join(openvino_devices()) or "the CPU alone"
            raise ConfigError(
                f"device '{asked}' is not available: OpenVINO finds {here}; use 'cpu', or install its driver"
            )
    return asked


def check_device(asked: str) -> None:
    """Raise :class:`ConfigError` for an unknown device."""
    if asked not in DEVICES:
        raise ConfigError(f"device '{asked}' is unknown: choose one of {', '.join(DEVICES)}")
