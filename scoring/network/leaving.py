"""Crops that leave a pass early."""

from __future__ import annotations

import torch
from torch import Tensor

from facegate.scoring.network.architecture import PassOutput


class Leavers:
    """Bookkeeping of a batch that shrinks: who left with what, and the full batch put together again."""

    def __init__(self, size: int, device: torch.device) -> None:
        self._rows = torch.arange(size, device=device)
        self._size = size
        self._left: list[tuple[Tensor, Tensor]] = []

    def leave(self, patches: Tensor, threshold: float) -> Tensor:
        """Part with the crops below ``threshold``; return which rows of the present batch stay."""
        stays = patches.mean(1) >= threshold
        gone = (~stays).nonzero()[:, 0]
        self._left.append((self._rows[gone], patches[gone]))
        stay = stays.nonzero()[:, 0]
        self._rows = self._rows[stay]
        return stay

    def merged(self, stayed: PassOutput) -> PassOutput:
        """Return the outputs of the whole batch."""

        def spread_out(values: Tensor) -> Tensor:
            whole = values.new_zeros((self._size, *values.shape[1:]))
            whole[self._rows] = values
            return whole

        patches, raw = spread_out(stayed.patches), spread_out(stayed.raw)
        for rows, values in self._left:
            patches[rows], raw[rows] = values, values.mean(1)
        left = torch.ones(self._size, dtype=torch.bool, device=raw.device)
        left[self._rows] = False
        return PassOutput(
            raw=raw,
            patches=patches,
            attention=spread_out(stayed.attention),
            embedding=None if stayed.embedding is None else spread_out(stayed.embedding),
            estimates=None if stayed.estimates is None else spread_out(stayed.estimates),
            left=left,
        )
