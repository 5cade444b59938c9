"""6: what does it cost on a small machine? Milliseconds, memory and energy on one core, streaming.

    python -m benchmarks.research.machines

One crop after another, as a stream sends them, and batches of eight; random weights of the published shapes,
the shipped model's own; each in a process of its own, pinned to one core. Energy is read from RAPL where the
system has it. Medians of rounds, with the range between the 10th and the 90th percentile.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import numpy as np

CASES = (
    *((model, backend, dtype) for model in ("facegate-mobile-s",) for backend, dtype in (
        ("onnxruntime", "fp32"), ("onnxruntime", "int8"), ("openvino", "fp32"), ("torch", "fp32"))),
    *((model, backend, dtype) for model in ("cvlface-vit-small", "cvlface-vit-base") for backend, dtype in (
        ("onnxruntime", "fp32"), ("onnxruntime", "int8"), ("openvino", "fp32"))),
)  # fmt: skip
RAPL = Path("/sys/class/powercap/intel-rapl:0/energy_uj")


def joules() -> float | None:
    try:
        return int(RAPL.read_text()) / 1e6
    except OSError:
        return None


def one(model: str, backend: str, dtype: str, seed: int) -> None:
    """Measure one case in this process; prints JSON."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    # Nothing is imported that a gate does not need: torch alone takes more memory than the shipped model.
    from facegate.cpu import limit_threads
    from facegate.scoring.engine import Scorer, load_scorer

    limit_threads(1)
    if model == "facegate-mobile-s":
        scorer = load_scorer(device="cpu", backend=backend, dtype=dtype)  # type: ignore[arg-type]
    else:
        import torch

        from benchmarks.scoring import random_reading
        from facegate.scoring.backend_selection import graph_for
        from facegate.scoring.backends import OnnxRuntime, OpenVino
        from facegate.scoring.families import builtin_card

        reading = random_reading(builtin_card(model), torch.float32)
        make = OnnxRuntime if backend == "onnxruntime" else OpenVino
        scorer = Scorer(reading, make(graph_for(reading, dtype), dtype, 1))  # type: ignore[arg-type]
    rng = np.random.default_rng(seed)
    found: dict[str, object] = {}
    for count in (1, 8):
        crops = rng.integers(0, 256, (count, 112, 112, 3)).astype(np.uint8)
        spent: list[float] = []
        before = joules()
        while len(spent) < 7 or (sum(spent) < 4 and len(spent) < 60):
            start = perf_counter()
            scorer.score(crops)
            spent.append(perf_counter() - start)
        after = joules()
        low, middle, high = np.percentile(np.array(spent[2:]) / count * 1000, [10, 50, 90])
        found[f"batch {count}"] = [round(float(v), 2) for v in (middle, low, high)]
        if before is not None and after is not None:
            found[f"joules, batch {count}"] = round((after - before) / len(spent) / count, 4)
    # Not getrusage: its peak is the parent's, too, from which this process was forked.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    found["peak MiB"] = round(int(status["VmHWM"].split()[0]) / 1024)
    print(json.dumps(found))


def main() -> None:
    if "--case" in sys.argv:
        at = sys.argv.index("--case")
        model, backend, dtype = sys.argv[at + 1 : at + 4]
        one(model, backend, dtype, 0)
        return
    from benchmarks.research.common import begin

    begin(__doc__)
    print("energy: RAPL" if joules() is not None else "energy: this system shows none (no RAPL)")
    for case in CASES:
        # Graphs are made first, by a process that is not measured.
        command = [sys.executable, "-m", "benchmarks.research.machines", "--case", *case]
        subprocess.run(command, capture_output=True, check=True)
        done = subprocess.run(command, capture_output=True, check=True, text=True)
        print(f"  {case[0]:20} {case[1]:12} {case[2]:5}", done.stdout.strip().splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
