"""Numbers of things in messages: ``1 face``, ``2 faces``."""

from __future__ import annotations


def count(number: int, noun: str) -> str:
    """A number and its noun, which may be followed by more words: ``count(1, "picture of Ann")``.

    The noun is given in the singular and forms its plural with ``s``.
    """
    word, space, rest = noun.partition(" ")
    return f"{number} {word}{'' if number == 1 else 's'}{space}{rest}"


def were(number: int) -> str:
    """``was`` or ``were``."""
    return "was" if number == 1 else "were"
