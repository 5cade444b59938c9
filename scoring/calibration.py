"""From a raw score to an integer 0..100 (ISO/IEC 29794-1 style), by the model card's monotone table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from facegate.errors import ModelError


class Calibration:
    """Piecewise linear, monotone map; raw scores beyond the table's ends take the ends' quality."""

    def __init__(self, table: Sequence[tuple[float, float]]) -> None:
        """Take ``(raw, quality)`` points with strictly rising raw and never falling quality within 0..100.

        Raises:
            ModelError: the table is not monotone or leaves 0..100.
        """
        raw = np.array([point[0] for point in table], dtype=np.float64)
        quality = np.array([point[1] for point in table], dtype=np.float64)
        if len(raw) < 2 or (np.diff(raw) <= 0).any() or (np.diff(quality) < 0).any():
            raise ModelError(
                "a calibration table needs two or more points, rising in raw and not falling in quality"
            )
        if quality[0] < 0 or quality[-1] > 100:
            raise ModelError("a calibration table's qualities must lie within 0..100")
        self._raw, self._quality = raw, quality

    def __call__(self, raw: NDArray[np.float32]) -> NDArray[np.int64]:
        """Map raw ``(B,)`` to integers ``(B,)`` in 0..100."""
        return np.rint(self.exact(raw)).astype(np.int64)

    def exact(self, raw: NDArray[np.float32]) -> NDArray[np.float64]:
        """The same before it is rounded."""
        return np.interp(raw, self._raw, self._quality)
