"""How fast the one pass is: ratios measured interleaved in one run, one thread, CPU time, medians.

    python -m benchmarks.scoring                      # ViT-B/24, batch 8, five rounds, every backend installed
    python -m benchmarks.scoring --card insightface-vit-s --batch 16 --json out.json
    python -m benchmarks.scoring --device cuda        # crops per second by batch size

Weights are random, of the published shapes. The oracle is the slow version kept in the tests: a score pass and an
embedding pass with explicit softmax and the formula patch by patch, fp32. The machine's own GEMM rate is measured
in the same rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter, process_time

import msgspec
import numpy as np
import torch
from torch import Tensor

from benchmarks.host_info import cpu
from facegate.cpu import limit_threads
from facegate.errors import ModelError
from facegate.scoring.backend_selection import graph_for
from facegate.scoring.backends import Backend, OnnxRuntime, OpenVino
from facegate.scoring.engine import Scorer, native_bf16
from facegate.scoring.families import Model, ModelCard, builtin_card
from facegate.scoring.network.architecture import Architecture, ScoreSettings
from facegate.scoring.network.vit import FaceViT
from facegate.scoring.score_reading import ScoreReading
from facegate.scoring.torch_backends import TorchCpu, TorchCuda
from tests.scoring.oracle import embedding_pass, score_pass

Job = Callable[[], object]


def flops(arch: Architecture) -> float:
    """Multiply-adds times two of one crop's full pass, embedding head included."""
    tokens, dim = arch.patches + arch.prefix_tokens, arch.embed_dim
    block = 2 * tokens * dim * dim * (4 + 2 * arch.mlp_ratio) + 4 * tokens * tokens * dim
    patch = 2 * arch.patches * 3 * arch.patch_size**2 * dim
    head = 2 * arch.patches * dim * dim if arch.head == "flatten" else 0
    return arch.depth * block + patch + head


def bare(network: FaceViT, images: Tensor) -> Tensor:
    """The network alone: fused attention, no score."""
    x = network.tokens(images)
    for block in network.blocks:
        x = block(x, False, False)[0]
    return network.embed(x)


def gemm(dtype: torch.dtype) -> tuple[Job, float]:
    """A matrix product of the network's usual size and its operations."""
    a, b = torch.randn(1568, 512).to(dtype), torch.randn(512, 1536).to(dtype)
    return lambda: [a @ b for _ in range(20)], 20 * 2.0 * 1568 * 512 * 1536


def random_reading(card: ModelCard, dtype: torch.dtype) -> ScoreReading:
    """A network of the card's shape with random weights that move its tokens about."""
    torch.manual_seed(0)
    network = FaceViT(card.architecture).eval()
    torch.nn.init.normal_(network.pos_embed, std=0.5)
    settings = ScoreSettings(blocks=card.blocks, alpha=card.alpha)
    made = network.to(dtype)
    return ScoreReading(Model(card, Path("random.pt"), "random", lambda: made), settings, "vitnt")


