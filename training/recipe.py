"""Everything that decides what training makes: the recipe's numbers and the student's shape."""

from __future__ import annotations

import msgspec

from facegate.scoring.network.architecture import Architecture
from facegate.training.views import ViewSettings

SCORED_BLOCKS = (0, 1, 2, 3)
"""Blocks over which the token paths are trained."""
FUSION = (1.0, 8.0)
"""How the two estimates add up to one quality: how well the recognizers know the face, and survival."""
LENGTH_SHARE = 16.0
"""Of the length of the student's own embedding in what the token paths learn: its expected cosine with the truth
says more about clean faces than either estimate (docs/research/model-card.md)."""
INTEL_LENGTH, DLIB_LENGTH, AGREEMENT = 1.0, 0.8, 0.5
"""Shares of the first estimate: the length of either recognizer's embedding, and how well dlib's predicts Intel's.
What the recognizers themselves would reach with these numbers on other people decided all of them
(docs/research/model-card.md)."""
NO_FACE_ESTIMATES = (-3.0, 0.0)
"""Both estimates where there is no face."""
MEAN = (0.5, 0.5, 0.5)
STD = (0.5, 0.5, 0.5)


class Recipe(msgspec.Struct, frozen=True):
    """Everything that decides the result."""

    seed: int = 0
    samples: int = 120_000
    batch: int = 32
    inherited_rate: float = 3e-4
    """For the layers that start as the teacher's."""
    fresh_rate: float = 1e-3
    """For the transformer blocks and the estimates."""
    front_until: int = 24_000
    """Samples after which the stages at strides 2 and 4 are frozen, which makes a step a third cheaper."""
    warmup: int = 2000
    """Samples until the full learning rates are reached."""
    cooldown: float = 0.5
    """Share of the run, at its end, over which the rates fall to a hundredth."""
    weight_decay: float = 0.02
    map_weight: float = 0.5
    embedding_weight: float = 4.0
    estimate_weight: float = 0.6
    path_weight: float = 1.0
    """Of the term that makes steady tokens mean a good face."""
    rounding_from: int = 20_000
    """Samples after which every second step rounds the inputs of the token paths' products to 8 bits."""
    average: float = 0.998
    """Decay of the moving average of the weights, which is exported."""
    views: ViewSettings = ViewSettings()


def student_architecture() -> Architecture:
    """The teacher's network at the crop's scale, and a small transformer on its 6x6 map."""
    return Architecture(
        patch_size=16,
        margin=8,
        embed_dim=128,
        depth=4,
        num_heads=2,
        mlp_ratio=2,
        embedding_dim=256,
        qkv_bias=True,
        activation="gelu",
        norm_eps=1e-6,
        stem="gated",
        head="gdc_unnormalized",
        estimates=2,
    )
