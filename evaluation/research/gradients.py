"""GraFIQs (arXiv 2404.12203): how far one crop is from what a network was trained on, by its gradients.

The statistics that batch normalization would have of the crop are compared with the stored ones, and the squared
difference is followed backwards to the tokens before the first block; large gradients mean a poor face. A backward
pass a crop: a reference, not for the gate, and only for networks that have batch normalization.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facegate.errors import ConfigError
from facegate.evaluation.datasets import FaceSet
from facegate.evaluation.methods.base import CHUNK, Progress
from facegate.evaluation.research.walking import check_walkable
from facegate.scoring.engine import Scorer


class GradientQuality:
    """Minus the sum of absolute gradients."""

    def __init__(self, scorer: Scorer) -> None:
        """Take the network.

        Raises:
            ConfigError: it has no batch normalization.
        """
        check_walkable(scorer)
        self._scorer = scorer
        self._layers = [
            part for part in scorer.network.modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)
        ]
        if not self._layers:
            raise ConfigError(
                f"model '{scorer.card.name}' has no batch normalization, which grafiqs needs: use a ViT of CVLFace "
                "or insightface"
            )
        self.name = f"{scorer.card.name}:{scorer.reading.model.fingerprint}:grafiqs"

    def score(self, faces: FaceSet, progress: Progress) -> NDArray[np.float64]:
        """See :class:`QualityMethod`."""
        values = np.empty(len(faces.crops))
        for index, crop in enumerate(faces.crops):
            values[index] = self._one(torch.from_numpy(np.ascontiguousarray(crop[None])))
            if index % CHUNK == 0:
                progress(index, len(faces.crops))
        return values

    def _one(self, crop: Tensor) -> float:
        network = self._scorer.network
        with torch.no_grad():
            start = network.tokens(self._scorer.one_pass.normalized(crop)).float()
        start.requires_grad_(True)
        differences: list[Tensor] = []

        def compare(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            assert isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)
            (x,) = inputs
            rest = [axis for axis in range(x.dim()) if axis != 1]
            mean, variance = x.mean(rest), x.var(rest, correction=0)
            assert layer.running_mean is not None and layer.running_var is not None
            differences.append((mean - layer.running_mean).square().mean())
            differences.append((variance - layer.running_var).square().mean())

        hooks = [layer.register_forward_pre_hook(compare) for layer in self._layers]
        try:
            x = start
            for block in network.blocks:
                x = block(x, False, False)[0]
            network.embed(x)
        finally:
            for hook in hooks:
                hook.remove()
        (gradient,) = torch.autograd.grad(torch.stack(differences).sum(), start)
        return -float(gradient.abs().sum())
