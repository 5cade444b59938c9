"""Recognizers that judge quality models, and their embeddings of a set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from facegate.evaluation.datasets import FaceSet
from facegate.recognition.embedders import load_embedder, unit
from facegate.scoring.backend_selection import cache_folder
from facegate.training.teachers.dlib_resnet import dlib_weights
from facegate.training.teachers.recognizers import DlibTeacher

FILES = {
    "y1": "mobilefacenet-y1.onnx",
    "CASIA": "mobilefacenet-casia.onnx",
    "Intel": "face-reidentification-retail-0095.xml",
}
JUDGES = ("y1", "CASIA", "dlib", "Intel")
CHUNK = 64
Floats = NDArray[np.float32]


def embeddings(judge: str, data: Path, faces: FaceSet) -> Floats:
    """Unit embeddings ``(N, D)`` of a recognizer, dlib's without their mean over the set; cached."""
    return cached(judge, faces, lambda: _embeddings(judge, data / "models", faces.crops))


def _embeddings(judge: str, models: Path, crops: NDArray[np.uint8]) -> Floats:
    if judge == "dlib":
        network = DlibTeacher(dlib_weights(), torch.device("cpu"), torch.float32)
        parts = [network.descriptors(torch.from_numpy(crops[i : i + CHUNK])) for i in range(0, len(crops), CHUNK)]
        found: Floats = torch.cat(parts).numpy()
        return unit(found - found.mean(0))
    embedder = load_embedder(str(models / FILES[judge]))
    return np.concatenate([embedder.embed(list(crops[i : i + CHUNK])) for i in range(0, len(crops), CHUNK)])


def cached(name: str, faces: FaceSet, make: Callable[[], Floats]) -> Floats:
    """What ``make`` returns, from the cache folder after the first call."""
    file = cache_folder() / "judging" / f"{name}-{faces.digest}.npy"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, make())
    found: Floats = np.load(file)
    return found
