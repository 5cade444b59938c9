"""Methods of one network pass: the scorer's quality, or the norm of a recognizer's embedding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facegate.errors import ConfigError
from facegate.evaluation.datasets import FaceSet
from facegate.evaluation.methods.base import CHUNK, Progress
from facegate.recognition.embedders import OnnxEmbedder, load_embedder
from facegate.scoring.engine import Scorer


class ScorerQuality:
    """Quality of a scorer: ViTNT-FIQA, the attention score, the norm, or the fused estimate."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        backend = scorer.backend
        weights = scorer.reading.model.fingerprint
        self.name = f"{scorer.card.name}:{weights}:{backend.name}-{backend.dtype}:{scorer.algorithm}"

    def score(self, faces: FaceSet, progress: Progress) -> NDArray[np.float64]:
        """See :class:`QualityMethod`."""
        parts = []
        for start in range(0, len(faces.crops), CHUNK):
            parts.append(self._scorer.score(faces.crops[start : start + CHUNK], embedding=False).raw_score)
            progress(start, len(faces.crops))
        return np.concatenate(parts).astype(np.float64)


class NormQuality:
    """Length of a recognizer's embedding before normalization (the idea of MagFace)."""

    def __init__(self, model: Path) -> None:
        embedder = load_embedder(str(model))
        if not isinstance(embedder, OnnxEmbedder):
            raise ConfigError(
                f"{model} is not an ONNX recognizer, which the method 'norm' needs: give an .onnx file"
            )
        self._embedder = embedder
        self.name = f"norm:{embedder.version}"

    def score(self, faces: FaceSet, progress: Progress) -> NDArray[np.float64]:
        """See :class:`QualityMethod`."""
        parts = []
        for start in range(0, len(faces.crops), CHUNK):
            raw = self._embedder.raw(list(faces.crops[start : start + CHUNK]))
            parts.append(np.linalg.norm(raw, axis=1))
            progress(min(start + CHUNK, len(faces.crops)), len(faces.crops))
        return np.concatenate(parts).astype(np.float64)
