"""Quality methods behind one protocol, so that any of them can be judged by the same curve."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from facegate.errors import ConfigError, ModelError
from facegate.evaluation.datasets import FaceSet
from facegate.recognition.embedders import OnnxEmbedder, load_embedder
from facegate.scoring.engine import Scorer

CHUNK = 256
Progress = Callable[[int, int], None]


class QualityMethod(Protocol):
    """Scores every crop of a set; higher is better."""

    name: str
    """Also the key under which scores are kept: it must say everything that changes them."""

    def score(self, faces: FaceSet, progress: Progress) -> NDArray[np.float64]:
        """Return ``(N,)``; NaN where the method has nothing to go by."""
        ...


class RandomQuality:
    """Chance: the reference that any method must beat."""

    name = "random"

    def score(self, faces: FaceSet, progress: Progress) -> NDArray[np.float64]:
        """See :class:`QualityMethod`."""
        del progress
        return np.random.default_rng(0).uniform(size=len(faces.files))


class LaplacianQuality:
    """Variance of the Laplacian: the usual measure of sharpness."""

    name = "laplacian"

    def score(self, faces: FaceSet, progress: Progress) -> NDArray[np.float64]:
        """See :class:`QualityMethod`."""
        del progress
        grey = [cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) for crop in faces.crops]
        return np.array([cv2.Laplacian(image, cv2.CV_64F).var() for image in grey])


class WidthQuality:
    """Width of the face in its picture."""

    name = "width"

    def score(self, faces: FaceSet, progress: Progress) -> NDArray[np.float64]:
        """See :class:`QualityMethod`."""
        del progress
        return faces.widths


class ConfidenceQuality:
    """The detector's confidence."""

    name = "confidence"

    def score(self, faces: FaceSet, progress: Progress) -> NDArray[np.float64]:
        """See :class:`QualityMethod`."""
        del progress
        return faces.confidences


class NormQuality:
    """Length of a recogniser's embedding before normalisation (the idea of MagFace)."""

    def __init__(self, model: Path) -> None:
        embedder = load_embedder(str(model))
        if not isinstance(embedder, OnnxEmbedder):
            raise ConfigError(f"the norm of {model} needs an ONNX recogniser")
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
            raise ModelError(f"{model} is not a LightQNet graph that OpenCV can load") from error

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


class ScorerQuality:
    """The number that a scorer gives: ViTNT-FIQA, the attention score, the norm, or the fused estimate."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        backend = scorer.backend
        weights = scorer.reading.model.fingerprint
        self.name = f"{scorer.card.name}:{weights}:{backend.name}-{backend.dtype}:{scorer.algorithm}"

    def score(self, faces: FaceSet, progress: Progress) -> NDArray[np.float64]:
        """See :class:`QualityMethod`."""
        parts = []
        for start in range(0, len(faces.crops), CHUNK):
            parts.append(self._scorer.score(faces.crops[start : start + CHUNK], embedding=False).raw)
            progress(start, len(faces.crops))
        return np.concatenate(parts).astype(np.float64)


class StochasticQuality:
    """Agreement of stochastic passes, the idea of SER-FIQ (arXiv 2003.09373): an expensive reference.

    The trunk runs once; then the head embeds the tokens ``PASSES`` times with half of the channels dropped at
    random (seeded), and the quality is ``2 sigmoid(-mean distance)`` over all pairs of the unit embeddings.
    """

    PASSES, DROP, SEED = 50, 0.5, 0

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        weights = scorer.reading.model.fingerprint
        self.name = f"{scorer.card.name}:{weights}:stochastic-{self.PASSES}-{self.DROP}-{self.SEED}"

    @torch.inference_mode()
    def score(self, faces: FaceSet, progress: Progress) -> NDArray[np.float64]:
        """See :class:`QualityMethod`."""
        network, values = self._scorer.network, []
        generator = torch.Generator().manual_seed(self.SEED)
        for start in range(0, len(faces.crops), CHUNK // 4):
            crops = torch.from_numpy(np.ascontiguousarray(faces.crops[start : start + CHUNK // 4]))
            x = network.tokens(self._scorer.one_pass.normalised(crops))
            for block in network.blocks:
                x = block(x, False, False)[0]
            units = []
            for _ in range(self.PASSES):
                keep = torch.rand((len(x), 1, x.shape[2]), generator=generator) >= self.DROP
                units.append(F.normalize(network.embed(x * keep.to(x.dtype) / (1 - self.DROP)), dim=1))
            stack = torch.stack(units, 1)
            distance = torch.cdist(stack, stack).sum((1, 2)) / (self.PASSES * (self.PASSES - 1))
            values.append((2 * torch.sigmoid(-distance)).numpy())
            progress(start, len(faces.crops))
        return np.concatenate(values).astype(np.float64)
