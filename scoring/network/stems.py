"""From pixels to patch tokens; a new stem is a class here and a line in ``STEMS``."""

from __future__ import annotations

from torch import Tensor, nn

from facegate.scoring.network.architecture import Architecture


class PatchEmbed(nn.Module):
    """Non-overlapping patches to tokens; pixels that do not fill a patch are left out, as a strided conv does."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, arch.embed_dim, arch.patch_size, arch.patch_size, bias=not arch.pre_norm)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 3, S, S)`` to ``(B, N, D)``."""
        return self.proj(x).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]


class Stem(nn.Module):
    """Three stages at strides 2, 4 and 8, and a strided convolution from the last to tokens."""

    def __init__(self, stages: list[nn.Module], width: int, embed_dim: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.proj = nn.Conv2d(width, embed_dim, 3, stride=2, padding=1)

    def maps(self, x: Tensor) -> list[Tensor]:
        """The feature map after each stage, strides 2, 4 and 8."""
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 3, S, S)`` to ``(B, N, D)``."""
        return self.proj(self.maps(x)[-1]).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]


class Inverted(nn.Module):
    """A narrow map widened, filtered channel by channel and narrowed again (MobileNetV2, arXiv 1801.04381)."""

    def __init__(self, before: int, wide: int, after: int, stride: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(before, wide, 1)
        self.act1 = nn.ReLU()
        self.depth = nn.Conv2d(wide, wide, 3, stride, 1, groups=wide)
        self.act2 = nn.ReLU()
        self.project = nn.Conv2d(wide, after, 1)
        self.shortcut = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C', H / stride, W / stride)``."""
        y = self.project(self.act2(self.depth(self.act1(self.expand(x)))))
        return x + y if self.shortcut else y  # type: ignore[no-any-return]


class MobileStem(Stem):
    """Tokens by MobileFaceNet's first stages (arXiv 1804.07573), thinned: stride 16 in all, no normalisation."""

    WIDTHS = (64, 64, 128)
    BLOCKS = (2, 3)
    """Residual blocks at strides 4 and 8."""

    def __init__(self, arch: Architecture) -> None:
        first, second, third = self.WIDTHS
        super().__init__(
            [
                nn.Sequential(
                    nn.Conv2d(3, first, 3, 2, 1),
                    nn.ReLU(),
                    nn.Conv2d(first, first, 3, 1, 1, groups=first),
                    nn.ReLU(),
                ),
                nn.Sequential(
                    Inverted(first, 2 * first, second, 2),
                    *(Inverted(second, 2 * second, second, 1) for _ in range(self.BLOCKS[0])),
                ),
                nn.Sequential(
                    Inverted(second, 4 * second, third, 2),
                    *(Inverted(third, 2 * third, third, 1) for _ in range(self.BLOCKS[1])),
                ),
            ],
            third,
            arch.embed_dim,
        )


class DenseStem(Stem):
    """Two plain strided convolutions, then inverted blocks at strides 4 and 8: faster than :class:`MobileStem`,
    whose filters at stride 2 take longest."""

    WIDTHS = (32, 64, 128)
    BLOCKS = (1, 2)
    """Residual blocks at strides 4 and 8."""

    def __init__(self, arch: Architecture) -> None:
        first, second, third = self.WIDTHS
        super().__init__(
            [
                nn.Sequential(nn.Conv2d(3, first, 3, 2, 1), nn.ReLU()),
                nn.Sequential(
                    nn.Conv2d(first, second, 3, 2, 1),
                    *(Inverted(second, 2 * second, second, 1) for _ in range(self.BLOCKS[0])),
                ),
                nn.Sequential(
                    Inverted(second, 4 * second, third, 2),
                    *(Inverted(third, 2 * third, third, 1) for _ in range(self.BLOCKS[1])),
                ),
            ],
            third,
            arch.embed_dim,
        )


STEMS: dict[str, type[nn.Module]] = {"patch": PatchEmbed, "mobile": MobileStem, "dense": DenseStem}
