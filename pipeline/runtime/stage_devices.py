"""Which device each stage of a run would use on this host, and why."""

from __future__ import annotations

import msgspec

from facegate.cpu import cores, processor
from facegate.inference.devices import (
    OPENVINO,
    Device,
    network_device,
    nvidia_found,
    onnxruntime_cuda_found,
    openvino_devices,
)
from facegate.pipeline.config import DetectorConfig, ScorerConfig
from facegate.pipeline.runtime.models import scorer_of
from facegate.pipeline.sources.base import HARDWARE, hardware_decoder

FLAGS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "asimddp",
    "bf16",
    "i8mm",
)
"""Processor features that decide how fast networks run."""


class HostDevice(msgspec.Struct, frozen=True):
    """A device of this host."""

    name: str
    """As in the setting ``device``."""
    description: str


class StageDevice(msgspec.Struct, frozen=True):
    """What a stage would run on."""

    stage: str
    device: str
    runtime: str
    why: str


def host_devices() -> tuple[HostDevice, ...]:
    """Return the devices of this host, the CPU first."""
    model, flags = processor()
    words = [model or "unknown processor", f"{cores()} cores", " ".join(flag for flag in FLAGS if flag in flags)]
    found = [HostDevice("cpu", ", ".join(word for word in words if word))]
    if onnxruntime_cuda_found():
        found.append(HostDevice("cuda", "through ONNX Runtime"))
    found += [HostDevice(f"{OPENVINO}{name}", full) for name, full in openvino_devices().items()]
    return tuple(found)


def stage_devices(detector: DetectorConfig, scorer: ScorerConfig, device: Device) -> tuple[StageDevice, ...]:
    """Return what each stage of a run with these settings would use.

    Raises:
        ConfigError: a device that is asked for is not here.
        ModelError: the quality model cannot be loaded.
    """
    decoder = hardware_decoder()
    asked = detector.device or device
    detects = network_device(asked)
    loaded = scorer_of(scorer, 0, device)
    recognizes = network_device(device)
    return (
        StageDevice(
            "decode",
            decoder or "cpu",
            "FFmpeg",
            "found by FFmpeg" if decoder else f"FFmpeg finds none of {', '.join(HARDWARE)}",
        ),
        StageDevice("detect", detects, _runtime(detects), _why(asked)),
        StageDevice("score", loaded.device, f"{loaded.backend.name} {loaded.backend.dtype}", loaded.why),
        StageDevice("recognize", recognizes, _runtime(recognizes), _why(device)),
    )


def _runtime(device: Device) -> str:
    return "openvino" if device.startswith(OPENVINO) else "onnxruntime"


def _why(asked: Device) -> str:
    if asked != "auto":
        return "requested"
    if onnxruntime_cuda_found():
        return "ONNX Runtime finds CUDA"
    if not nvidia_found():
        return "no NVIDIA driver; devices of OpenVINO have to be named"
    return "this build of ONNX Runtime has no CUDA"
