"""The forward pass from uint8 crops to all results, as run or exported by the backends."""

from __future__ import annotations

import msgspec
import torch
from torch import Tensor, nn

from facegate.scoring.families import ModelCard, Quality
from facegate.scoring.network.architecture import PassOutput, ScoreSettings
from facegate.scoring.network.vit import FaceViT


class OnePass(nn.Module):
    """Normalizes, runs the network once, and selects the quality measure."""

    mean: Tensor
    std: Tensor
    fusion: Tensor

    def __init__(self, network: FaceViT, card: ModelCard, settings: ScoreSettings, quality: Quality) -> None:
        super().__init__()
        self.network = network
        self.settings = settings
        self.quality = quality
        shape = (1, 3, 1, 1)
        self.register_buffer("mean", torch.tensor(card.mean).view(shape) * 255.0, persistent=False)
        self.register_buffer("std", torch.tensor(card.std).view(shape) * 255.0, persistent=False)
        self.register_buffer("fusion", torch.tensor(card.fusion), persistent=False)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the network's weights."""
        return self.network.pos_embed.dtype

    def forward(self, crops: Tensor, embedding: bool = True, landmarks: Tensor | None = None) -> PassOutput:
        """Run on uint8 RGB crops ``(B, 112, 112, 3)``; ``raw_score`` of the result is the selected measure.

        ``landmarks`` ``(B, 5, 2)``, in pixels of the crop, for networks that use them.
        """
        images = self.normalized(crops)
        whole = embedding or self.quality in ("norm", "estimate")
        out = self.network(images, self.settings, whole=whole, landmarks=landmarks)
        return msgspec.structs.replace(out, raw=self._chosen(out))  # type: ignore[no-any-return]

    def normalized(self, crops: Tensor) -> Tensor:
        """Normalize uint8 RGB crops ``(B, 112, 112, 3)`` to network input ``(B, 3, 112, 112)``."""
        return ((crops.permute(0, 3, 1, 2).float() - self.mean) / self.std).to(self.dtype)

    def _chosen(self, out: PassOutput) -> Tensor:
        if self.quality == "attention":
            return out.attention
        if self.quality == "norm":
            assert out.embedding is not None
            length: Tensor = torch.linalg.vector_norm(out.embedding.float(), dim=1)
            return length
        if self.quality == "estimate":
            assert out.estimates is not None
            return (out.estimates.float() * self.fusion).sum(1)
        return out.raw
