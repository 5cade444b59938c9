"""Nearest-neighbor search: exhaustive up to a size, beyond it an approximate scan with exact re-ranking.

The scan is faiss's fast scan of product-quantized vectors (André, Kermarrec, Le Scouarnec 2015): four bits for each
two numbers, compared in processor registers. Its candidates are compared again with the full templates, so that
similarities are exact.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from facegate.cpu import cores
from facegate.pipeline.records import Floats

MAX_EXACT = 50_000
"""Maximum number of templates searched exhaustively, which takes a few milliseconds."""
TRAINING, CHUNK = 10_000, 100_000
CANDIDATES = 800

log = structlog.get_logger(__name__)


class NearestNeighbors:
    """Index of ``(P, D)`` unit templates, D even."""

    def __init__(self, templates: Floats, *, exact: int = MAX_EXACT) -> None:
        """Build the index; an approximate one for more than ``exact`` templates."""
        self._templates = templates
        self._index: Any = None
        if len(templates) <= exact:
            return
        if importlib.util.find_spec("faiss") is None:
            log.warning(
                "exhaustive search of a large gallery",
                people=len(templates),
                remedy="pip install 'facegate[large]'",
            )
            return
        import faiss

        faiss.omp_set_num_threads(cores())
        dimensions = templates.shape[1]
        self._index = faiss.index_factory(dimensions, f"PQ{dimensions // 2}x4fs", faiss.METRIC_INNER_PRODUCT)
        chosen = np.random.default_rng(0).permutation(len(templates))[:TRAINING]
        self._index.train(templates[np.sort(chosen)])
        for start in range(0, len(templates), CHUNK):  # templates may be memory-mapped
            self._index.add(np.ascontiguousarray(templates[start : start + CHUNK]))
        faiss.omp_set_num_threads(1)  # queries come one by one, and cameras need the cores

    def search(self, embedding: Floats) -> tuple[NDArray[np.int64], Floats]:
        """Return candidate rows ``(K,)`` for an embedding ``(D,)``, with their exact similarities ``(K,)``."""
        if self._index is None:
            return np.arange(len(self._templates)), self._templates @ embedding
        _, found = self._index.search(embedding[None], min(CANDIDATES, len(self._templates)))
        rows: NDArray[np.int64] = np.sort(found[0][found[0] >= 0])
        return rows, self._templates[rows] @ embedding
