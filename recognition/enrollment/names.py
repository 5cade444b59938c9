"""Normalization of people's names, so that different spellings are one person. Pure logic.

Every name that comes in passes :func:`person_name`; names with the same :func:`name_key` belong to one person.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container

from facegate.errors import GalleryError

MAX_NAME = 100
"""Maximum length in characters."""
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f\ud800-\udfff/\\:*?"<>|]')
_JOINERS = "\u200c\u200d"
"""Invisible, but part of words of some scripts and of emoji."""
_FILLERS = "\u034f\u115f\u1160\u3164\uffa0"
"""Invisible, although neither spaces nor format characters by category."""


def person_name(name: str) -> str:
    """Normalize a name: NFC, trimmed, single spaces, no invisible characters.

    Raises:
        GalleryError: the name is invalid; it must also be a folder name on every system.
    """
    found = _spelled(name)
    if _FORBIDDEN.search(name) or not name_key(found) or len(found) > MAX_NAME or found.startswith("."):
        raise GalleryError(
            f'invalid name {name!r}: use up to {MAX_NAME} characters, none of / \\ : * ? " < > |, no leading dot'
        )
    return found


def is_person_name(name: str) -> bool:
    """Whether a name is normalized."""
    try:
        return person_name(name) == name
    except GalleryError:
        return False


def name_key(name: str) -> str:
    """Comparison key of a name: ignores case, Unicode form and invisible characters."""
    return _spelled(_seen(unicodedata.normalize("NFC", _spelled(name).casefold())))


def another_name(name: str, taken: Container[str], number: int) -> str:
    """A replacement for a name of an older gallery that is invalid or taken.

    Args:
        name: the name in the gallery.
        taken: keys of other people's names.
        number: number used if nothing is left of the name.
    """
    found = _spelled(_FORBIDDEN.sub("", name))
    while found.startswith("."):
        found = _spelled(found[1:])
    if not name_key(found):
        found = f"person {number}"
    found = _spelled(found[:MAX_NAME])
    count, free = 1, found
    while name_key(free) in taken:
        count += 1
        mark = f" ({count})"
        free = _spelled(found[: MAX_NAME - len(mark)]) + mark
    return free


def _spelled(name: str) -> str:
    """Repeat until stable: a removal may leave characters that compose, or spaces at an end."""
    while True:
        seen = "".join(c for c in unicodedata.normalize("NFC", name) if not _unseen(c)).strip(_JOINERS)
        found = unicodedata.normalize("NFC", " ".join(seen.split()))
        if found == name:
            return found
        name = found


def _unseen(character: str) -> bool:
    return character in _FILLERS or (unicodedata.category(character) == "Cf" and character not in _JOINERS)


def _seen(name: str) -> str:
    """Remove what comparison ignores: joiners and variation selectors."""
    return "".join(c for c in name if c not in _JOINERS and unicodedata.name(c, "")[:18] != "VARIATION SELECTOR")
