"""``scorer``: the quality model and what runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from facegate.inference.devices import Device
from facegate.pipeline.config.values import Section


class ScorerConfig(Section):
    """The quality model."""

    weights: Path | None = None
    """Model to score with: a ``.safetensors`` or ``.pt`` file of a supported family, or a hub id that was pulled;
    the built-in model by default."""
    card: str | None = None
    """Model card of the weight file (a built-in card's name, or a YAML file); needed only if the file does not
    carry one."""
    quality: Literal["vitnt", "attention", "norm", "estimate"] | None = None
    """Number that is used as quality: ``vitnt`` (ViTNT-FIQA), ``attention`` (ATTN-FIQA), ``norm`` (length of the
    embedding) or ``estimate``; the model card's choice by default."""
    device: Device | None = None
    """Device that the quality model runs on; the run's ``device`` by default."""
    dtype: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto"
    """Number format. ``auto`` uses bf16 where the processor supports it natively and the model card allows it, else
    fp32. ``fp16`` needs CUDA; ``int8`` needs ``onnxruntime``."""
    backend: Literal["auto", "torch", "onnxruntime", "openvino"] = "auto"
    """Inference runtime. ``auto`` uses the fastest that ``facegate models tune`` measured on this machine, else
    ONNX Runtime for fp32 on the CPU, else torch."""
    every_face: bool = False
    """Score every face. By default only faces that can still become the best of their track are scored, which costs
    much less."""
    max_frames: int = Field(16, ge=1, le=256)
    """Maximum number of frames scored together; one frame of each live camera shares a batch. Higher raises
    throughput with many cameras and needs more memory."""
    wait_ms: float = Field(0.0, ge=0, le=1000)
    """Milliseconds to wait for more frames before a batch is scored. Higher fills batches, which pays on a GPU, and
    adds latency."""
    budget_ms: float = Field(1000.0, gt=0, le=60_000)
    """Milliseconds that scoring one batch of live cameras may take; faces beyond it end as ``not_scored``, the
    least promising first. Lower keeps latency short under overload; higher scores more faces."""
