"""Everything that decides what training makes: the recipe's numbers and the student's shape."""

from __future__ import annotations

import msgspec

from facegate.scoring.network.architecture import Architecture
from facegate.training.views import ViewSettings

SCORED_BLOCKS = (1, 2, 3, 4, 5)
FUSION = (1.0, 8.0)
"""How the two estimates add up to one quality: standardized length of the recognizers' embeddings, and survival.
What the recognizers themselves would reach with it on degraded faces decided the eight
(docs/research/model-card.md)."""
MEAN = (0.5, 0.5, 0.5)
STD = (0.5, 0.5, 0.5)


class Recipe(msgspec.Struct, frozen=True):
    """Everything that decides the result."""

    seed: int = 0
    samples: int = 200_000
    batch: int = 32
    trunk_rate: float = 8e-4
    fresh_rate: float = 2e-3
    """For the new layers of stem and heads."""
    stem_rate: float = 4e-4
    """For the layers of the stem that start as the teacher's."""
    slopes_until: int = 20_000
    """Samples after which nothing is left of the teacher's slopes."""
    layer_decay: float = 0.95
    """Each earlier block learns this much slower than the next."""
    early_until: int = 60_000
    """Samples after which the stem's first layers are frozen."""
    warmup: int = 3000
    """Samples until the full learning rates are reached."""
    cooldown: float = 0.25
    """Share of the run, at its end, over which the rates fall to a hundredth."""
    weight_decay: float = 0.02
    map_weight: float = 1.0
    embedding_weight: float = 2.0
    stage_weight: float = 0.5
    estimate_weight: float = 0.3
    path_weight: float = 0.3
    """Of the term that makes steady tokens mean a good face."""
    average: float = 0.999
    """Decay of the moving average of the weights, which is exported."""
    statistics: int = 512
    """Views from which the teacher's scales are measured at the start."""
    views: ViewSettings = ViewSettings()


def student_architecture() -> Architecture:
    """A small ViT on the teacher's 7x7 grid, with the teacher's kind of head."""
    return Architecture(
        patch_size=16,
        embed_dim=192,
        depth=6,
        num_heads=3,
        mlp_ratio=3,
        embedding_dim=128,
        qkv_bias=True,
        activation="gelu",
        norm_eps=1e-6,
        stem="mobile",
        head="gdc",
        estimates=2,
    )
