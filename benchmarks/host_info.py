"""What machine a figure comes from."""

from __future__ import annotations

from facegate.cpu import processor

FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")


def cpu() -> str:
    """Processor name and the flags that matter."""
    name, flags = processor()
    return f"{name or 'unknown'} ({' '.join(flag for flag in FLAGS if flag in flags)})"
