"""Which of several models orders faces better: four copies of LFW, four recognizers as judges, paired over people.

    python -m benchmarks.models.judging --data ../shared/data --weights new.safetensors
    python -m benchmarks.models.judging --data ../shared/data --judges  # the recognizers alone

Models are the one that ships and those given; LightQNet is beside them. A figure is the ratio of mean FNMR over
0-30 % discard to FNMR at 0 % (FMR 1e-3, mode ``schlett``); lower is better, 1 is chance. Differences are paired
over resampled people: "better" or "worse" where the 95 % interval is clear of zero, else "level". A judge
marked * taught the model, so that its word counts less. Verification is of each model's own embedding.

What the recognizers say is kept in the cache folder: the first run takes a quarter of an hour, another one minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from facegate.detectors.base import load_detector
from facegate.evaluation.cameras import encode_h264
from facegate.evaluation.datasets import FaceSet, load_pairs, load_set, verification_accuracy
from facegate.evaluation.degrade import degrade_half
from facegate.evaluation.edc import Comparisons, bootstrap, compare_all, edc
from facegate.evaluation.methods.others import LightQNetQuality
from facegate.pipeline.records import Image, contiguous
from facegate.recognition.embedders import load_embedder, unit
from facegate.scoring.choice import cache_folder
from facegate.scoring.engine import load_scorer
from facegate.scoring.families import DEFAULT_MODEL
from facegate.training.dlib_resnet import dlib_weights
from facegate.training.teacher import DlibTeacher

ROOT = Path(__file__).parent.parent.parent
FMR, RESAMPLES, CHUNK = 1e-3, 200, 64
FACE_SHARE = 77 / 112
"""Width of a face in its crop, as detectors frame it."""
FILES = {
    "y1": "mobilefacenet-y1.onnx",
    "casia": "mobilefacenet-casia.onnx",
    "intel": "face-reidentification-retail-0095.xml",
}
JUDGES = ("y1", "casia", "dlib", "intel")
TAUGHT = {DEFAULT_MODEL: ("y1", "casia")}
"""Judges that taught a model; whatever is not listed was taught by the others."""
Floats = NDArray[np.float32]


def small(crop: Image, width: int = 32) -> Image:
    """As a face ``width`` pixels wide looks when it is aligned."""
    side = round(width / FACE_SHARE)
    return contiguous(cv2.resize(cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA), crop.shape[1::-1]))


def low_rate(crop: Image, row: int) -> Image:
    """H.264 at QP 38, moving."""
    right, down = (float(value) for value in np.random.default_rng((38, row)).normal(0, 0.8, 2))
    return encode_h264(crop, 38, (right, down))


COPIES: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    "clean": lambda crops: crops,
    "half degraded": lambda crops: degrade_half(crops, 0),
    "32 pixels": lambda crops: np.stack([small(crop) for crop in crops]),
    "H.264 QP 38": lambda crops: np.stack([low_rate(crop, row) for row, crop in enumerate(crops)]),
}


def judge_embeddings(judge: str, models: Path, crops: NDArray[np.uint8]) -> Floats:
    """Unit embeddings of a recognizer, dlib's with the mean of these pictures taken off."""
    if judge == "dlib":
        network = DlibTeacher(dlib_weights(), torch.device("cpu"), torch.float32)
        parts = [network.descriptors(torch.from_numpy(crops[i : i + CHUNK])) for i in range(0, len(crops), CHUNK)]
        found: Floats = torch.cat(parts).numpy()
        return unit(found - found.mean(0))
    embedder = load_embedder(str(models / FILES[judge]))
    return np.concatenate([embedder.embed(list(crops[i : i + CHUNK])) for i in range(0, len(crops), CHUNK)])


def kept(name: str, faces: FaceSet, make: Callable[[], Floats]) -> Floats:
    """What ``make`` gives, from the cache folder after the first time."""
    file = cache_folder() / "judging" / f"{name.replace(' ', '-')}-{faces.digest[:12]}.npy"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, make())
    found: Floats = np.load(file)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--weights", type=Path, action="append", default=[], help="A model beside the shipped one.")
    parser.add_argument("--quality", default="vitnt", help="Which of a model's numbers: vitnt, estimate or norm.")
    parser.add_argument("--judges", action="store_true", help="Say what the recognizers miss, and end.")
    arguments = parser.parse_args()
    models: Path = arguments.data / "models"
    detector = load_detector("yunet", models / "yunet_n_640_640.onnx")
    original = load_set(arguments.data / "faces" / "lfw-folds-1-4.zip", detector, cache_folder())
    pairs = load_pairs(arguments.data / "faces" / "lfw-pairs-folds-1-4.tsv")
    scorers = {
        (path.stem if path else DEFAULT_MODEL): load_scorer(path, device="cpu", quality=arguments.quality)
        for path in (None, *arguments.weights)
    }
    lightqnet = LightQNetQuality(models / "lightqnet-dm100.pb")
    for copy, make in COPIES.items():
        faces = original.with_crops(make(original.crops))
        against: dict[str, Comparisons] = {}
        for judge in JUDGES:
            rows = kept(f"{copy}-{judge}", faces, lambda: judge_embeddings(judge, models, faces.crops))  # noqa: B023
            against[judge] = compare_all(rows, faces.names)
        missed = {judge: edc(found, np.zeros(len(faces.crops)), FMR).fnmr0 for judge, found in against.items()}
        print(f"\n{copy}: FNMR " + ", ".join(f"{judge} {rate:.3f}" for judge, rate in missed.items()), flush=True)
        if arguments.judges:
            continue
        other = kept(
            f"{copy}-lightqnet",
            faces,
            lambda: lightqnet.score(faces, lambda *_: None).astype(np.float32),  # noqa: B023
        )
        qualities = {"LightQNet": other.astype(np.float64)}
        for name, scorer in scorers.items():
            scores = scorer.score(faces.crops)
            assert scores.embedding is not None
            qualities[name] = scores.raw.astype(np.float64)
            embeddings = unit(scores.embedding)
            rate = edc(compare_all(embeddings, faces.names), np.zeros(len(embeddings)), FMR).fnmr0
            right = verification_accuracy(pairs, faces.files, embeddings)
            print(f"  embedding of {name}: FNMR {rate:.3f}, right on {100 * right:.2f} % of pairs", flush=True)
        report(against, qualities)


def report(against: dict[str, Comparisons], qualities: dict[str, NDArray[np.float64]]) -> None:
    """Print each model's ratios, and how they differ from LightQNet's and from the shipped model's."""
    print(f"  {'':26s}" + "".join(f"{judge:>26s}" for judge in against))
    ratios = {judge: bootstrap(found, qualities, FMR, resamples=RESAMPLES) for judge, found in against.items()}
    for name, quality in qualities.items():
        cells = [f"{edc(found, quality, FMR).ratio:.3f}" for found in against.values()]
        print(f"  {name:26s}" + "".join(f"{cell:>26s}" for cell in cells))
    for name in qualities:
        for reference in ("LightQNet", DEFAULT_MODEL):
            if name in ("LightQNet", reference):
                continue
            cells = []
            for judge, resampled in ratios.items():
                low, high = np.nanpercentile(resampled[name] - resampled[reference], [2.5, 97.5])
                verdict = "better" if high < 0 else "worse" if low > 0 else "level"
                taught = TAUGHT.get(name, tuple(set(JUDGES) - {"y1", "casia"}))
                cells.append(f"{verdict} {low:+.3f}..{high:+.3f}{'*' if judge in taught else ' '}")
            print(f"  {name[:12]} - {reference[:12]:12s} " + "".join(f"{cell:>26s}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
