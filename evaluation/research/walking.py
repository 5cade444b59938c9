"""Block-by-block evaluation of a network."""

from __future__ import annotations

from facegate.errors import ConfigError
from facegate.scoring.engine import Scorer


def check_walkable(scorer: Scorer) -> None:
    """Check that a network can be evaluated block by block.

    Raises:
        ConfigError: its blocks need more than tokens.
    """
    if scorer.wants_landmarks:
        raise ConfigError(
            f"model '{scorer.card.name}' uses landmarks in every block: choose vitnt, attention or norm"
        )
