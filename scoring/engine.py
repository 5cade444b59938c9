"""The scorer: quality and embedding of face crops, on the selected device, number format and backend."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from facegate.cpu import processor, threads
from facegate.detectors.align import ARCFACE_TEMPLATE
from facegate.errors import ConfigError, ModelError
from facegate.extras import installed, require
from facegate.inference.devices import (
    OPENVINO,
    Device,
    check_device,
    network_device,
    torch_cuda_found,
)
from facegate.scoring.backend_selection import BackendChoice, check_combination, graph_for, measured_choice
from facegate.scoring.backends import (
    DTYPES,
    Backend,
    BackendName,
    Dtype,
    FallbackBackend,
    OnnxRuntime,
    OpenVino,
    PassArrays,
)
from facegate.scoring.calibration import Calibration
from facegate.scoring.families import (
    DEFAULT_MODEL,
    QUALITIES,
    SHIPPED_MODELS,
    Quality,
)
from facegate.scoring.hub import resolve_weights
from facegate.scoring.loading import load_file, load_shipped
from facegate.scoring.network.architecture import AGGREGATIONS, DISTANCES, Aggregation, Distance, ScoreSettings
from facegate.scoring.score_reading import ScoreReading

if TYPE_CHECKING:
    from facegate.scoring.network.vit import FaceViT
    from facegate.scoring.one_pass import OnePass

MAX_BATCH = 32
"""Maximum crops per forward pass; bounds activation memory."""

CROP_SHAPE = (112, 112, 3)
NEEDS_EXTRA = {"torch": "torch", "openvino": "openvino"}
"""Backends, and the extra that each needs."""


class Scores(msgspec.Struct, frozen=True, eq=False):
    """Scores of ``B`` crops."""

    raw_score: NDArray[np.float32]
    """``(B,)`` quality measure before calibration: ViTNT-FIQA in (0, 1], the attention score, the embedding's norm,
    or the fused estimate."""
    quality: NDArray[np.int64]
    """``(B,)`` calibrated 0..100."""
    patches: NDArray[np.float32]
    """``(B, N)`` ViTNT-FIQA patch qualities in (0, 1]."""
    attention: NDArray[np.float32]
    """``(B,)`` mean pre-softmax attention logit of the last executed block; unbounded."""
    embedding: NDArray[np.float32] | None
    """``(B, D)``, not normalized; ``None`` if not requested."""
    norm: NDArray[np.float32] | None
    """``(B,)`` Euclidean norm of the embedding, or ``None``."""
    rank: NDArray[np.float64]
    """``(B,)`` score by which faces of one track are compared, 0..100: the geometric mean of the calibrated
    ViTNT-FIQA score and embedding norm if the model has both, else the unrounded quality."""


class Scorer:
    """Scores aligned face crops in one forward pass. Build it with :func:`load_scorer`."""

    def __init__(
        self,
        reading: ScoreReading,
        backend: Backend,
        *,
        device: Device = "cpu",
        why: str = "",
    ) -> None:
        self.device = device
        self.reading = reading
        self.card = reading.card
        self.settings = reading.settings
        self.quality = reading.quality
        self.backend = backend
        self.why = why
        """Why this backend was chosen, in words."""
        self._calibration = Calibration(reading.card.calibration[reading.quality])
        length = reading.card.calibration.get("norm") if reading.quality == "vitnt" else None
        self._norm_calibration = None if length is None else Calibration(length)

    @property
    def one_pass(self) -> OnePass:
        """The pass in torch, independent of the backend; imports torch on first use."""
        return self.reading.one_pass

    @property
    def network(self) -> FaceViT:
        """The network in torch."""
        return self.one_pass.network

    @property
    def wants_landmarks(self) -> bool:
        """Whether the network uses landmarks in addition to the crop."""
        return self.card.architecture.keypoints

    @property
    def algorithm(self) -> str:
        """Name of the quality algorithm with its settings, for records and reports."""
        if self.quality != "vitnt":
            return {"attention": "attn-fiqa", "norm": "embedding-norm", "estimate": "estimate"}[self.quality]
        s = self.settings
        distance = "" if s.distance == "euclidean" else f"/{s.distance}"
        return f"vitnt-fiqa/{s.aggregation}/{s.blocks[0]}-{s.blocks[-1]}/alpha{s.alpha:g}{distance}"

    @property
    def calibration(self) -> str:
        """Version of the calibration table; marked if it was made for other settings."""
        card, s = self.card, self.settings
        same = self.quality != "vitnt" or s == ScoreSettings(blocks=card.blocks, alpha=card.alpha)
        return card.calibration_version if same else f"{card.calibration_version} (made for other settings)"

    def score(
        self, crops: NDArray[np.uint8], *, landmarks: NDArray[np.float32] | None = None, embedding: bool = True
    ) -> Scores:
        """Score aligned crops.

        Args:
            crops: ``(B, 112, 112, 3)`` uint8 RGB; ``B`` may be zero. landmarks: ``(B, 5, 2)`` in pixels of the
            crops, for networks that use them (``wants_landmarks``); by default
                those of the alignment template.
            embedding: also return embeddings (runs the network to its last block).

        Raises:
            ConfigError: wrong dtype or shape.
            ModelError: the network produced a value that is not finite.
        """
        _check_crops(crops)
        starts = range(0, len(crops), MAX_BATCH)
        batches = [crops[i : i + MAX_BATCH] for i in starts]
        places = None
        if self.wants_landmarks:
            where = _checked_landmarks(landmarks, len(crops))
            places = [where[i : i + MAX_BATCH] for i in starts]
        parts = self.backend.run(batches, embedding, places)
        for part in parts:
            self._check(part)
        arch = self.card.architecture
        raw = _joined([part.raw for part in parts], ())
        embedded: NDArray[np.float32] | None = None
        if embedding:
            embedded = _joined([part.embedding for part in parts], (arch.embedding_dim,))
        norm = None if embedded is None else np.linalg.norm(embedded, axis=1)
        return Scores(
            raw_score=raw,
            quality=self._calibration(raw),
            patches=_joined([part.patches for part in parts], (arch.patches,)),
            attention=_joined([part.attention for part in parts], ()),
            embedding=embedded,
            norm=norm,
            rank=self._rank(raw, norm),
        )

    def _rank(self, raw: NDArray[np.float32], norm: NDArray[np.float32] | None) -> NDArray[np.float64]:
        by_path = self._calibration.exact(raw)
        if self._norm_calibration is None or norm is None:
            return by_path
        together: NDArray[np.float64] = np.sqrt((by_path + 1) * (self._norm_calibration.exact(norm) + 1)) - 1
        return together

    def _check(self, part: PassArrays) -> None:
        arrays = (part.raw, part.patches, part.attention, part.embedding)
        if not all(array is None or np.isfinite(array).all() for array in arrays):
            raise ModelError(
                f"model '{self.card.name}' produced values that are not finite: its weights are damaged"
            )


def load_scorer(
    weights: str | Path | None = None,
    *,
    card: str | None = None,
    quality: Quality | None = None,
    blocks: Sequence[int] | None = None,
    aggregation: Aggregation = "attention",
    alpha: float | None = None,
    distance: Distance = "euclidean",
    device: Device = "auto",
    dtype: Literal["auto"] | Dtype = "auto",
    backend: Literal["auto"] | BackendName = "auto",
) -> Scorer:
    """Load a scorer.

    Args:
        weights: ``None`` for the default model; the name of one that ships (``facegate models list``); a
            ``.safetensors`` or ``.pt`` file of a supported family; or a hub id (``owner/name``) that ``facegate
            models pull`` has fetched.
        card: the file's card (a name that ships with the package, or a YAML file); not needed for a safetensors
            file that carries its own, nor for a hub id that a known card names.
        quality: quality measure: ``vitnt``, ``attention``, ``norm`` or ``estimate``; the card's by default.
        blocks: increasing block indices that ViTNT-FIQA scores; the card's by default.
        aggregation: ``uniform``, ``attention`` or ``attention_mean`` (see :mod:`facegate.scoring.vitnt`).
        alpha: steepness; the card's by default.
        distance: ``euclidean`` (the published one) or ``cosine``.
        device: ``auto`` uses CUDA if torch or ONNX Runtime finds it, else the CPU.
        dtype: ``auto`` uses bf16 if the processor supports it natively (AVX512-BF16, AMX, CUDA from compute
            capability 8.0), else fp32. ``int8`` (ONNX Runtime) must be requested.
        backend: ``auto`` uses the fastest that ``facegate models tune`` measured on this machine, else ONNX
            Runtime for fp32 on the CPU, else torch.

    Raises:
        ModelError: weights are missing, unreadable or do not fit; a backend is not installed.
        ConfigError: unknown settings, or settings that exclude each other.
    """
    _check_choices(
        aggregation=(aggregation, AGGREGATIONS),
        distance=(distance, DISTANCES),
        dtype=(dtype, ("auto", *DTYPES)),
        backend=(backend, ("auto", *get_args(BackendName))),
        quality=(quality or "vitnt", QUALITIES),
    )
    if backend in NEEDS_EXTRA:
        require(NEEDS_EXTRA[backend], f"'{backend}'")
    on = scorer_device(device, backend)
    weights = DEFAULT_MODEL if weights is None else weights
    if str(weights) in SHIPPED_MODELS:
        if card not in (None, str(weights)):
            raise ConfigError(f"model '{weights}' ships with its own card: remove --model-card")
        model = load_shipped(str(weights))
    else:
        file, card = resolve_weights(weights, card)
        model = load_file(file, card)
    loaded = model.card
    chosen = loaded.quality if quality is None else quality
    if chosen not in loaded.calibration:
        known = ", ".join(loaded.calibration)
        raise ConfigError(f"model '{loaded.name}' has no calibration for quality '{chosen}': choose one of {known}")
    settings = ScoreSettings(
        blocks=_checked_blocks(loaded.blocks if blocks is None else tuple(blocks), loaded.architecture.depth),
        aggregation=aggregation,
        alpha=loaded.alpha if alpha is None else alpha,
        distance=distance,
    )
    reading = ScoreReading(model, settings, chosen)
    choice = _decide(reading, on, dtype, backend)
    try:
        made = _make_backend(reading, on, choice)
    except (ModelError, OSError) as error:
        if backend != "auto" or choice.backend == "torch" or not installed("torch"):
            raise
        choice = BackendChoice("torch", "fp32", f"torch: the graph could not be exported: {error}")
        made = _make_backend(reading, on, choice)
    return Scorer(reading, made, device=on, why=choice.why)


def scorer_device(asked: Device, backend: str = "auto") -> Device:
    """Return the device that a scorer runs on; torch is preferred for CUDA.

    Raises:
        ConfigError: the device that is asked for is not here.
    """
    check_device(asked)
    if asked in ("auto", "cuda") and backend != "onnxruntime" and torch_cuda_found():
        return "cuda"
    return network_device(asked)


def _decide(reading: ScoreReading, on: Device, dtype: str, backend: str) -> BackendChoice:
    """Choose backend and number format."""
    check_combination(on, dtype, backend)
    card = reading.card
    if on.startswith(OPENVINO):
        return BackendChoice("openvino", "fp32", f"fp32: exact on {on}")
    if on == "cuda" and (backend == "onnxruntime" or not torch_cuda_found()):
        return BackendChoice("onnxruntime", "fp32", "ONNX Runtime on CUDA: torch has no CUDA here")
    if dtype == "int8":
        return BackendChoice("onnxruntime", "int8", "int8 was requested")
    if backend == "auto" and on == "cpu":
        measured = measured_choice(card, dtype)
        if measured is not None:
            return measured
    name: BackendName = "torch" if backend == "auto" else backend  # type: ignore[assignment]
    if backend == "auto" and on == "cpu" and _exported_is_best(reading, dtype):
        why = "fp32: ONNX Runtime is faster than torch on CPUs (facegate models tune measures)"
        return BackendChoice("onnxruntime", "fp32", why)
    if dtype != "auto":
        return BackendChoice(name, dtype, f"{dtype} was requested")  # type: ignore[arg-type]
    if name == "onnxruntime":
        return BackendChoice(name, "fp32", "ONNX Runtime has no bf16 on the CPU")
    if not native_bf16(on):
        return BackendChoice(name, "fp32", "fp32: no native bf16 on this processor")
    if not card.bf16:
        return BackendChoice(name, "fp32", "fp32: this model's embeddings of poor crops differ too much in bf16")
    return BackendChoice(name, "bf16", "bf16: native on this processor")


def _exported_is_best(reading: ScoreReading, dtype: str) -> bool:
    return dtype == "fp32" or (
        dtype == "auto" and not (reading.card.bf16 and native_bf16("cpu") and installed("torch"))
    )


def _make_backend(reading: ScoreReading, on: Device, choice: BackendChoice) -> Backend:
    if choice.backend == "torch":
        require("torch", f"scorer.dtype '{choice.dtype}'")
        from facegate.scoring.torch_backends import TorchCpu, TorchCuda

        if on == "cuda":
            made = TorchCuda(reading.one_pass, choice.dtype)
            return FallbackBackend(
                on, made, lambda: _make_backend(reading, "cpu", _decide(reading, "cpu", "fp32", "auto"))
            )
        return TorchCpu(reading.one_pass, choice.dtype)
    graph = graph_for(reading, choice.dtype)
    if on != "cpu":
        return OnnxRuntime(graph, choice.dtype, threads(), on)
    make = OnnxRuntime if choice.backend == "onnxruntime" else OpenVino
    return make(graph, choice.dtype, threads())


def native_bf16(device: str) -> bool:
    """Whether bf16 is native; emulated bf16 is slower than fp32."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_capability() >= (8, 0)
    return bool(processor()[1] & {"avx512_bf16", "amx_bf16"})


def _check_choices(**choices: tuple[str, Sequence[str]]) -> None:
    for what, (value, known) in choices.items():
        if value not in known:
            raise ConfigError(f"{what} '{value}' is unknown: choose one of {', '.join(known)}")


def _check_crops(crops: Any) -> None:
    if not isinstance(crops, np.ndarray) or crops.dtype != np.uint8 or crops.shape[1:] != CROP_SHAPE:
        got = f"{getattr(crops, 'dtype', type(crops).__name__)} {getattr(crops, 'shape', '')}"
        raise ConfigError(f"crops must be uint8 (B, 112, 112, 3) RGB, got {got}")


def _checked_landmarks(landmarks: Any, count: int) -> NDArray[np.float32]:
    if landmarks is None:
        return np.repeat(ARCFACE_TEMPLATE[None], count, 0)
    found = np.asarray(landmarks, np.float32)
    if found.shape != (count, *ARCFACE_TEMPLATE.shape) or not np.isfinite(found).all():
        raise ConfigError(f"landmarks must be finite ({count}, 5, 2) in pixels of the crops, got {found.shape}")
    return found


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
