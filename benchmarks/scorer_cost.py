"""What one crop costs in the shipped model, as a share of ViT-B/24: CPU time, one thread, interleaved, medians.

python -m benchmarks.scorer_cost
python -m benchmarks.scorer_cost --recognizer mobilefacenet-y1.onnx    # both shipped models beside a recognizer
python -m benchmarks.scorer_cost --weights new.safetensors               # another model beside the shipped one
python -m benchmarks.scorer_cost --agreement pool112.zip                # bf16 and int8 against fp32, on faces
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.host_info import cpu
from benchmarks.scoring import Job, interleaved, random_reading
from facegate.cpu import limit_threads
from facegate.evaluation.degrade import degrade_half
from facegate.scoring.backend_selection import cache_folder
from facegate.scoring.backends import CROPS, BackendName, Dtype
from facegate.scoring.engine import load_scorer, native_bf16
from facegate.scoring.export import export_onnx, quantize_onnx
from facegate.scoring.families import builtin_card
from facegate.scoring.torch_backends import TorchCpu
from facegate.training.pool import load_pool


def one_by_one(graph: onnxruntime.InferenceSession, crops: NDArray[np.uint8]) -> None:
    for row in range(len(crops)):
        graph.run(None, {CROPS: crops[row : row + 1]})


def beside_a_recognizer(path: Path, crops: NDArray[np.uint8], rounds: int) -> None:
    """Print what a crop costs in the shipped model (score and embedding) and in a recognizer."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    jobs: dict[str, Job] = {}
    with TemporaryDirectory() as folder:
        scorer = load_scorer(device="cpu", dtype="fp32", backend="torch")
        file = Path(folder) / f"{scorer.card.name}.onnx"
        export_onnx(scorer.one_pass, scorer.card, scorer.algorithm, file)
        small = file.with_suffix(".int8.onnx")
        quantize_onnx(file, small)
        graph, coarse = (onnxruntime.InferenceSession(str(path), options) for path in (file, small))
        jobs[f"{scorer.card.name}, torch"] = partial(scorer.score, crops)
        jobs[f"{scorer.card.name}, ONNX Runtime"] = partial(graph.run, None, {graph.get_inputs()[0].name: crops})
        jobs[f"{scorer.card.name}, ONNX Runtime, int8, one by one"] = partial(one_by_one, coarse, crops)
    judge = onnxruntime.InferenceSession(str(path), options)
    planes = np.ascontiguousarray(crops[..., ::-1].transpose(0, 3, 1, 2), np.float32)
    jobs[f"{path.stem}, ONNX Runtime"] = partial(judge.run, None, {judge.get_inputs()[0].name: planes})
    print(cpu(), f"fp32, batch {len(crops)}", sep="; ")
    for name, times in interleaved(jobs, rounds).items():
        print(f"{name:52s} {1000 * statistics.median(times) / len(crops):8.2f} ms per crop")


def beside_the_shipped(weights: Path, crops: NDArray[np.uint8], rounds: int) -> None:
    """Print what a crop costs (quality and embedding) in two models, in each format of this processor."""
    jobs: dict[str, Job] = {}
    formats: list[tuple[BackendName, Dtype]] = [
        ("onnxruntime", "fp32"),
        ("openvino", "fp32"),
        ("onnxruntime", "int8"),
    ]
    if native_bf16("cpu"):
        formats.append(("openvino", "bf16"))
    for name, path in (("shipped", None), (weights.stem, weights)):
        for backend, dtype in formats:
            scorer = load_scorer(path, device="cpu", dtype=dtype, backend=backend)
            jobs[f"{name}, {backend} {dtype}"] = partial(scorer.score, crops)
    medians = {name: statistics.median(times) for name, times in interleaved(jobs, rounds).items()}
    print(cpu(), f"batch {len(crops)}", sep="; ")
    for name, seconds in medians.items():
        format_ = name.split(", ")[1]
        share = seconds / medians[f"shipped, {format_}"], seconds / medians["shipped, onnxruntime fp32"]
        print(
            f"{name:48s} {1000 * seconds / len(crops):6.2f} ms per crop, {share[0]:.2f} of the shipped model here,"
            f" {share[1]:.2f} of it in ONNX Runtime fp32"
        )


def agreement(pool: Path, weights: Path | None, count: int = 512) -> None:
    """Print how far other number formats of a model agree with fp32 on faces, half of them degraded."""
    faces = load_pool(pool, cache_folder() / f"{pool.stem}.npy").crops
    crops = degrade_half(np.array(faces[:: len(faces) // count][:count]), 7)
    exact = load_scorer(weights, device="cpu", dtype="fp32", backend="torch").score(crops)
    print(cpu(), f"{count} crops of {pool.name}", sep="; ")
    formats: tuple[tuple[BackendName, Dtype], ...] = (
        ("torch", "bf16"),
        ("openvino", "bf16"),
        ("onnxruntime", "fp32"),
        ("onnxruntime", "int8"),
    )
    for backend, dtype in formats:
        found = load_scorer(weights, device="cpu", dtype=dtype, backend=backend).score(crops)
        assert found.embedding is not None and exact.embedding is not None
        assert found.norm is not None and exact.norm is not None
        cosines = (found.embedding * exact.embedding).sum(1) / (found.norm * exact.norm)
        rank = spearmanr(found.raw_score, exact.raw_score).statistic
        points = np.abs(found.quality.astype(int) - exact.quality).max()
        print(
            f"{backend:12s} {dtype}: Spearman {rank:.5f}, least cosine {cosines.min():.4f}, "
            f"quality off by at most {points}"
        )


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--recognizer", type=Path, help="An ONNX file of one 3x112x112 input, run in ONNX Runtime.")
    parser.add_argument("--agreement", type=Path, metavar="POOL", help="A zip of aligned crops.")
    parser.add_argument("--weights", type=Path, help="Another model, beside the shipped one or in its place.")
    arguments = parser.parse_args()
    limit_threads(1)
    crops = np.random.default_rng(0).integers(0, 256, (arguments.batch, 112, 112, 3)).astype(np.uint8)
    if arguments.agreement is not None:
        agreement(arguments.agreement, arguments.weights)
        return
    if arguments.weights is not None:
        beside_the_shipped(arguments.weights, crops, arguments.rounds)
        return
    if arguments.recognizer is not None:
        beside_a_recognizer(arguments.recognizer, crops, arguments.rounds)
        return
    large = TorchCpu(random_reading(builtin_card("cvlface-vit-base"), torch.float32).one_pass, "fp32")
    jobs: dict[str, Job] = {"ViT-B/24, score and embedding": lambda: large.run([crops], True)}
    scorers = {}
    for quality in ("estimate", "vitnt"):
        scorers[quality] = load_scorer(quality=quality, device="cpu", dtype="fp32", backend="torch")
    jobs["ours, score (estimate)"] = lambda: scorers["estimate"].score(crops, embedding=False)
    jobs["ours, score (ViTNT-FIQA)"] = lambda: scorers["vitnt"].score(crops, embedding=False)
    jobs["ours, score and embedding"] = lambda: scorers["estimate"].score(crops)
    median = {name: statistics.median(times) for name, times in interleaved(jobs, arguments.rounds).items()}
    print(cpu(), f"fp32, batch {arguments.batch}", sep="; ")
    whole = median["ViT-B/24, score and embedding"]
    for name, seconds in median.items():
        print(f"{name:32s} {1000 * seconds / arguments.batch:8.2f} ms per crop   {seconds / whole:.3f} of ViT-B/24")


if __name__ == "__main__":
    main()
