"""What one crop costs in the shipped model, as a share of ViT-B/24: CPU time, one thread, interleaved, medians.

python -m benchmarks.cost
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np
import torch

from benchmarks.machine import cpu
from benchmarks.scoring import Job, interleaved, random_pass
from facegate.scoring.backends import TorchCpu
from facegate.scoring.engine import load_scorer
from facegate.scoring.families import builtin_card


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    crops = np.random.default_rng(0).integers(0, 256, (arguments.batch, 112, 112, 3)).astype(np.uint8)
    large = TorchCpu(random_pass(builtin_card("cvlface-vit-base"), torch.float32), "fp32")
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
