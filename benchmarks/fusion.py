"""How well a fusion chooses within a track that knows what a recognizer makes of all other tracks: a bound."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Track(NamedTuple):
    """Of an enrolled person."""

    mated: NDArray[np.float64]
    """Similarity of each face, ``(N,)``."""
    scored: NDArray[np.int64]
    """Which of them were scored, ``(S,)``."""
    features: NDArray[np.float64]
    """Of those, ``(S, 7)``: logarithms of ViTNT-FIQA, length, sharpness and width; lightness, confidence, cosine of
    yaw."""

    def percentile(self, index: int) -> float:
        """Of a face, by mated similarity."""
        return 100 * float((self.mated <= self.mated[index]).mean())


def learned(tracks: list[Track]) -> list[float]:
    """What a linear fusion would choose that knows the similarity of every face of all the other tracks.

    Ridge regression of the rank within a track, towards the fusion that ships; the bound of what answers can teach.
    """
    spread = np.concatenate([track.features - track.features.mean(0) for track in tracks]).std(0) + 1e-9
    rows, wanted, shares = [], [], []
    for track in tracks:
        rank = track.mated[track.scored].argsort().argsort() / max(1, len(track.scored) - 1)
        rows.append((track.features - track.features.mean(0)) / spread)
        wanted.append(rank - rank.mean())
        shares.append(np.full(len(rank), 1 / len(rank)))
    ships = np.array([0.5, 0.5, 0, 0, 0, 0, 0]) * spread
    found = []
    for own, track in enumerate(tracks):
        x, y, share = (
            np.concatenate([part for other, part in enumerate(parts) if other != own])
            for parts in (rows, wanted, shares)
        )
        start = ships * float((share * (x @ ships) * y).sum() / (share * (x @ ships) ** 2).sum())
        weighed = x * share[:, None]
        weights = start + np.linalg.solve(weighed.T @ x + 3 * np.eye(7), weighed.T @ (y - x @ start))
        found.append(track.percentile(int(track.scored[(rows[own] @ weights).argmax()])))
    return found
