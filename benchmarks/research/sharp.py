"""10: sharp faces with low scores: what do they have in common, and how can they be noticed?

    python -m benchmarks.research.sharp [--picture sharp.png]

The fifty photographs of LFW folds 1-4 whose score lies furthest below what their sharpness and size promise
(ranks), beside all others: what can be seen of them, what the advice says, and whether recognition agrees with
the score.
"""

from __future__ import annotations

import argparse
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
from scipy.stats import rankdata

from benchmarks.research.common import begin, lfw, mated_similarity, mean_interval
from facegate.detectors.align import align
from facegate.detectors.base import load_detector
from facegate.pipeline.quality.advice import Advice
from facegate.pipeline.quality.components import Components
from facegate.pipeline.quality.explain import reasons
from facegate.scoring.engine import load_scorer

WORST = 50


def add_picture(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--picture", type=Path, help="Contact sheet of the fifty.")


def main() -> None:
    arguments = begin(__doc__, add_picture)
    photographs, scorer = lfw(arguments.data), load_scorer(device="cpu")
    finder = load_detector("yunet", arguments.data / "models" / "yunet_n_640_640.onnx")
    samples: list[tuple[str, Any, Components, Advice, int, Any, float, float]] = []
    names = {file: index for index, file in enumerate(photographs.faces.files)}
    with zipfile.ZipFile(arguments.data / "faces" / "lfw-folds-1-4.zip") as archive:
        for name in sorted(archive.namelist()):
            file = next((file for file in ("/".join(name.split("/")[-2:]), name) if file in names), None)
            if file is None:
                continue
            decoded: Any = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR)
            image = np.ascontiguousarray(decoded[:, :, ::-1])
            faces = finder.detect([image])[0]
            if not faces:
                continue
            face = max(faces, key=lambda each: each.width * each.height)
            crop = align(image, face.landmarks)
            scores = scorer.score(crop[None], embedding=False)
            quality, size = int(scores.quality[0]), (image.shape[1], image.shape[0])
            why = reasons(crop, face, size, scores.patches[0], quality, scorer.card.name)
            assert why.advice is not None
            gray = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
            sharp = float(cv2.Laplacian(gray, cv2.CV_64F).var())
            samples.append((file, crop, why.components, why.advice, quality, scores.patches[0], sharp, face.width))
    rank = np.array([each[4] for each in samples])
    promise = (rankdata([each[6] for each in samples]) + rankdata([each[7] for each in samples])) / 2
    worst = np.argsort(rankdata(rank) - promise)[:WORST]
    odd = np.zeros(len(samples), dtype=bool)
    odd[worst] = True
    print(
        f"{len(samples)} photographs; the {WORST}: quality {rank[odd].mean():.0f}, others {rank[~odd].mean():.0f}"
    )
    seen = np.array([msgspec.structs.astuple(each[2]) for each in samples], dtype=float)
    for column, field in enumerate(Components.__struct_fields__):
        a, b = (mean_interval(seen[which, column], arguments.seed) for which in (odd, ~odd))
        print(f"  {field:12} {a[0]:5.1f} ({a[1]:.1f} to {a[2]:.1f}), others {b[0]:5.1f} ({b[1]:.1f} to {b[2]:.1f})")
    for which, what in ((odd, "the fifty"), (~odd, "others")):
        said = Counter(samples[i][3].text for i in np.flatnonzero(which))
        print(f"  {what}: " + ", ".join(f"{text} {count / which.sum():.2f}" for text, count in said.most_common()))
    low = rank <= np.quantile(rank, 0.2)
    for judge in photographs.judges:
        mated = mated_similarity(photographs, judge)
        of = np.array([mated[names[each[0]]] for each in samples])
        groups = {"the fifty": odd, "others as low": low & ~odd, "all others": ~odd & ~low}
        told = {what: mean_interval(of[which & ~np.isnan(of)], arguments.seed) for what, which in groups.items()}
        print(
            f"  mated similarity by {judge}: "
            + ", ".join(f"{w} {v[0]:.3f} ({v[1]:.3f} to {v[2]:.3f})" for w, v in told.items())
        )
    if arguments.picture:
        tiles = [samples[i][1] for i in worst]
        rows = [np.hstack(tiles[start : start + 10]) for start in range(0, WORST, 10)]
        cv2.imwrite(str(arguments.picture), np.vstack(rows)[:, :, ::-1])


if __name__ == "__main__":
    main()
