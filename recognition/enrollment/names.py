"""What people are called: one spelling of each name, by which nobody is taken for two. Pure logic.

Everything that comes in as a name passes :func:`person_name`; :func:`name_key` says whether two are one person's.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container

from facegate.errors import GalleryError

MAX_NAME = 100
"""Characters."""
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f\ud800-\udfff/\\:*?"<>|]')
_JOINERS = "\u200c\u200d"
"""Not seen, but part of words of some scripts, and of emoji."""
_FILLERS = "\u034f\u115f\u1160\u3164\uffa0"
"""Neither space nor format character by their category, and not seen either."""


def person_name(name: str) -> str:
    """A name as it is kept: NFC, trimmed, single spaces, without characters that nobody sees.

    Raises:
        GalleryError: it cannot be a name, nor a folder's on every system.
    """
    found = _spelled(name)
    if _FORBIDDEN.search(name) or not name_key(found) or len(found) > MAX_NAME or found.startswith("."):
        raise GalleryError(
            f'{name!r} cannot be a name: up to {MAX_NAME} letters, none of / \\ : * ? " < > |, no dot at the start'
        )
    return found


def is_person_name(name: str) -> bool:
    """Whether it is in the form in which names are kept."""
    try:
        return person_name(name) == name
    except GalleryError:
        return False


def name_key(name: str) -> str:
    """Equal for names of one person: case, Unicode form and characters that nobody sees do not count."""
    return _spelled(_seen(unicodedata.normalize("NFC", _spelled(name).casefold())))


def another_name(name: str, taken: Container[str], number: int) -> str:
    """A name for somebody whose own, as an older gallery holds it, cannot be one or is somebody else's.

    Args:
        name: what the gallery holds.
        taken: keys of other people's names.
        number: of the person, where nothing is left of the name.
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
    """Until nothing changes: what is taken out may leave neighbors that compose, or spaces at an end."""
    while True:
        seen = "".join(c for c in unicodedata.normalize("NFC", name) if not _unseen(c)).strip(_JOINERS)
        found = unicodedata.normalize("NFC", " ".join(seen.split()))
        if found == name:
            return found
        name = found


def _unseen(character: str) -> bool:
    return character in _FILLERS or (unicodedata.category(character) == "Cf" and character not in _JOINERS)


def _seen(name: str) -> str:
    """What of it takes part in the comparison: no joiners, no variation selectors."""
    return "".join(c for c in name if c not in _JOINERS and unicodedata.name(c, "")[:18] != "VARIATION SELECTOR")
