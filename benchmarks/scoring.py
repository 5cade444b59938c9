"""How fast the one pass is: ratios measured interleaved in one run, one thread, CPU time, medians.

    python benchmarks/scoring.py                      # ViT-B/24, batch 8, seven rounds
    python benchmarks/scoring.py --card dinov2-vits14 --batch 16 --json scoring.json

Weights are random, of the published shapes. The oracle is the slow version kept in the tests: a score pass and an
embedding pass with explicit softmax, fp32. The machine's own GEMM rate is measured in the same rounds.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from time import process_time

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent))

from facegate.scoring.families import builtin_card
from facegate.scoring.vit import Architecture, FaceViT
from tests.scoring.oracle import embedding_pass, score_pass

FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")


def cpu() -> str:
    """Processor name and the flags that matter."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    flags = next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), [])
    return f"{name} ({' '.join(flag for flag in FLAGS if flag in flags)})"


def flops(arch: Architecture) -> float:
    """Multiply-adds times two of one crop's full pass, embedding head included."""
    tokens, dim = arch.patches + int(arch.class_token), arch.embed_dim
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


def gemm(dtype: torch.dtype) -> tuple[Callable[[], object], float]:
    """A matrix product of the network's usual size and its operations."""
    a, b = torch.randn(1568, 512).to(dtype), torch.randn(512, 1536).to(dtype)
    return lambda: [a @ b for _ in range(20)], 20 * 2.0 * 1568 * 512 * 1536


@torch.inference_mode()
def measure(card_name: str, batch: int, rounds: int) -> dict[str, object]:
    """Return medians in seconds and the ratios."""
    torch.set_num_threads(1)
    card = builtin_card(card_name)
    torch.manual_seed(0)
    exact = FaceViT(card.architecture).eval()
    half = FaceViT(card.architecture).eval()
    half.load_state_dict(exact.state_dict())
    half.bfloat16()
    images = torch.randn(batch, 3, 112, 112)
    images16 = images.bfloat16()
    blocks, alpha = card.blocks, card.alpha
    gemm32, work = gemm(torch.float32)
    gemm16, _ = gemm(torch.bfloat16)
    jobs: dict[str, Callable[[], object]] = {
        "oracle fp32 (score pass + embedding pass)": lambda: (
            score_pass(exact, images, blocks, "attention", alpha),
            embedding_pass(exact, images),
        ),
        "bare pass fp32": lambda: bare(exact, images),
        "one pass fp32": lambda: exact(images, blocks, "attention", alpha, True),
        "bare pass bf16": lambda: bare(half, images16),
        "one pass bf16": lambda: half(images16, blocks, "attention", alpha, True),
        "score alone fp32": lambda: exact(images, blocks, "attention", alpha, False),
        "gemm fp32": gemm32,
        "gemm bf16": gemm16,
    }
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for round_ in range(rounds + 1):
        for name, job in jobs.items():
            start = process_time()
            job()
            if round_:  # the first round warms up
                times[name].append(process_time() - start)
    median = {name: statistics.median(values) for name, values in times.items()}
    oracle = median["oracle fp32 (score pass + embedding pass)"]
    total = batch * flops(card.architecture)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu(),
        "torch": torch.__version__,
        "card": card_name,
        "batch": batch,
        "rounds": rounds,
        "median_s": median,
        "fp32_times_oracle": oracle / median["one pass fp32"],
        "bf16_times_oracle": oracle / median["one pass bf16"],
        "scoring_adds_fp32": median["one pass fp32"] / median["bare pass fp32"] - 1,
        "scoring_adds_bf16": median["one pass bf16"] / median["bare pass bf16"] - 1,
        "gflops_fp32": total / median["one pass fp32"] / 1e9,
        "gflops_bf16": total / median["one pass bf16"] / 1e9,
        "gemm_gflops_fp32": work / median["gemm fp32"] / 1e9,
        "gemm_gflops_bf16": work / median["gemm bf16"] / 1e9,
        "share_of_gemm_fp32": (total / median["one pass fp32"]) / (work / median["gemm fp32"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--card", default="cvlface-vit-base")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    result = measure(arguments.card, arguments.batch, arguments.rounds)
    for key, value in result.items():
        if isinstance(value, dict):
            for name, seconds in value.items():
                print(f"  {name:45s} {1000 * seconds:9.1f} ms")
        else:
            print(f"{key:22s} {value:.3f}" if isinstance(value, float) else f"{key:22s} {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
