"""The scorer: crops in, quality and embedding out, with batching and devices taken care of."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from facegate.errors import ConfigError, ModelError
from facegate.scoring.calibration import Calibration
from facegate.scoring.families import ModelCard, load_builtin, load_file
from facegate.scoring.vit import FaceViT
from facegate.scoring.vitnt import AGGREGATIONS, Aggregation

MAX_BATCH = 32
"""Crops per forward pass; bounds activation memory whatever the caller hands in."""

CROP_SHAPE = (112, 112, 3)


class Scores(msgspec.Struct, frozen=True, eq=False):
    """Scores of ``B`` crops."""

    raw: NDArray[np.float32]
    """``(B,)`` ViTNT-FIQA score in (0, 1]."""
    quality: NDArray[np.int64]
    """``(B,)`` calibrated 0..100."""
    patches: NDArray[np.float32]
    """``(B, N)`` patch qualities in (0, 1]."""
    attention: NDArray[np.float32]
    """``(B,)`` mean pre-softmax attention logit of the last block that ran; unbounded."""
    embedding: NDArray[np.float32] | None
    """``(B, D)``, not normalised, or ``None`` when not asked for."""
    norm: NDArray[np.float32] | None
    """``(B,)`` Euclidean length of the embedding, or ``None``."""


class Scorer:
    """Scores aligned face crops with ViTNT-FIQA in one forward pass. Build it with :func:`load_scorer`."""

    def __init__(
        self,
        network: FaceViT,
        card: ModelCard,
        *,
        blocks: Sequence[int] | None = None,
        aggregation: Aggregation = "attention",
        alpha: float | None = None,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.card = card
        self.blocks = _checked_blocks(card.blocks if blocks is None else tuple(blocks), network.arch.depth)
        if aggregation not in AGGREGATIONS:
            raise ConfigError(f"aggregation '{aggregation}' is unknown: choose one of {', '.join(AGGREGATIONS)}")
        self.aggregation: Aggregation = aggregation
        self.alpha = card.alpha if alpha is None else alpha
        self.device = torch.device(device)
        self.dtype = dtype
        self.network = network.to(self.device, dtype)
        self._calibration = Calibration(card.calibration)
        shape = (1, 3, 1, 1)
        self._mean = torch.tensor(card.mean, device=self.device).view(shape) * 255.0
        self._std = torch.tensor(card.std, device=self.device).view(shape) * 255.0

    @property
    def algorithm(self) -> str:
        """Name of the quality algorithm with its settings, for records and reports."""
        return f"vitnt-fiqa/{self.aggregation}/{self.blocks[0]}-{self.blocks[-1]}/alpha{self.alpha:g}"

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the weights, for keeping results by what they were computed with."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().float().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    @torch.inference_mode()
    def score(self, crops: NDArray[np.uint8], *, embedding: bool = True) -> Scores:
        """Score aligned crops.

        Args:
            crops: ``(B, 112, 112, 3)`` uint8 RGB; ``B`` may be zero.
            embedding: also return embeddings (the network runs to its last block).

        Raises:
            ConfigError: wrong dtype or shape.
            ModelError: the network produced a value that is not finite.
        """
        if not isinstance(crops, np.ndarray) or crops.dtype != np.uint8 or crops.shape[1:] != CROP_SHAPE:
            got = f"{getattr(crops, 'dtype', type(crops).__name__)} {getattr(crops, 'shape', '')}"
            raise ConfigError(f"crops must be uint8 (B, 112, 112, 3) RGB, got {got}")
        parts = [self._pass(crops[i : i + MAX_BATCH], embedding) for i in range(0, len(crops), MAX_BATCH)]
        arch = self.card.architecture
        raw = _joined([part[0] for part in parts], ())
        embedded: NDArray[np.float32] | None = None
        if embedding:
            embedded = _joined([part[3] for part in parts], (arch.embedding_dim,))
        return Scores(
            raw=raw,
            quality=self._calibration(raw),
            patches=_joined([part[1] for part in parts], (arch.patches,)),
            attention=_joined([part[2] for part in parts], ()),
            embedding=embedded,
            norm=None if embedded is None else np.linalg.norm(embedded, axis=1),
        )

    def _pass(self, crops: NDArray[np.uint8], embedding: bool) -> list[Any]:
        images = torch.from_numpy(np.ascontiguousarray(crops)).to(self.device).permute(0, 3, 1, 2).float()
        images = ((images - self._mean) / self._std).to(self.dtype)
        out = self.network(images, self.blocks, self.aggregation, self.alpha, embedding)
        arrays = [out.raw, out.patches, out.attention] + ([out.embedding] if embedding else [])
        result = [array.float().cpu().numpy() for array in arrays]
        if not all(np.isfinite(array).all() for array in result):
            raise ModelError(
                f"model '{self.card.name}' produced values that are not finite: its weights are damaged"
            )
        return result


def load_scorer(
    weights: str | Path | None = None,
    *,
    card: str | None = None,
    blocks: Sequence[int] | None = None,
    aggregation: Aggregation = "attention",
    alpha: float | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    dtype: Literal["auto", "fp32", "bf16"] = "auto",
) -> Scorer:
    """Load a scorer.

    Args:
        weights: ``None`` for the built-in model, or a ``.safetensors`` or ``.pt`` file of a supported family.
        card: the file's card (a name that ships with the package, or a YAML file); not needed for a safetensors
            file that carries its own.
        blocks: increasing block indices to score; the card's by default.
        aggregation: ``uniform``, ``attention`` or ``attention_mean`` (see :mod:`facegate.scoring.vitnt`).
        alpha: steepness; the card's by default.
        device: ``auto`` takes CUDA where torch finds it.
        dtype: ``auto`` takes bf16 where the processor multiplies it natively (AVX512-BF16, AMX, CUDA from compute
            capability 8.0), else fp32.

    Raises:
        ModelError: weights missing, unreadable or unfit.
        ConfigError: blocks, aggregation or device that do not exist.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device '{device}' is unknown: choose auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device 'cuda' was asked for, but torch finds no CUDA device: use --device cpu")
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if dtype not in ("auto", "fp32", "bf16"):
        raise ConfigError(f"dtype '{dtype}' is unknown: choose auto, fp32 or bf16")
    half = dtype == "bf16" or (dtype == "auto" and _native_bf16(chosen))
    network, loaded = load_builtin() if weights is None else load_file(Path(weights), card)
    return Scorer(
        network,
        loaded,
        blocks=blocks,
        aggregation=aggregation,
        alpha=alpha,
        device=chosen,
        dtype=torch.bfloat16 if half else torch.float32,
    )


def _native_bf16(device: str) -> bool:
    """Elsewhere bf16 is emulated, and slower than fp32."""
    if device == "cuda":
        return torch.cuda.get_device_capability() >= (8, 0)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _checked_blocks(blocks: tuple[int, ...], depth: int) -> tuple[int, ...]:
    rising = all(a < b for a, b in pairwise(blocks))
    if len(blocks) < 2 or not rising or blocks[0] < 0 or blocks[-1] >= depth:
        raise ConfigError(
            f"blocks must be two or more increasing indices within 0..{depth - 1}, got {list(blocks)}"
        )
    return blocks


def _joined(parts: list[Any], shape: tuple[int, ...]) -> NDArray[np.float32]:
    if not parts:
        return np.empty((0, *shape), dtype=np.float32)
    return np.concatenate(parts).astype(np.float32, copy=False)
