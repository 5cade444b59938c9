"""Many passes of the scorer's own network: an expensive reference."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from facegate.evaluation.datasets import FaceSet
from facegate.evaluation.methods.base import CHUNK, Progress
from facegate.evaluation.research.walking import check_walkable
from facegate.scoring.engine import Scorer


class StochasticQuality:
    """Agreement of stochastic passes, the idea of SER-FIQ (arXiv 2003.09373): an expensive reference.

    The trunk runs once; then the head embeds the tokens ``PASSES`` times with half of the channels dropped at
    random (seeded), and the quality is ``2 sigmoid(-mean distance)`` over all pairs of the unit embeddings.
    """

    PASSES, DROP, SEED = 50, 0.5, 0

    def __init__(self, scorer: Scorer) -> None:
        check_walkable(scorer)
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
            x = network.tokens(self._scorer.one_pass.normalized(crops))
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
