"""8: beyond faces: does the signal follow degradation on pictures that show none?

    python -m benchmarks.research.beyond

Crops of 112 pixels from the photographs' surroundings, where no face is, and of the faces, both degraded in
seven kinds and eleven steps. For each kind the rank correlation of severity with the mean raw score (-1: falls
all the way), and how often a single picture's score falls when it is degraded (0.5 is chance), with intervals
by pictures.
"""

from __future__ import annotations

import zipfile
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.research.common import begin, mean_interval
from facegate.detectors.align import align
from facegate.detectors.base import load_detector
from facegate.evaluation.degrade import KINDS
from facegate.scoring.engine import load_scorer

PICTURES, STEPS = 100, 11


def pictures(data: Any, rng: np.random.Generator) -> dict[str, NDArray[np.uint8]]:
    """Faces, and corners of the same photographs in which no face is."""
    finder = load_detector("yunet", data / "models" / "yunet_n_640_640.onnx")
    found: dict[str, list[Any]] = {"faces": [], "surroundings": []}
    with zipfile.ZipFile(data / "faces" / "lfw-folds-1-4.zip") as archive:
        for name in rng.permutation([name for name in sorted(archive.namelist()) if name.endswith(".jpg")]):
            decoded: Any = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR)
            image = np.ascontiguousarray(decoded[:, :, ::-1])
            faces = finder.detect([image])[0]
            if len(faces) != 1:
                continue
            x1, y1, x2, y2 = faces[0].box
            corners = [(0, 0), (image.shape[1] - 80, 0), (0, image.shape[0] - 80), (170, 170)]
            free = [(x, y) for x, y in corners if x + 80 < x1 or x > x2 or y + 80 < y1 or y > y2]
            plain = [image[y : y + 80, x : x + 80] for x, y in free]
            rich = [part for part in plain if part.std() > 40]
            if not rich:
                continue
            found["faces"].append(align(image, faces[0].landmarks))
            found["surroundings"].append(cv2.resize(rich[0], (112, 112), interpolation=cv2.INTER_CUBIC))
            if len(found["faces"]) == PICTURES:
                break
    return {name: np.stack(crops).astype(np.uint8) for name, crops in found.items()}


def main() -> None:
    arguments = begin(__doc__)
    crops = pictures(arguments.data, np.random.default_rng(arguments.seed))
    scorers = {name: load_scorer(device="cpu", quality=name) for name in ("vitnt", "attention", "norm", "estimate")}
    severities = np.linspace(0, 1, STEPS)
    for what, each in crops.items():
        print(
            f"{len(each)} {what}: mean quality "
            + ", ".join(f"{n} {s.score(each).quality.mean():.0f}" for n, s in scorers.items())
        )
        for kind, degrade in KINDS.items():
            views = [
                np.stack(
                    [
                        degrade(crop, float(severity), np.random.default_rng(arguments.seed + i))
                        for i, crop in enumerate(each)
                    ]
                )
                for severity in severities
            ]
            told = []
            for name, scorer in scorers.items():
                raw = np.stack([scorer.score(view).raw_score for view in (each, *views)]).astype(np.float64)
                falls = mean_interval((raw[-1] < raw[0]).astype(np.float64), arguments.seed)
                follows = spearmanr(severities, raw[1:].mean(1)).statistic
                told.append(f"{name} {follows:+.2f}, falls in {falls[0]:.2f} ({falls[1]:.2f} to {falls[2]:.2f})")
            print(f"  {kind:12} " + "; ".join(told), flush=True)


if __name__ == "__main__":
    main()
