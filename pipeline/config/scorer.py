"""``scorer``: the quality model and what runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from facegate.pipeline.config.values import Section


class ScorerConfig(Section):
    """The quality model."""

    weights: Path | None = None
    """A ``.safetensors`` or ``.pt`` file of a supported family; the built-in model by default."""
    card: str | None = None
    """The file's model card (a name that ships with facegate, or a YAML file), where it carries none."""
    quality: Literal["vitnt", "attention", "norm", "estimate"] | None = None
    """The number that stands for quality; the card's choice by default."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto"
    backend: Literal["auto", "torch", "onnxruntime", "openvino"] = "auto"
    every_face: bool = False
    """Score every face, and not only those that may still be their track's best."""
    max_frames: int = Field(16, ge=1, le=256)
    """Frames taken at once; of live cameras, one frame each shares a batch."""
    wait_ms: float = Field(0.0, ge=0, le=1000)
    """Wait this long for more frames before scoring. Worth it on a GPU; on a CPU batches grow by themselves."""
    budget_ms: float = Field(1000.0, gt=0, le=60_000)
    """A batch may take this long; of live cameras, crops that do not fit end as not_scored."""
