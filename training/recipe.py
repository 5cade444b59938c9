"""Everything that decides what training makes: the recipe's numbers and the student's shape."""

from __future__ import annotations

import msgspec

from facegate.scoring.network.architecture import Architecture
from facegate.training.views import ViewSettings

SCORED_BLOCKS = (0, 1, 2, 3, 4)
"""Blocks over which the token paths are trained."""
FUSION = (1.0, 8.0)
"""How the two estimates add up to one quality: how well the recognizers know the face, and survival."""
INTEL_LENGTH, DLIB_LENGTH, AGREEMENT = 1.0, 0.8, 0.5
"""Shares of the first estimate: how long either recognizer's embedding of the clean view is, and how well dlib's
foretells Intel's."""
INTEL_SURVIVAL = 0.8
"""Share of Intel's opinion in survival; the rest is dlib's. What the recognizers themselves would reach with these
numbers on other people decided all of them (docs/model-card.md)."""
NO_FACE = (-3.0, 0.0)
"""Both estimates where there is no face."""
MEAN = (0.5, 0.5, 0.5)
STD = (0.5, 0.5, 0.5)


class Recipe(msgspec.Struct, frozen=True):
    """Everything that decides the result."""

    seed: int = 0
    samples: int = 300_000
    batch: int = 32
    trunk_rate: float = 8e-4
    fresh_rate: float = 2e-3
    """For stem, heads and probes."""
    layer_decay: float = 0.95
    """Each earlier block learns this much slower than the next."""
    warmup: int = 3000
    """Samples until the rates are up; then they stay."""
    cooldown: float = 0.25
    """Share of the run, at its end, over which the rates fall to a hundredth."""
    weight_decay: float = 0.02
    map_weight: float = 1.0
    embedding_weight: float = 2.0
    stem_until: int = 20_000
    """Samples until which the stem learns the teacher's early maps and nothing else does: five times as fast."""
    stage_weight: float = 0.5
    stages_until: int = 400_000
    """Samples after which the stem no longer learns the teacher's early maps, which saves asking for them."""
    estimate_weight: float = 0.3
    path_weight: float = 0.3
    """Of the term that makes steady tokens mean a good face."""
    rounding_from: int = 60_000
    """Samples after which every second step rounds what goes into the token paths' products to 8 bits."""
    average: float = 0.999
    """Decay of the running average of the weights, which is what is kept."""
    statistics: int = 1536
    """Crops of the pool from which the recognizers' scales are measured at the start."""
    views: ViewSettings = ViewSettings()


def student_architecture() -> Architecture:
    """A small ViT on a 7x7 grid of tokens."""
    return Architecture(
        patch_size=16,
        embed_dim=192,
        depth=5,
        num_heads=3,
        mlp_ratio=3,
        embedding_dim=256,
        qkv_bias=True,
        activation="gelu",
        norm_eps=1e-6,
        stem="dense",
        head="gdc",
        estimates=2,
    )
