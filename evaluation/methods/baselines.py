"""Baselines without a face network: chance, sharpness, width and detector confidence."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from facegate.evaluation.datasets import FaceSet
from facegate.evaluation.methods.base import Progress


class RandomQuality:
    """Chance."""

    name = "random"

    def score(self, faces: FaceSet, progress: Progress) -> NDArray[np.float64]:
        """See :class:`QualityMethod`."""
        del progress
        return np.random.default_rng(0).uniform(size=len(faces.files))


class LaplacianQuality:
    """Variance of the Laplacian, a common measure of sharpness."""

    name = "laplacian"

    def score(self, faces: FaceSet, progress: Progress) -> NDArray[np.float64]:
        """See :class:`QualityMethod`."""
        del progress
        gray = [cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) for crop in faces.crops]
        return np.array([cv2.Laplacian(image, cv2.CV_64F).var() for image in gray])


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
