"""The thresholds of the shipped recogniser cards: similarity and FNMR at an FMR on LFW folds 1-2, all against all.

python -m benchmarks.thresholds --data ../shared/data
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from facegate.detectors.base import load_detector
from facegate.evaluation.datasets import load_pairs, load_set
from facegate.evaluation.edc import compare_all, edc, similarity_at
from facegate.recognition.embedders import load_embedder
from facegate.scoring.choice import cache_folder

ROOT = Path(__file__).parent.parent
FOLDS = (1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    data: Path = parser.parse_args().data
    detector = load_detector("yunet", data / "models" / "yunet_n_640_640.onnx")
    faces = load_set(data / "faces" / "lfw-folds-1-4.zip", detector, cache_folder())
    pairs = load_pairs(data / "faces" / "lfw-pairs-folds-1-4.tsv")
    wanted = {file for pair in pairs if pair.fold in FOLDS for file in (pair.first, pair.second)}
    rows = [row for row, file in enumerate(faces.files) if file in wanted]
    names = [faces.names[row] for row in rows]
    print(f"{len(rows)} pictures of {len(set(names))} people")
    for name in ("mobilefacenet-y1.onnx", "mobilefacenet-casia.onnx", "dlib", "builtin"):
        embedder = load_embedder(str(data / "models" / name) if name.endswith(".onnx") else name)
        embeddings = np.concatenate([embedder.embed([faces.crops[row]]) for row in rows])
        comparisons = compare_all(embeddings, names)
        for fmr in (1e-3, 1e-4):
            fnmr = edc(comparisons, np.zeros(len(rows)), fmr).fnmr0
            similarity = similarity_at(comparisons, fmr)
            print(f"{embedder.name:22s} FMR {fmr:g}: similarity {similarity:.3f}, FNMR {fnmr:.3f}")


if __name__ == "__main__":
    main()
