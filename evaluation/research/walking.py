"""Going through a network block by block."""

from __future__ import annotations

from facegate.errors import ConfigError
from facegate.scoring.engine import Scorer


def check_walkable(scorer: Scorer) -> None:
    """Whether a method may go through the network block by block.

    Raises:
        ConfigError: its blocks need more than tokens.
    """
    if scorer.wants_landmarks:
        raise ConfigError(
            f"model '{scorer.card.name}' looks at landmarks in every block: vitnt, attention and norm can be judged"
        )
