"""Which blocks, aggregation, distance and alpha ViTNT-FIQA should read in a model.

Chosen on one half of LFW's folds, reported on the other, both ways round, clean and half degraded.

    python -m benchmarks.models.block_selection --data ../shared/data
    python -m benchmarks.models.block_selection --weights student.safetensors

A figure is the ratio of mean FNMR over 0-30 % discard to FNMR at 0 % (FMR 1e-3, mode ``schlett``), averaged over
two recognizers and over the clean and the degraded copy; lower is better, 1 is chance.
"""

from __future__ import annotations

import argparse
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from facegate.detectors.base import load_detector
from facegate.evaluation.datasets import load_pairs, load_set
from facegate.evaluation.degrade import degrade_half
from facegate.evaluation.edc import Comparisons, compare_all, edc
from facegate.recognition.embedders import load_embedder
from facegate.scoring.backend_selection import cache_folder
from facegate.scoring.engine import Scorer, load_scorer

ROOT = Path(__file__).parent.parent.parent
ALPHAS = (2.0, 4.0, 8.0, 16.0)
FMR = 1e-3


@torch.inference_mode()
def paths(scorer: Scorer, crops: NDArray[np.uint8]) -> tuple[torch.Tensor, torch.Tensor]:
    """Steps between consecutive blocks ``(L - 1, B, N)`` and attention received after each block ``(L, B, N)``."""
    network, steps, received = scorer.network, [], []
    for start in range(0, len(crops), 64):
        x = network.tokens(scorer.one_pass.normalized(torch.from_numpy(crops[start : start + 64])))
        units, shares = [], []
        for block in network.blocks:
            x, weights, _ = block(x, True, False)
            units.append(F.normalize(network.norm(x[:, network.prefix_tokens :]).float(), dim=-1))
            p = network.prefix_tokens
            shares.append(weights[:, :, p:, p:].float().mean(1).sum(1))
        steps.append(torch.stack([(b - a).norm(dim=-1) for a, b in pairwise(units)]))
        received.append(torch.stack(shares))
    return torch.cat(steps, 1), torch.cat(received, 1)


def score(
    steps: torch.Tensor,
    received: torch.Tensor,
    first: int,
    last: int,
    aggregation: str,
    distance: str,
    alpha: float,
) -> NDArray[np.float64]:
    """ViTNT-FIQA of blocks ``first`` to ``last``."""
    chosen = steps[first:last]
    moved = (chosen if distance == "euclidean" else chosen.square() / 2).mean(0)
    quality = 2 * torch.sigmoid(-alpha * moved)
    if aggregation == "uniform":
        return quality.mean(1).double().numpy()
    weights = received[last] if aggregation == "attention" else received[first : last + 1].mean(0)
    return ((quality * weights).sum(1) / weights.sum(1)).double().numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--weights", type=Path)
    arguments = parser.parse_args()
    data, cache = arguments.data, cache_folder()
    detector = load_detector("yunet", data / "models" / "yunet_n_640_640.onnx")
    faces = load_set(data / "faces" / "lfw-folds-1-4.zip", detector, cache)
    fold = {}
    for pair in load_pairs(data / "faces" / "lfw-pairs-folds-1-4.tsv"):
        fold[pair.first] = fold[pair.second] = pair.fold
    half = np.array([(fold[file] - 1) // 2 for file in faces.files])
    scorer = load_scorer(arguments.weights, quality="vitnt", device="cpu", backend="torch")
    judges = [load_embedder(str(data / "models" / f"mobilefacenet-{name}.onnx")) for name in ("y1", "casia")]
    views = {"clean": faces.crops, "degraded": degrade_half(faces.crops, 0)}
    comparisons: dict[tuple[int, str, str], Comparisons] = {}
    read = {}
    for view, crops in views.items():
        read[view] = paths(scorer, crops)
        for judge in judges:
            kept = cache / f"choose-{view}-{judge.name}.npy"
            if not kept.is_file():
                parts = [judge.embed(list(crops[i : i + 256])) for i in range(0, len(crops), 256)]
                np.save(kept, np.concatenate(parts))
            embeddings = np.load(kept)
            for which in (0, 1):
                rows = np.flatnonzero(half == which)
                names = [faces.names[row] for row in rows]
                comparisons[which, view, judge.name] = compare_all(embeddings[rows], names)
    depth = scorer.network.arch.depth
    results: dict[tuple[object, ...], list[list[float]]] = {}
    for first, last in ((a, b) for a in range(depth - 1) for b in range(a + 1, depth)):
        for aggregation, distance, alpha in product(
            ("uniform", "attention", "attention_mean"), ("euclidean", "cosine"), ALPHAS
        ):
            values = {v: score(*read[v], first, last, aggregation, distance, alpha) for v in views}
            results[f"{first}-{last}", aggregation, distance, alpha] = [
                [
                    edc(comparisons[which, view, judge.name], values[view][half == which], FMR).ratio
                    for view in views
                    for judge in judges
                ]
                for which in (0, 1)
            ]
    for which in (0, 1):
        order = sorted(results, key=lambda key: float(np.mean(results[key][which])))
        print(f"best on folds {2 * which + 1}-{2 * which + 2}; on the others: clean y1 casia, degraded y1 casia")
        for key in order[:5]:
            other = results[key][1 - which]
            print(
                f"  {' '.join(map(str, key)):44s} {np.mean(results[key][which]):.3f}   "
                f"{np.mean(other):.3f}: {' '.join(f'{value:.3f}' for value in other)}"
            )


if __name__ == "__main__":
    main()
