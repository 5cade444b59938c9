"""Selects the backend that runs a model on this machine, by measurement, and caches exported graphs.

``facegate models tune`` measures, ``load_scorer`` reads the result.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from statistics import median
from time import process_time

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from facegate.cpu import processor, threads
from facegate.errors import ConfigError, ModelError, os_errors
from facegate.extras import require
from facegate.inference.devices import OPENVINO
from facegate.paths import replacing
from facegate.scoring.backends import Backend, BackendName, Dtype, OnnxRuntime, OpenVino, PassArrays
from facegate.scoring.families import ModelCard
from facegate.scoring.score_reading import ScoreReading
from facegate.scoring.shipped_graph import shipped_graph

BATCH, ROUNDS = 8, 5
RANK_AGREEMENT, EMBEDDING_AGREEMENT = 0.999, 0.998
"""Minimum Spearman correlation of scores, and minimum embedding cosine, with fp32 for a format that ``auto`` may
use."""


class BackendChoice(msgspec.Struct, frozen=True):
    """A backend, a number format, and the reason in words."""

    backend: BackendName
    dtype: Dtype
    why: str


class BackendTrial(msgspec.Struct, frozen=True):
    """Measurement of one backend."""

    backend: BackendName
    dtype: Dtype
    ms_per_crop: float
    """CPU milliseconds per crop, over all threads."""
    rank_agreement: float
    """Spearman correlation of the scores with torch in fp32."""
    embedding_agreement: float
    """Minimum cosine with torch's embeddings in fp32."""

    def acceptable(self, card: ModelCard) -> bool:
        """Whether ``auto`` may use it for the model of ``card``."""
        exact = self.rank_agreement >= RANK_AGREEMENT and self.embedding_agreement >= EMBEDDING_AGREEMENT
        return exact and (card.bf16 or self.dtype != "bf16")


class Tuning(msgspec.Struct, frozen=True):
    """Measurements of one model on one machine."""

    machine: str
    trials: tuple[BackendTrial, ...]


def check_combination(on: str, dtype: str, backend: str) -> None:
    """Raise :class:`ConfigError` if device, number format and backend exclude each other."""
    if on == "cuda" and (backend == "openvino" or dtype == "int8"):
        raise ConfigError(
            "CUDA supports torch in fp32, bf16 or fp16, and ONNX Runtime in fp32: change scorer.backend or "
            "scorer.dtype"
        )
    if on == "cuda" and backend == "onnxruntime" and dtype not in ("auto", "fp32"):
        raise ConfigError("ONNX Runtime on CUDA runs in fp32: use fp32, or backend 'torch'")
    if on.startswith(OPENVINO) and (backend not in ("auto", "openvino") or dtype not in ("auto", "fp32")):
        raise ConfigError(
            f"device '{on}' supports the openvino backend in fp32: change scorer.backend or scorer.dtype"
        )
    if on == "cpu" and dtype == "fp16":
        raise ConfigError("fp16 needs a CUDA device: use fp32 or bf16 on the CPU")
    if dtype == "int8" and backend in ("torch", "openvino"):
        raise ConfigError("int8 runs in ONNX Runtime: use backend 'onnxruntime'")
    if dtype == "bf16" and backend == "onnxruntime":
        raise ConfigError("ONNX Runtime has no bf16 on the CPU: use fp32 or int8, or another backend")


