"""Stems: from pixels to patch tokens. A new stem is a class here and a line in ``STEMS``."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facegate.scoring.network.architecture import Architecture


class PatchEmbed(nn.Module):
    """Non-overlapping patches to tokens; pixels that do not fill a patch are ignored, as by a strided
    convolution."""

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
    """Inverted residual block (MobileNetV2, arXiv 1801.04381)."""

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
        y: Tensor = self.project(self.act2(self.depth(self.act1(self.expand(x)))))
        return x + y if self.shortcut else y


class MobileStem(Stem):
    """Thinned first stages of MobileFaceNet (arXiv 1804.07573): total stride 16, no normalization."""

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


class Leaky(nn.Module):
    """One fixed slope for all negative values, which may be any number."""

    slope: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("slope", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Apply elementwise."""
        # A plain number is several times faster than a tensor on a CPU; reading it from a GPU would stall.
        return F.prelu(x, self.slope.view(1)) if x.is_cuda else F.leaky_relu(x, self.slope.item())


class GatedInverted(nn.Module):
    """Inverted residual block whose output channels are scaled by a squeeze-and-excitation (arXiv 1709.01507)."""

    def __init__(self, before: int, wide: int, after: int, stride: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(before, wide, 1)
        self.act1 = Leaky()
        self.depth = nn.Conv2d(wide, wide, 3, stride, 1, groups=wide)
        self.act2 = Leaky()
        self.project = nn.Conv2d(wide, after, 1)
        self.squeeze = nn.Conv2d(after, after // 8, 1)
        self.act3 = Leaky()
        self.excite = nn.Conv2d(after // 8, after, 1)
        self.shortcut = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C', H / stride, W / stride)``."""
        y: Tensor = self.project(self.act2(self.depth(self.act1(self.expand(x)))))
        y = y * torch.sigmoid(self.excite(self.act3(self.squeeze(y.mean((2, 3), keepdim=True)))))
        return x + y if self.shortcut else y


class GatedStem(nn.Module):
    """MobileFaceNet with squeeze-and-excitation on the middle of the crop; the tokens are its last map (stride 16).

    The layers are those of Intel's face-reidentification-retail-0095, whose weights can initialize them.
    """

    STAGES = ((64, 128, 64, 2), (64, 256, 128, 6), (128, 512, 128, 2))
    """Channels before, inside and after the strided block of each stage, and the number of residual blocks."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        width = self.STAGES[0][0]
        self.margin = arch.margin
        stages: list[nn.Module] = [
            nn.Sequential(
                nn.Conv2d(3, width, 3, 2, 1), Leaky(), nn.Conv2d(width, width, 3, 1, 1, groups=width), Leaky()
            )
        ]
        for before, wide, after, blocks in self.STAGES:
            stages.append(
                nn.Sequential(
                    GatedInverted(before, wide, after, 2),
                    *(GatedInverted(after, 2 * after, after, 1) for _ in range(blocks)),
                )
            )
        self.stages = nn.ModuleList(stages)

    def maps(self, x: Tensor) -> list[Tensor]:
        """The feature map after each stage, strides 2, 4, 8 and 16."""
        margin = self.margin
        x = x[:, :, margin : x.shape[2] - margin, margin : x.shape[3] - margin]
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 3, S, S)`` to ``(B, N, 128)``."""
        return self.maps(x)[-1].flatten(2).transpose(1, 2)


STEMS: dict[str, type[nn.Module]] = {"patch": PatchEmbed, "mobile": MobileStem, "gated": GatedStem}
