"""What a switch to gray (infrared light at night) does to quality, similarity and naming.

    python -m benchmarks.research.night

Photographs of LFW's people who have others, as they are and as an infrared camera shows them: red and what lies
beyond count most, skin becomes bright and even (gamma 0.7), and the sensor adds noise (standard deviation in gray
levels) before the picture is coded (JPEG 60). Compared with the person's other photographs, which are in color.
"""

from __future__ import annotations

import cv2
import numpy as np

from benchmarks.research.common import begin, lfw, mean_interval
from facegate.pipeline.quality.grayscale import is_gray
from facegate.pipeline.records import Image
from facegate.scoring.engine import load_scorer

FACES = 400
KINDS = {
    "gray (luma)": ((0.299, 0.587, 0.114), 1.0, 0.0),
    "infrared": ((0.75, 0.2, 0.05), 0.7, 0.0),
    "infrared, noise 6": ((0.75, 0.2, 0.05), 0.7, 6.0),
    "infrared, noise 12": ((0.75, 0.2, 0.05), 0.7, 12.0),
    "infrared, noise 20": ((0.75, 0.2, 0.05), 0.7, 20.0),
}


def seen_at_night(
    crop: Image, weights: tuple[float, float, float], gamma: float, noise: float, rng: np.random.Generator
) -> Image:
    """Return a gray copy of a crop ``(112, 112, 3)``."""
    gray = 255 * (crop.astype(np.float32) @ np.array(weights, np.float32) / 255) ** gamma
    noisy = np.clip(gray + rng.normal(0, noise, gray.shape), 0, 255).astype(np.uint8)
    coded = cv2.imdecode(cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_GRAYSCALE)
    image: Image = np.repeat(np.asarray(coded, np.uint8)[..., None], 3, axis=2)
    return image


def main() -> None:
    arguments = begin(__doc__)
    photographs = lfw(arguments.data)
    faces = photographs.faces
    scorer = load_scorer(device="cpu")
    rng = np.random.default_rng(arguments.seed)
    people, counts = np.unique(faces.names, return_counts=True)
    several = np.flatnonzero(np.isin(faces.names, people[counts > 1]))
    chosen = rng.permutation(several)[:FACES]
    quality = scorer.score(faces.crops[chosen], embedding=False).quality
    print(f"{len(chosen)} photographs; called gray in color: {sum(map(is_gray, faces.crops[chosen]))}")
    print(f"  {'color':20} quality {np.mean(quality):5.1f}, 5 % below {np.quantile(quality, 0.05):.0f}")
    for kind, settings in KINDS.items():
        crops = np.stack([seen_at_night(crop, *settings, rng) for crop in faces.crops[chosen]])
        now = scorer.score(crops, embedding=False).quality
        change = mean_interval(now.astype(np.float64) - quality)
        line = f"  {kind:20} quality {np.mean(now):5.1f} ({change[1]:+.1f} to {change[2]:+.1f}), 5 % below "
        line += f"{np.quantile(now, 0.05):.0f}, called gray {np.mean([is_gray(crop) for crop in crops]):.3f}"
        for name, (embedder, units) in {k: (v.embedder, v.units) for k, v in photographs.judges.items()}.items():
            before = [_similarity(units, faces.names, index, units[index]) for index in chosen]
            after = [
                _similarity(units, faces.names, index, unit)
                for index, unit in zip(chosen, embedder.embed(list(crops)), strict=True)
            ]
            right = [np.mean([own > others for own, others in rows]) for rows in (before, after)]
            like = [np.mean([own for own, _ in rows]) for rows in (before, after)]
            line += f"; {name} similarity {like[0]:.3f} to {like[1]:.3f}, "
            line += f"nearest is right {right[0]:.3f} to {right[1]:.3f}"
        print(line, flush=True)


def _similarity(units: np.ndarray, names: list[str], index: int, unit: np.ndarray) -> tuple[float, float]:
    """Highest similarity to the person's other photographs, and to those of others."""
    similar = units @ unit
    own = (np.asarray(names) == names[index]) & (np.arange(len(units)) != index)
    return float(similar[own].max()), float(similar[np.asarray(names) != names[index]].max())


if __name__ == "__main__":
    main()
