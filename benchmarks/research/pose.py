"""1: pose, expression, light: where does the score stop following recognition?

    python -m benchmarks.research.pose

Photographs of LFW's people who have others, turned (a cylinder with a nose), relit and smiled at by nothing but
their own nature. Scripted: 200 faces at each step; quality, and the similarity to the person's other pictures,
both as the share that is left of what it was (a score that follows falls as similarity does). Natural: within
bins of pose, light and the width of the mouth, the rank correlation of quality with mated similarity.
"""

from __future__ import annotations

import itertools
import zipfile
from typing import Any

import cv2
import numpy as np

from benchmarks.research.common import Array, begin, lfw, mated_similarity, mean_interval, spearman
from facegate.detectors.align import align
from facegate.detectors.base import load_detector
from facegate.detectors.pose import pose
from facegate.evaluation.research.defects import seen_from
from facegate.pipeline.quality.components import measure
from facegate.pipeline.records import Detection, Image, contiguous
from facegate.scoring.engine import load_scorer

FACES = 200


def lit(image: Image, gain: float) -> Image:
    return contiguous(np.clip(image.astype(np.float32) * gain, 0, 255))


def from_the_left(image: Image, much: float) -> Image:
    """Light falls off to the right."""
    fall = np.linspace(1 + 0.3 * much, 1 - 0.95 * much, image.shape[1], dtype=np.float32)[None, :, None]
    return contiguous(np.clip(image.astype(np.float32) * fall, 0, 255))


def main() -> None:
    arguments = begin(__doc__)
    photographs = lfw(arguments.data)
    names = photographs.faces.names
    scorer = load_scorer(device="cpu")
    judge = photographs.judges["y1"]
    mated = mated_similarity(photographs, "y1")
    finder = load_detector("yunet", arguments.data / "models" / "yunet_n_640_640.onnx")
    quality = scorer.score(photographs.faces.crops, embedding=False).rank
    rng = np.random.default_rng(arguments.seed)
    seen: list[tuple[int, Image, Detection]] = []
    with zipfile.ZipFile(arguments.data / "faces" / "lfw-folds-1-4.zip") as archive:
        files = {name.split("/", 1)[-1] if name.count("/") > 1 else name: name for name in archive.namelist()}
        for index in rng.permutation(np.flatnonzero(~np.isnan(mated))):
            name = files.get(photographs.faces.files[index], photographs.faces.files[index])
            decoded: Any = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR)
            image = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
            found = finder.detect([image])[0]
            if found:
                seen.append((int(index), image, max(found, key=lambda face: face.width * face.height)))
    people = np.unique(names, return_inverse=True)[1]
    units = judge.units

    def left(changed: list[tuple[int, Image]]) -> tuple[Array, Array]:
        """Of quality and of similarity to the person's other pictures, what is left."""
        crops = np.stack([crop for _, crop in changed])
        now, embedded = scorer.score(crops, embedding=False).rank, judge.embedder.embed(list(crops))
        indices = np.array([index for index, _ in changed])
        similar = []
        for index, unit in zip(indices, embedded, strict=True):
            others = (people == people[index]) & (np.arange(len(people)) != index)
            similar.append(float((units[others] @ unit).mean()))
        return now - quality[indices], np.array(similar) - mated[indices]

    scripted: dict[str, dict[float, Any]] = {
        "yaw, degrees": {
            d: lambda i, f, d=d: seen_from(i, f.landmarks, np.radians(d)) for d in (10, 20, 30, 40, 50)
        },
        "light, times": {g: lambda i, f, g=g: lit(i, g) for g in (0.5, 0.25, 0.12, 0.06, 1.6, 2.2, 3.0)},
        "light from one side": {m: lambda i, f, m=m: from_the_left(i, m) for m in (0.25, 0.5, 0.75, 1.0)},
    }
    print("change of quality (points) and of mated similarity (y1), mean and 95 % interval")
    for what, steps in scripted.items():
        for step, change in steps.items():
            changed = [(i, align(change(image, face), face.landmarks)) for i, image, face in seen[:FACES]]
            fall, less = left(changed)
            told = spearman(fall, less, arguments.seed)
            q, s = mean_interval(fall), mean_interval(less)
            print(
                f"  {what:20} {step:5g}: quality {q[0]:+6.1f} ({q[1]:+.1f} to {q[2]:+.1f}), similarity {s[0]:+.3f} "
                f"({s[1]:+.3f} to {s[2]:+.3f}); within this step they go together {told[0]:+.2f} "
                f"({told[1]:+.2f} to {told[2]:+.2f})",
                flush=True,
            )
    rows = np.array([index for index, _, _ in seen])
    measured = [
        measure(align(image, face.landmarks), face, (image.shape[1], image.shape[0])) for _, image, face in seen
    ]
    mouth = np.array(
        [
            float(
                np.hypot(*(f.landmarks[4] - f.landmarks[3])) / max(np.hypot(*(f.landmarks[1] - f.landmarks[0])), 1)
            )
            for _, _, f in seen
        ]
    )
    natural = {
        "|yaw|": np.array([abs(pose(face)[0]) for _, _, face in seen]),
        "pitch": np.array([pose(face)[1] for _, _, face in seen]),
        "lightness": np.array([each.lightness for each in measured]),
        "light from one side": np.array([each.sides for each in measured]),
        "width of the mouth over the eyes' (smile)": mouth,
    }
    print("as photographed: quartiles; mean quality, mean similarity, and how they go together within")
    for what, values in natural.items():
        edges = np.quantile(values, (0, 0.25, 0.5, 0.75, 1.0))
        for low, high in itertools.pairwise(edges):
            inside = (values >= low) & (values <= high)
            told = spearman(quality[rows[inside]], mated[rows[inside]], arguments.seed)
            print(
                f"  {what:42} {low:7.2f} to {high:7.2f}: quality {quality[rows[inside]].mean():5.1f}, similarity "
                f"{mated[rows[inside]].mean():.3f}, {told[0]:+.2f} ({told[1]:+.2f} to {told[2]:+.2f})"
            )


if __name__ == "__main__":
    main()
