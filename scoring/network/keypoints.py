"""Relative positions that depend on a face's landmarks: KP-RPE (Kim et al., CVPR 2024, arXiv 2403.14852).

Each patch knows where it lies from the five landmarks; from that a linear layer makes, for every block and head, a
number for each of 49 ways in which another patch can lie from it, and that number is added to the attention logit.
The ways are those of iRPE's product method (arXiv 2107.14222): rows and columns each in seven steps, near ones
exact, far ones by their logarithm.
"""

from __future__ import annotations

from functools import cache
from math import log

import torch
from torch import Tensor

RATIO = 1.9
ALPHA, BETA, GAMMA = RATIO, 2 * RATIO, 8 * RATIO
"""Steps are exact up to alpha patches, and the last one begins before gamma."""
STEPS = 2 * int(BETA) + 1
BUCKETS = STEPS**2
LANDMARKS = 5


@cache
def buckets(grid: int, device: torch.device) -> Tensor:
    """In which way patch ``j`` lies from patch ``i``, ``(N, N)`` of 0..48, for ``grid`` patches a side."""
    step = [_step(offset) + int(BETA) for offset in range(-grid + 1, grid)]
    rows, columns = torch.arange(grid * grid) // grid, torch.arange(grid * grid) % grid
    found = torch.tensor(step)
    down = found[rows[:, None] - rows[None, :] + grid - 1]
    across = found[columns[:, None] - columns[None, :] + grid - 1]
    # Kept where it is used: a CUDA graph that is being captured cannot fetch it.
    return (down * STEPS + across).to(device)


def _step(offset: int) -> int:
    far = abs(offset)
    if far <= ALPHA:
        return offset
    step = int(min(round(ALPHA + log(far / ALPHA) / log(GAMMA / ALPHA) * (BETA - ALPHA)), BETA))
    return step if offset > 0 else -step


def offsets(landmarks: Tensor, grid: int, side: int) -> Tensor:
    """Where each patch's middle lies from each landmark, ``(B, N, 10)``, in shares of the crop.

    Args:
        landmarks: ``(B, 5, 2)`` x and y in pixels of the crop.
        grid: patches a side.
        side: of the crop, in pixels.
    """
    middle = (torch.arange(grid, dtype=landmarks.dtype, device=landmarks.device) + 0.5) / grid
    x, y = middle.repeat(grid), middle.repeat_interleave(grid)
    return (torch.stack([x, y], -1)[None, :, None] - landmarks[:, None] / side).flatten(2)
