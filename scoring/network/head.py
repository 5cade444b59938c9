"""The depthwise embedding head of the models that facegate trains."""

from __future__ import annotations

from torch import Tensor, nn

from facegate.scoring.network.architecture import Architecture


class GdcHead(nn.Module):
    """Embedding by global depthwise convolution (MobileFaceNet, arXiv 1804.07573) over the grid of patch tokens."""

    MAP, WIDE = 128, 512

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.grid = arch.grid
        self.reduce = nn.Linear(arch.embed_dim, self.MAP)
        self.expand = nn.Conv2d(self.MAP, self.WIDE, 1)
        self.act = nn.PReLU(self.WIDE)
        self.gdc = nn.Conv2d(self.WIDE, self.WIDE, arch.grid, groups=self.WIDE)
        self.linear = nn.Linear(self.WIDE, arch.embedding_dim)

    def feature_map(self, tokens: Tensor) -> Tensor:
        """Patch tokens ``(B, N, D)`` to a map ``(B, 128, G, G)``."""
        return self.reduce(tokens).transpose(1, 2).unflatten(2, (self.grid, self.grid))  # type: ignore[no-any-return]

    def forward(self, feature_map: Tensor) -> Tensor:
        """Map to embedding ``(B, E)``, not normalized."""
        x = self.gdc(self.act(self.expand(feature_map)))
        return self.linear(x.flatten(1))  # type: ignore[no-any-return]
