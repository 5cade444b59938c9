"""What thread settings cost beside a busy process: wall time of one pass, torch's defaults against facegate's.

    python -m benchmarks.threads

Each setting runs in a process of its own, because OpenMP reads its policy when it is loaded. The processes take
turns, alone and beside as many busy loops as there are cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from time import perf_counter

from benchmarks.host_info import cpu

SETTINGS = ("torch defaults", "facegate")
PASSES = 15
BATCH = 8


def child(setting: str) -> None:
    """Print the median wall time of one pass in milliseconds."""
    from facegate.cpu import set_wait_policy, share_cores

    if setting == "facegate":
        set_wait_policy()
    import numpy as np
    import torch

    from facegate.scoring.engine import load_scorer

    if setting == "facegate":
        share_cores()
    scorer = load_scorer(device="cpu", dtype="fp32", backend="torch")
    crops = np.random.default_rng(0).integers(0, 256, (BATCH, 112, 112, 3)).astype(np.uint8)
    scorer.score(crops)
    times = []
    for _ in range(PASSES):
        start = perf_counter()
        scorer.score(crops)
        times.append(1000 * (perf_counter() - start))
    print(json.dumps({"median_ms": statistics.median(times), "threads": torch.get_num_threads()}))


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Median over rounds for every setting, alone and beside the neighbor."""
    found: dict[str, dict[str, list[float]]] = {s: {"alone": [], "beside a busy process": []} for s in SETTINGS}
    for _ in range(rounds):
        for setting in SETTINGS:
            for where, values in found[setting].items():
                count = 0 if where == "alone" else os.cpu_count() or 1
                busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
                try:
                    command = [sys.executable, "-m", "benchmarks.threads", "--child", setting]
                    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                finally:
                    for process in busy:
                        process.kill()
                        process.wait()
                values.append(json.loads(out)["median_ms"])
    return {setting: {w: statistics.median(v) for w, v in places.items()} for setting, places in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", choices=SETTINGS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child)
        return
    print(cpu())
    for setting, places in measure(arguments.rounds).items():
        print(f"{setting:16s}", "  ".join(f"{where}: {ms:7.1f} ms" for where, ms in places.items()))


if __name__ == "__main__":
    main()
