"""Relative positions that depend on a face's landmarks: KP-RPE (Kim et al., CVPR 2024, arXiv 2403.14852).

A linear layer maps each patch's offsets to the five landmarks, for every block and head, to one bias for each of 49
relative positions of another patch; the bias is added to the attention logit. The relative positions are the
buckets of iRPE's product method (arXiv 2107.14222): rows and columns in seven steps each, exact when near,
logarithmic when far.
"""

from __future__ import annotations

from functools import cache
from math import log

import torch
from torch import Tensor

RATIO = 1.9
ALPHA, BETA, GAMMA = RATIO, 2 * RATIO, 8 * RATIO
"""Steps are exact up to alpha patches; the last one starts before gamma."""
STEPS = 2 * int(BETA) + 1
BUCKETS = STEPS**2
LANDMARKS = 5


@cache
def buckets(grid: int, device: torch.device) -> Tensor:
    """Return the bucket (0..48) of patch ``j`` relative to patch ``i``, ``(N, N)``, for ``grid`` patches per
    side."""
    step = [_step(offset) + int(BETA) for offset in range(-grid + 1, grid)]
    rows, columns = torch.arange(grid * grid) // grid, torch.arange(grid * grid) % grid
    found = torch.tensor(step)
    down = found[rows[:, None] - rows[None, :] + grid - 1]
    across = found[columns[:, None] - columns[None, :] + grid - 1]
    # Cached per device: it cannot be copied while a CUDA graph is captured.
    return (down * STEPS + across).to(device)


def _step(offset: int) -> int:
    far = abs(offset)
    if far <= ALPHA:
        return offset
    step = int(min(round(ALPHA + log(far / ALPHA) / log(GAMMA / ALPHA) * (BETA - ALPHA)), BETA))
    return step if offset > 0 else -step


def offsets(landmarks: Tensor, grid: int, side: int) -> Tensor:
    """Return the offset of each patch's center to each landmark, ``(B, N, 10)``, as fractions of the crop.

    Args:
        landmarks: ``(B, 5, 2)`` x and y in pixels of the crop.
        grid: patches per side.
        side: side of the crop in pixels.
    """
    middle = (torch.arange(grid, dtype=landmarks.dtype, device=landmarks.device) + 0.5) / grid
    x, y = middle.repeat(grid), middle.repeat_interleave(grid)
    return (torch.stack([x, y], -1)[None, :, None] - landmarks[:, None] / side).flatten(2)