def interleaved(jobs: dict[str, Job], rounds: int) -> dict[str, list[float]]:
    """Processor seconds of each job in each round; a round before them warms up."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for round_ in range(rounds + 1):
        for name, job in jobs.items():
            start = process_time()
            job()
            if round_:
                times[name].append(process_time() - start)
    return times


@torch.inference_mode()
def measure(card_name: str, batch: int, rounds: int) -> dict[str, object]:
    """Return medians in seconds and the ratios."""
    limit_threads(1)
    card = builtin_card(card_name)
    reading = random_reading(card, torch.float32)
    exact = reading.one_pass
    crops = np.random.default_rng(0).integers(0, 256, (batch, 112, 112, 3)).astype(np.uint8)
    images = exact.normalized(torch.from_numpy(crops))

    def oracle() -> object:
        network = exact.network
        return score_pass(network, images, card.blocks, "attention", card.alpha), embedding_pass(network, images)

    def run(backend: Backend) -> Job:
        return lambda: backend.run([crops], True)

    gemm32, work = gemm(torch.float32)
    jobs: dict[str, Job] = {
        "oracle": oracle,
        "bare pass fp32": lambda: bare(exact.network, images),
        "scored pass fp32": lambda: exact.network(images, exact.settings),
        "torch fp32": run(TorchCpu(exact, "fp32")),
        "gemm fp32": gemm32,
        "onnxruntime fp32": run(OnnxRuntime(graph_for(reading, "fp32"), "fp32", 1)),
        "onnxruntime int8": run(OnnxRuntime(graph_for(reading, "int8"), "int8", 1)),
    }
    if native_bf16("cpu"):
        half = random_reading(card, torch.bfloat16).one_pass
        images16 = images.bfloat16()
        gemm16, _ = gemm(torch.bfloat16)
        jobs |= {
            "bare pass bf16": lambda: bare(half.network, images16),
            "scored pass bf16": lambda: half.network(images16, half.settings),
            "torch bf16": run(TorchCpu(half, "bf16")),
            "gemm bf16": gemm16,
        }
    try:
        jobs["openvino fp32"] = run(OpenVino(graph_for(reading, "fp32"), "fp32", 1))
        if native_bf16("cpu"):
            jobs["openvino bf16"] = run(OpenVino(graph_for(reading, "fp32"), "bf16", 1))
    except ModelError as error:
        print(error, file=sys.stderr)
    times = interleaved(jobs, rounds)
    median = {name: statistics.median(values) for name, values in times.items()}
    total = batch * flops(card.architecture)
    passes = [name for name in median if name.split()[0] in ("torch", "onnxruntime", "openvino")]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu(),
        "torch": torch.__version__,
        "card": card_name,
        "batch": batch,
        "rounds": rounds,
        "median_s": median,
        "times_oracle": {name: median["oracle"] / median[name] for name in passes},
        "gflops": {name: total / median[name] / 1e9 for name in passes},
        "gemm_gflops": {name: work / median[name] / 1e9 for name in median if name.startswith("gemm")},
        # Round by round: a machine that slows down for a moment does it to both.
        "scoring_adds": {
            name: statistics.median(
                scored / plain - 1
                for scored, plain in zip(times[f"scored pass {name}"], times[f"bare pass {name}"], strict=True)
            )
            for name in ("fp32", "bf16")
            if f"scored pass {name}" in times
        },
    }


def measure_cuda(card_name: str, rounds: int) -> dict[str, object]:
    """Crops per second on a CUDA device, by format and batch size, host to host."""
    card = builtin_card(card_name)
    rates: dict[str, float] = {}
    for dtype in ("bf16", "fp16"):
        reading = random_reading(msgspec.structs.replace(card, name="random"), torch.float32)
        scorer = Scorer(reading, TorchCuda(reading.one_pass, dtype))
        for count in (1, 8, 32, 256):
            crops = np.random.default_rng(0).integers(0, 256, (count, 112, 112, 3)).astype(np.uint8)
            spent = []
            for round_ in range(rounds + 2):
                start = perf_counter()
                scorer.score(crops)
                if round_ >= 2:
                    spent.append(perf_counter() - start)
            rates[f"{dtype}, {count} crops"] = count / statistics.median(spent)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": torch.cuda.get_device_name(),
        "card": card_name,
        "crops_per_s": rates,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--card", default="cvlface-vit-base")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.device == "cuda":
        if not torch.cuda.is_available():
            sys.exit("no CUDA device")
        result = measure_cuda(arguments.card, arguments.rounds)
    else:
        result = measure(arguments.card, arguments.batch, arguments.rounds)
    for key, value in result.items():
        if isinstance(value, dict):
            print(key)
            for name, number in value.items():
                print(f"  {name:36s} {number:10.3f}")
        else:
            print(f"{key:12s} {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