def cache_folder() -> Path:
    """Folder for graphs, measurements and pulled models: ``$FACEGATE_CACHE``, or ``~/.cache/facegate``."""
    given = os.environ.get("FACEGATE_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "facegate"


def machine() -> str:
    """Return what a measurement depends on: processor and library versions."""
    model, flags = processor()
    digest = hashlib.sha256(" ".join(sorted(flags)).encode()).hexdigest()[:8]
    name = f"{model} {digest}" if flags else platform.processor() or platform.machine()
    return ", ".join([name, *(f"{each} {_version(each)}" for each in ("torch", "onnxruntime", "openvino"))])


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def graph_for(reading: ScoreReading, dtype: Dtype) -> bytes | Path:
    """Return the graph of a model with its settings: the shipped one, one from the cache, or one exported now.

    Raises:
        ConfigError: it has to be exported, and torch is not installed.
        ModelError: the weights do not fit their card, or cannot be exported to ONNX.
    """
    shipped = shipped_graph(reading) if dtype != "int8" else None
    if shipped is not None:
        return shipped
    card = reading.card
    exact = cache_folder() / "graphs" / f"{card.name}-{reading.key}.onnx"
    exact.parent.mkdir(parents=True, exist_ok=True)
    if not exact.is_file():
        require("torch", f"model '{card.name}' with these settings")
        from facegate.scoring.export import export_onnx

        export_onnx(reading.one_pass, card, card.name, exact)
    if dtype != "int8":
        return exact
    small = exact.with_suffix(".int8.onnx")
    if not small.is_file():
        require("torch", "scorer.dtype 'int8'")
        from facegate.scoring.export import quantize_onnx

        quantize_onnx(exact, small)
    return small


def measured_choice(card: ModelCard, dtype: str) -> BackendChoice | None:
    """Return the fastest measured backend that is exact enough, or ``None``."""
    tuning = _read(card.name)
    if tuning is None:
        return None
    fitting = [trial for trial in tuning.trials if trial.acceptable(card) and dtype in ("auto", trial.dtype)]
    if not fitting:
        return None
    best = min(fitting, key=lambda trial: trial.ms_per_crop)
    return BackendChoice(best.backend, best.dtype, f"the fastest of {len(tuning.trials)} measured on this machine")


def example_crops(count: int = 48) -> NDArray[np.uint8]:
    """Return synthetic crops to compare number formats on: ovals with eyes, differently lit and blurred.

    No photographs ship with the package; a spread of scores is all that is needed.
    """
    rng = np.random.default_rng(0)
    crops = np.empty((count, 112, 112, 3), dtype=np.uint8)
    for crop in crops:
        crop[:] = rng.integers(20, 200, 3)
        skin = tuple(int(v) for v in rng.integers(60, 240, 3))
        cv2.ellipse(crop, (56, 60), (int(rng.integers(30, 46)), int(rng.integers(40, 52))), 0, 0, 360, skin, -1)
        for x in (38, 74):
            cv2.circle(crop, (x, 51), int(rng.integers(3, 7)), tuple(int(v) for v in rng.integers(0, 90, 3)), -1)
        cv2.line(crop, (44, 92), (70, 92), (60, 30, 30), int(rng.integers(2, 6)))
        noisy = crop.astype(np.float32) * rng.uniform(0.2, 1.2) + rng.normal(0, rng.uniform(0, 25), crop.shape)
        crop[:] = cv2.GaussianBlur(np.clip(noisy, 0, 255).astype(np.uint8), (0, 0), float(rng.uniform(0.3, 4)))
    return crops


def tune(
    reading: ScoreReading, crops: NDArray[np.uint8], native_bf16: bool, show: Callable[[str], None]
) -> tuple[BackendTrial, ...]:
    """Measure every installed backend on ``crops``, save the result, and return it, fastest first."""
    from facegate.scoring.torch_backends import TorchCpu

    count, one_pass = threads(), reading.one_pass

    def graph(dtype: Dtype) -> bytes | Path:
        return graph_for(reading, dtype)

    makers: list[tuple[str, Callable[[], Backend]]] = [
        ("torch fp32", lambda: TorchCpu(one_pass, "fp32")),
        ("onnxruntime fp32", lambda: OnnxRuntime(graph("fp32"), "fp32", count)),
        ("onnxruntime int8", lambda: OnnxRuntime(graph("int8"), "int8", count)),
        ("openvino fp32", lambda: OpenVino(graph("fp32"), "fp32", count)),
    ]
    if native_bf16:
        makers.append(("openvino bf16", lambda: OpenVino(graph("fp32"), "bf16", count)))
        # Last: it leaves the network in bf16.
        makers.append(("torch bf16", lambda: TorchCpu(one_pass, "bf16")))
    reference: PassArrays | None = None
    trials = []
    for name, make in makers:
        show(name)
        try:
            backend = make()
        except ModelError as error:
            show(f"  skipped: {error}")
            continue
        batches = [crops[i : i + BATCH] for i in range(0, len(crops), BATCH)]
        found = _concatenated(backend.run(batches, True))
        reference = reference or found
        spent = []
        for _ in range(ROUNDS):
            started = process_time()
            backend.run(batches[:1], True)
            spent.append(process_time() - started)
        trials.append(
            BackendTrial(
                backend=backend.name,
                dtype=backend.dtype,
                ms_per_crop=1000 * median(spent) / len(batches[0]),
                rank_agreement=_spearman(reference.raw, found.raw),
                embedding_agreement=_min_cosine(reference, found),
            )
        )
    ordered = tuple(sorted(trials, key=lambda trial: trial.ms_per_crop))
    _write(reading.card.name, Tuning(machine=machine(), trials=ordered))
    return ordered


def _concatenated(parts: list[PassArrays]) -> PassArrays:
    embeddings = [part.embedding for part in parts if part.embedding is not None]
    return PassArrays(
        raw=np.concatenate([part.raw for part in parts]),
        patches=np.concatenate([part.patches for part in parts]),
        attention=np.concatenate([part.attention for part in parts]),
        embedding=np.concatenate(embeddings),
    )


def _spearman(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Correlation of ranks; scores of different crops are never equal."""
    return float(np.corrcoef(a.argsort().argsort(), b.argsort().argsort())[0, 1])


def _min_cosine(a: PassArrays, b: PassArrays) -> float:
    assert a.embedding is not None and b.embedding is not None
    lengths = np.linalg.norm(a.embedding, axis=1) * np.linalg.norm(b.embedding, axis=1)
    return float(((a.embedding * b.embedding).sum(1) / lengths).min())


def _file(model: str) -> Path:
    return cache_folder() / "tuning" / f"{hashlib.sha256((model + machine()).encode()).hexdigest()[:16]}.json"


def _read(model: str) -> Tuning | None:
    try:
        return msgspec.json.decode(_file(model).read_bytes(), type=Tuning)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _write(model: str, tuning: Tuning) -> None:
    path = _file(model)
    with os_errors(ModelError, f"cannot write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            part.write_bytes(msgspec.json.format(msgspec.json.encode(tuning), indent=2))
