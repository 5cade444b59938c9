"""Normalization of people's names, so that different spellings are one person. Pure logic.

Every name that comes in passes :func:`person_name`; names with the same :func:`name_key` belong to one person.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterable
from difflib import get_close_matches

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


def folder_person(folder: str) -> str:
    """The name of the person whose pictures are in a folder of this name: ``Bill_Gates`` is Bill Gates.

    Raises:
        GalleryError: see :func:`person_name`.
    """
    return person_name(folder.replace("_", " ").strip() or folder)


def is_person_name(name: str) -> bool:
    """Whether a name is normalized."""
    try:
        return person_name(name) == name
    except GalleryError:
        return False


def name_key(name: str) -> str:
    """Comparison key of a name: ignores case, Unicode form and invisible characters."""
    return _spelled(_seen(unicodedata.normalize("NFC", _spelled(name).casefold())))


def same_name(name: str, names: Iterable[str]) -> str | None:
    """The spelling of a name among others; that of its folder (``Bill_Gates``) counts too."""
    keys = {name_key(each): each for each in names}
    return keys.get(name_key(name)) or keys.get(name_key(name.replace("_", " ")))


def closest_name(text: str, names: Iterable[str]) -> str | None:
    """The name that somebody most likely means; ``None`` if no name is close.

    The order is: the same name, the same without accents, one that begins with the text or has a word that does,
    and one with few other letters.

    Args:
        text: what somebody has typed.
        names: names to choose from.
    """
    names = sorted(names)
    same = next((name for name in names if name_key(name) == name_key(text)), None)
    wanted = _plain(text)
    if same is not None or not wanted:
        return same
    plain: dict[str, str] = {}
    for name in names:
        plain.setdefault(_plain(name), name)
    starts = [key for key in plain if f" {key}".find(f" {wanted}") >= 0]
    close = starts or get_close_matches(wanted, plain, 1, 0.7)
    if not close:  # a first or last name alone, with a mistake
        words = {word: key for key in reversed(plain) for word in key.split()}
        close = [words[word] for word in get_close_matches(wanted, words, 1, 0.75)]
    whole = f" {wanted} "
    best = min(close, default=None, key=lambda key: (whole not in f" {key} ", not key.startswith(wanted), len(key)))
    return None if best is None else plain[best]


def _plain(name: str) -> str:
    """The key of a name without accents and punctuation."""
    letters = unicodedata.normalize("NFKD", name_key(name))
    return " ".join("".join(c if c.isalnum() else " " for c in letters if not unicodedata.combining(c)).split())


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
