"""A model with the settings of its quality measure, and the cache key of both."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from facegate.scoring.families import Model, ModelCard, Quality
from facegate.scoring.network.architecture import ScoreSettings

if TYPE_CHECKING:
    from facegate.scoring.one_pass import OnePass


class ScoreReading:
    """A model, the settings of ViTNT-FIQA, and the quality measure."""

    def __init__(self, model: Model, settings: ScoreSettings, quality: Quality) -> None:
        self.model = model
        self.settings = settings
        self.quality = quality

    @property
    def card(self) -> ModelCard:
        """The model's card."""
        return self.model.card

    @property
    def key(self) -> str:
        """16 hex digits that identify weights, card and settings."""
        what = (self.model.fingerprint, self.card, self.settings, self.quality)
        return hashlib.sha256(msgspec.json.encode(what)).hexdigest()[:16]

    @cached_property
    def one_pass(self) -> OnePass:
        """The pass in torch, built on first use.

        Raises:
            ModelError: the weights do not fit their card.
        """
        from facegate.scoring.one_pass import OnePass

        return OnePass(self.model.network, self.card, self.settings, self.quality).eval()
