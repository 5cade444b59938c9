"""Baselines from other networks: one trained for quality, and an oracle that knows the identities."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from facegate.errors import ConfigError, ModelError
from facegate.evaluation.datasets import FaceSet
from facegate.evaluation.methods.base import CHUNK, Progress
from facegate.recognition.embedders import Embedder, load_embedder


class LightQNetQuality:
    """LightQNet (Chen et al., 2021), a small network trained for quality, from its TensorFlow graph."""

    def __init__(self, model: Path) -> None:
        """Load the graph.

        Raises:
            ModelError: missing or not loadable.
        """
        try:
            self.name = f"lightqnet:{hashlib.sha256(model.read_bytes()).hexdigest()}"
            self._net: Any = cv2.dnn.readNetFromTensorflow(str(model))
        except (cv2.error, OSError) as error:
            raise ModelError(f"cannot load {model}: give a LightQNet graph") from error

    def score(self, faces: FaceSet, progress: Progress) -> NDArray[np.float64]:
        """See :class:`QualityMethod`."""
        values = []
        for index, crop in enumerate(faces.crops):
            blob = cv2.dnn.blobFromImage(crop, 1 / 128, (96, 96), (128, 128, 128), swapRB=True)
            self._net.setInput(blob)
            values.append(float(np.ravel(self._net.forward())[0]))
            if index % CHUNK == 0:
                progress(index, len(faces.crops))
        return np.array(values)


class SimilarityQuality:
    """How far a picture's mated similarities lie above its non-mated ones: the target that SDD-FIQA (arXiv
    2103.05977) is trained for. It knows who is who: an oracle to compare with, not a method for the gate.

    Of a picture whose person has no other, nothing is known: it gets the median of the others.
    """

    def __init__(self, recognizer: str) -> None:
        self._embedder: Embedder = load_embedder(recognizer)
        self.name = f"sdd:{self._embedder.version}"

    def score(self, faces: FaceSet, progress: Progress) -> NDArray[np.float64]:
        """See :class:`QualityMethod`."""
        crops, parts = list(faces.crops), []
        for start in range(0, len(crops), CHUNK):
            parts.append(self._embedder.embed(crops[start : start + CHUNK]))
            progress(min(start + CHUNK, len(crops)), len(crops))
        units = np.concatenate(parts)
        people = np.unique(faces.names, return_inverse=True)[1]
        distances = np.full(len(units), np.nan)
        for index, similarities in enumerate(units @ units.T):
            mated = people == people[index]
            mated[index] = False
            if mated.any():
                other = people != people[index]
                distances[index] = wasserstein_distance(similarities[mated], similarities[other])
        if np.isnan(distances).all():
            raise ConfigError("the sdd oracle needs a person with two pictures: add pictures")
        return np.where(np.isnan(distances), np.nanmedian(distances), distances)
