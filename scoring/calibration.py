"""Maps raw scores to integers 0..100 (ISO/IEC 29794-1 style) by the model card's monotone table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from facegate.errors import ModelError


class Calibration:
    """Piecewise linear, monotone map, constant beyond the ends of the table."""

    def __init__(self, table: Sequence[tuple[float, float]]) -> None:
        """Take ``(raw, quality)`` points with strictly increasing raw and non-decreasing quality within 0..100.

        Raises:
            ModelError: the table is not monotone or leaves 0..100.
        """
        raw = np.array([point[0] for point in table], dtype=np.float64)
        quality = np.array([point[1] for point in table], dtype=np.float64)
        if len(raw) < 2 or (np.diff(raw) <= 0).any() or (np.diff(quality) < 0).any():
            raise ModelError(
                "invalid calibration table: use two or more points, raw increasing and quality not decreasing"
            )
        if quality[0] < 0 or quality[-1] > 100:
            raise ModelError("invalid calibration table: qualities must be within 0..100")
        self._raw, self._quality = raw, quality

    def __call__(self, raw: NDArray[np.float32]) -> NDArray[np.int64]:
        """Map raw ``(B,)`` to integers ``(B,)`` in 0..100."""
        return np.rint(self.exact(raw)).astype(np.int64)

    def exact(self, raw: NDArray[np.float32]) -> NDArray[np.float64]:
        """Map raw ``(B,)`` to unrounded qualities ``(B,)``."""
        return np.interp(raw, self._raw, self._quality)
