"""What a change of the gallery means for names that were given before."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from facegate.recognition.matching.gallery import Gallery

SAME_PERSON = 0.9
"""Cosine from which a template under a new name is that of the person whose name is gone."""


def vanished(before: Gallery, after: Gallery) -> dict[str, str | None]:
    """The names that are no longer in a gallery, each with the person's new name or ``None``."""
    remaining = set(after.names)
    gone: dict[str, str | None] = {}
    comparable = len(after.names) > 0 and before.templates.shape[1] == after.templates.shape[1]
    for row, name in enumerate(before.names):
        if name in remaining:
            continue
        gone[name] = None
        if comparable:
            similarities = after.templates @ before.templates[row]
            best = int(similarities.argmax())
            if similarities[best] >= SAME_PERSON:
                gone[name] = after.names[best]
    return gone


def renamed_line(line: bytes, new_name: Callable[[str], str | None]) -> bytes | None:
    """A worker's line under the names that hold now; ``None`` where nothing is left to tell.

    Args:
        line: an event of a visit, JSON; anything else is returned as it is.
        new_name: what somebody is called now, ``None`` for somebody who was removed.
    """
    told = _decoded(line)
    name, before = told.get("name"), told.get("before")
    now = new_name(name) if isinstance(name, str) else None
    earlier = new_name(before) if isinstance(before, str) else None
    if (now, earlier) == (name, before):
        return line
    if now is None and told.get("event") == "named":
        return None
    return msgspec.json.encode(told | {"name": now, "before": earlier})


def named_visit(line: bytes, name: str) -> str | None:
    """The visit that a worker's line is about, if it names somebody."""
    told = _decoded(line)
    visit = told.get("visit")
    return visit if isinstance(visit, str) and name in (told.get("name"), told.get("before")) else None


def _decoded(line: bytes) -> dict[str, object]:
    try:
        return msgspec.json.decode(line, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
