"""Which groups a gate would drop more often than others, by what UTKFace's file names state (age, gender, race).

    python -m benchmarks.models.groups --pool pool112.zip

The labels are UTKFace's own. Without ``--kept-out`` the pictures were part of the model's training (without
labels): read differences, not levels.
"""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path

import cv2
import numpy as np

from facegate.scoring.engine import load_scorer
from facegate.training.pool import kept_out, labels


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--every", type=int, default=8)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--share", type=float, default=0.1, help="Of all faces, how many are dropped.")
    parser.add_argument("--kept-out", action="store_true", help="Only pictures that the trainer keeps out.")
    arguments = parser.parse_args()
    crops, groups = [], []
    with zipfile.ZipFile(arguments.pool) as archive:
        names = sorted(name for name in archive.namelist() if Path(name).parent.name == "utk")
        wanted = [name for name in names if kept_out(name)] if arguments.kept_out else names[:: arguments.every]
        for name in wanted:
            label = labels(name)
            if label is None:
                continue
            picture = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR)
            assert picture is not None, name
            crops.append(picture[:, :, ::-1])
            groups.append((f"{label.age} years", label.gender, label.race))
    scores = load_scorer(arguments.weights, device="cpu").score(np.stack(crops).astype(np.uint8), embedding=False)
    quality, least = scores.quality, np.quantile(scores.raw_score, arguments.share)
    dropped = scores.raw_score < least
    print(f"{len(crops)} faces, {100 * dropped.mean():.1f} % dropped, below quality {quality[~dropped].min()}")
    for column in range(3):
        for group in sorted({item[column] for item in groups}):
            rows = np.array([item[column] == group for item in groups])
            share, count = dropped[rows].mean(), int(rows.sum())
            around = 196 * np.sqrt(share * (1 - share) / count)
            about = f"{count} faces, median quality {np.median(quality[rows]):.0f}"
            print(f"  {group:14s} {100 * share:5.1f} % +- {around:.1f}   ({about})")


if __name__ == "__main__":
    main()
